"""Non-maximum suppression on a GPU: few kernels for many boxes, few synchronisations with the host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from darknet_py.boxes.overlap import Measure, edges_and_area, iou_of_edges

BOX_PAIRS_AT_ONCE = 1 << 22  # pairs of boxes compared at once: enough to keep a GPU busy
ROW_PAIRS_AT_ONCE = 1 << 22  # pairs of rows looked for at once
ROUNDS_BLINDLY = 4  # before a look at what is still open, for which the host waits
LABEL_BITS: Final = 32  # of a key, below those of the box


def kept(
    boxes: Tensor,
    box_index: Tensor,
    label: Tensor,
    score: Tensor,
    threshold: float,
    picture_index: Tensor | None = None,
    measure: Measure = iou_of_edges,
) -> Tensor:
    """What `kept_rows` of `boxes.suppress` gives, on whatever device; boxes (N, 4) are float32 or float64."""
    if not len(box_index):
        return torch.ones_like(box_index, dtype=torch.bool)
    edges, order, reach = _sorted(boxes, picture_index)
    ends = reach.cumsum(0)
    most = torch.zeros_like(order).scatter_add_(0, box_index, torch.ones_like(box_index)).amax()  # rows of one box
    count, width = torch.stack((ends[-1], most)).tolist()
    pairs = _overlapping(edges, reach, ends, count, threshold, measure)
    first, second = (order.index_select(0, place) for place in pairs)
    if len(first) * width <= ROW_PAIRS_AT_ONCE:
        return _rounds(*_same_class(first, second, box_index, label, width), score)
    # Classes never meet, so taking a few at a time bounds the memory.
    keep = torch.ones_like(box_index, dtype=torch.bool)
    labels = int(label.max()) + 1
    step = max(1, labels * ROW_PAIRS_AT_ONCE // (len(first) * width))
    for start in range(0, labels, step):
        rows = ((label >= start) & (label < start + step)).nonzero()[:, 0]
        if len(rows):
            a, b = _same_class(first, second, box_index[rows], label[rows], min(width, step))
            keep[rows] = _rounds(a, b, score[rows])
    return keep


def _sorted(boxes: Tensor, picture_index: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Sort boxes (N, 4) by picture and left edge.

    Returns edges and areas (5, N), the order (N,), and (N,) how many of those after it each can overlap.

    Of boxes in that order, those that one can overlap follow it without a gap. To sort and to search, edges are
    replaced by their ranks, which are exact whatever the numbers are: NaN comes last.
    """
    edges, size = torch.stack(edges_and_area(*boxes.unbind(1))), len(boxes)
    ranks = torch.arange(2 * size, device=boxes.device)
    ranks = torch.empty_like(ranks).scatter_(0, edges[:3:2].flatten().argsort(), ranks).view(2, size)
    left, right = ranks if picture_index is None else ranks + picture_index * (2 * size)
    left, order = left.sort()
    reach = torch.searchsorted(left, right.index_select(0, order)) - torch.arange(1, size + 1, device=boxes.device)
    return edges.index_select(1, order), order, reach.clamp_(min=0)


def _overlapping(
    edges: Tensor, reach: Tensor, ends: Tensor, count: int, threshold: float, measure: Measure
) -> tuple[Tensor, Tensor]:
    """Places (P,) of the pairs of sorted boxes whose measure is > `threshold`, each once.

    `ends` (N,) says how many pairs there are to compare up to each box, `count` how many in all.
    """
    found = [(reach[:0], reach[:0])]
    for rows, before, size in _parts(ends, count):
        places = torch.arange(rows.start, rows.stop, device=edges.device)
        first = places.repeat_interleave(reach[rows], output_size=size)
        nth = torch.arange(before + 1, before + 1 + size, device=edges.device)
        second = first + nth - (ends - reach).index_select(0, first)
        overlap = measure(edges.index_select(1, first), edges.index_select(1, second))
        hits = (overlap > threshold).nonzero()[:, 0]
        found.append((first.index_select(0, hits), second.index_select(0, hits)))
    if len(found) == 2:
        return found[1]
    i, j = (torch.cat(places) for places in zip(*found, strict=True))
    return i, j


def _parts(ends: Tensor, count: int) -> Iterator[tuple[slice, int, int]]:
    """Cut boxes into parts with about `BOX_PAIRS_AT_ONCE` pairs: which boxes, the pairs before them, their pairs."""
    if count <= BOX_PAIRS_AT_ONCE:
        if count:
            yield slice(0, len(ends)), 0, count
        return
    wanted = torch.arange(BOX_PAIRS_AT_ONCE, count, BOX_PAIRS_AT_ONCE, device=ends.device)
    cuts = torch.searchsorted(ends, wanted, right=True)
    table = torch.stack((cuts, torch.cat((ends.new_zeros(1), ends)).index_select(0, cuts)), 1)
    start = before = 0
    for stop, end in (*table.tolist(), (len(ends), count)):
        if end > before:
            yield slice(start, stop), before, end - before
            start, before = stop, end


def _same_class(first: Tensor, second: Tensor, box_index: Tensor, label: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """From pairs of overlapping boxes (P,) to pairs of rows (Q,) with the same label; a box has `width` rows at most.

    Rows are sorted by box and label. Of every pair, all rows of the first box are taken, and their like of the second
    is searched for. A pair of rows may come twice.
    """
    if not len(first):
        return first, second
    key, row = ((box_index << LABEL_BITS) + label).sort()
    last = len(key) - 1
    nth = torch.searchsorted(key, first << LABEL_BITS)[:, None] + torch.arange(width, device=key.device)  # (P, width)
    mine = key[nth.clamp_(max=last)]
    same = (mine >> LABEL_BITS) == first[:, None]
    wanted = mine + ((second - first) << LABEL_BITS)[:, None]
    place = torch.searchsorted(key, wanted).clamp_(max=last)
    hits = (same & (key[place] == wanted)).flatten().nonzero()[:, 0]
    return row[nth.flatten()[hits]], row[place.flatten()[hits]]


def _rounds(a: Tensor, b: Tensor, score: Tensor) -> Tensor:  # (Q,), (Q,), (K,) -> (K,)
    """Which rows the greedy loop keeps, where of a pair (a, b) the higher row, if kept, suppresses the lower.

    Why these are the loop's answers: `darknet_py.boxes.suppress`. A pair that is closed becomes one of a row that
    there is not, beside the last, so that several rounds need no look at the numbers.
    """
    none = len(score)
    keep = torch.ones(none + 1, dtype=torch.bool, device=score.device)
    keep[none] = False
    higher, lower = score.index_select(0, a), score.index_select(0, b)
    a_wins = (higher > lower) | ((higher == lower) & (a < b))
    step = (a - b) * a_wins
    better, worse = b + step, a - step
    while len(better):
        for _ in range(ROUNDS_BLINDLY):
            beaten = torch.zeros_like(keep).index_fill_(0, worse, True).index_select(0, better)
            keep.index_fill_(0, worse.masked_fill(beaten, none), False)
            closed = ~(keep.index_select(0, better) & keep.index_select(0, worse))
            better, worse = better.masked_fill(closed, none), worse.masked_fill(closed, none)
        still_open = (better != none).nonzero()[:, 0]
        better, worse = better.index_select(0, still_open), worse.index_select(0, still_open)
    return keep[:none]
