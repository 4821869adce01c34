"""Suppression on a GPU: few kernels for many boxes, few synchronisations with the host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

PAIRS_AT_ONCE = 1 << 22  # pairs of boxes compared at once: enough to keep a GPU busy
EDGES_AT_ONCE = 1 << 22  # pairs of rows looked for at once
ROUNDS = 4  # between two looks at what is still open, for each of which the host waits
BITS: Final = 32  # of a label, below those of its box


def kept(
    boxes: Tensor, box: Tensor, label: Tensor, score: Tensor, threshold: float, picture: Tensor | None = None
) -> Tensor:
    """What `boxes.nms` gives, on whatever device; the boxes are float32 or float64."""
    if not len(box):
        return torch.ones_like(box, dtype=torch.bool)
    edges, order, reach = _sorted(boxes, picture)
    ends = reach.cumsum(0)
    most = torch.zeros_like(order).scatter_add_(0, box, torch.ones_like(box)).amax()  # rows of one box
    count, width = torch.stack((ends[-1], most)).tolist()
    first, second = (order.index_select(0, place) for place in _overlapping(edges, reach, ends, count, threshold))
    if len(first) * width <= EDGES_AT_ONCE:
        return _greedy(*_same_class(first, second, box, label, width), score)
    # Classes never meet, so taking a few at a time bounds the memory.
    keep = torch.ones_like(box, dtype=torch.bool)
    labels = int(label.max()) + 1
    step = max(1, labels * EDGES_AT_ONCE // (len(first) * width))
    for start in range(0, labels, step):
        rows = ((label >= start) & (label < start + step)).nonzero()[:, 0]
        if len(rows):
            a, b = _same_class(first, second, box[rows], label[rows], min(width, step))
            keep[rows] = _greedy(a, b, score[rows])
    return keep


def _sorted(boxes: Tensor, picture: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Sort boxes (N, 4) by picture and left edge.

    Returns edges and areas (5, N), the order (N,), and (N,) how many of those after it each can overlap.

    Of boxes in that order, those that one can overlap follow it without a gap. To sort and to search, edges are
    replaced by their ranks, which are exact whatever the numbers are: NaN comes last.
    """
    x, y, w, h = boxes.unbind(1)
    edges = torch.stack((x - w / 2, y - h / 2, x + w / 2, y + h / 2, w * h))
    size = len(boxes)
    ranks = torch.arange(2 * size, device=boxes.device)
    ranks = torch.empty_like(ranks).scatter_(0, edges[:3:2].flatten().argsort(), ranks).view(2, size)
    left, right = ranks if picture is None else ranks + picture * (2 * size)
    left, order = left.sort()
    reach = torch.searchsorted(left, right.index_select(0, order)) - torch.arange(1, size + 1, device=boxes.device)
    return edges.index_select(1, order), order, reach.clamp_(min=0)


def _overlapping(edges: Tensor, reach: Tensor, ends: Tensor, count: int, threshold: float) -> tuple[Tensor, Tensor]:
    """Places of the pairs of sorted boxes with IoU > `threshold`, each once, by the arithmetic of `boxes.iou`.

    `ends` (N,) says how many pairs there are to compare up to each box, `count` how many in all.
    """
    found = [(reach[:0], reach[:0])]
    for rows, before, size in _parts(ends, count):
        places = torch.arange(rows.start, rows.stop, device=edges.device)
        first = places.repeat_interleave(reach[rows], output_size=size)
        nth = torch.arange(before + 1, before + 1 + size, device=edges.device)
        second = first + nth - (ends - reach).index_select(0, first)
        a, b = edges.index_select(1, first), edges.index_select(1, second)
        width = torch.minimum(a[2], b[2]).sub_(b[0]).clamp_(min=0)  # the later of two has the greater left edge
        height = torch.minimum(a[3], b[3]).sub_(torch.maximum(a[1], b[1])).clamp_(min=0)
        inter = width.mul_(height)
        ratio = inter / (a[4] + b[4]).sub_(inter)
        hits = (ratio > threshold).nonzero()[:, 0]
        found.append((first.index_select(0, hits), second.index_select(0, hits)))
    if len(found) == 2:
        return found[1]
    i, j = (torch.cat(places) for places in zip(*found, strict=True))
    return i, j


def _parts(ends: Tensor, count: int) -> Iterator[tuple[slice, int, int]]:
    """Cut boxes into parts with about `PAIRS_AT_ONCE` pairs: which boxes, the pairs before them, their pairs."""
    if count <= PAIRS_AT_ONCE:
        if count:
            yield slice(0, len(ends)), 0, count
        return
    wanted = torch.arange(PAIRS_AT_ONCE, count, PAIRS_AT_ONCE, device=ends.device)
    cuts = torch.searchsorted(ends, wanted, right=True)
    table = torch.stack((cuts, torch.cat((ends.new_zeros(1), ends)).index_select(0, cuts)), 1)
    start = before = 0
    for stop, end in (*table.tolist(), (len(ends), count)):
        if end > before:
            yield slice(start, stop), before, end - before
            start, before = stop, end


def _same_class(first: Tensor, second: Tensor, box: Tensor, label: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """From pairs of overlapping boxes (E,) to pairs of rows (F,) with the same label; a box has `width` rows at most.

    Rows are sorted by box and label. Of every pair, all rows of the first box are taken, and their like of the second
    is searched for. A pair of rows may come twice.
    """
    if not len(first):
        return first, second
    key, row = ((box << BITS) + label).sort()
    last = len(key) - 1
    nth = torch.searchsorted(key, first << BITS)[:, None] + torch.arange(width, device=key.device)  # (E, width)
    mine = key[nth.clamp_(max=last)]
    same = (mine >> BITS) == first[:, None]
    wanted = mine + ((second - first) << BITS)[:, None]
    place = torch.searchsorted(key, wanted).clamp_(max=last)
    hits = (same & (key[place] == wanted)).flatten().nonzero()[:, 0]
    return row[nth.flatten()[hits]], row[place.flatten()[hits]]


def _greedy(a: Tensor, b: Tensor, score: Tensor) -> Tensor:  # (F,), (F,), (K,) -> (K,)
    """Which rows the greedy loop keeps, where of a pair (a, b) the higher row, if kept, suppresses the lower.

    A round keeps the rows that no open row beats, drops those they beat and closes the pairs of both. By
    induction along the order these are the loop's answers, for it too settles all that beat a row before the
    row itself; and every round settles the best open row, so the rounds end. A closed pair is one of a row that
    there is not, beside the last: so several rounds need no look at the numbers.
    """
    none = len(score)
    keep = torch.ones(none + 1, dtype=torch.bool, device=score.device)
    keep[none] = False
    higher, lower = score.index_select(0, a), score.index_select(0, b)
    a_wins = (higher > lower) | ((higher == lower) & (a < b))
    step = (a - b) * a_wins
    better, worse = b + step, a - step
    while len(better):
        for _ in range(ROUNDS):
            beaten = torch.zeros_like(keep).index_fill_(0, worse, True).index_select(0, better)
            keep.index_fill_(0, worse.masked_fill(beaten, none), False)
            closed = ~(keep.index_select(0, better) & keep.index_select(0, worse))
            better, worse = better.masked_fill(closed, none), worse.masked_fill(closed, none)
        still_open = (better != none).nonzero()[:, 0]
        better, worse = better.index_select(0, still_open), worse.index_select(0, still_open)
    return keep[:none]
