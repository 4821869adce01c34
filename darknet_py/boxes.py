"""Box formats, overlap and non-maximum suppression with the arithmetic of Darknet's box.c."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from darknet_py import suppress
from darknet_py.errors import DarknetError
from darknet_py.image import letterbox_size

PAIRS_AT_ONCE = 1 << 18  # pairs of boxes compared at once: small enough to stay in the cache
EDGES_AT_ONCE = 1 << 18  # pairs of rows of one class resolved at once


def xyxy_from_cxcywh(boxes: Tensor) -> Tensor:  # (..., 4) -> (..., 4)
    """Turn centre and size into left, top, right, bottom."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat((centre - half, centre + half), -1)


def cxcywh_from_xyxy(boxes: Tensor) -> Tensor:  # (..., 4) -> (..., 4)
    """Turn left, top, right, bottom into centre and size."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat(((low + high) / 2, high - low), -1)


def iou(a: Tensor, b: Tensor) -> Tensor:  # (..., 4), (..., 4) -> (...)
    """Intersection over union of cxcywh boxes, elementwise with broadcasting.

    The arithmetic is box.c's, operation by operation. Two empty boxes give NaN (0/0) there, which is never
    greater than a threshold; here they give 0.
    """
    edges_a, edges_b = xyxy_from_cxcywh(a), xyxy_from_cxcywh(b)
    low = torch.maximum(edges_a[..., :2], edges_b[..., :2])
    high = torch.minimum(edges_a[..., 2:], edges_b[..., 2:])
    width, height = (high - low).clamp(min=0).unbind(-1)
    inter = width * height
    ratio = inter / (a[..., 2] * a[..., 3] + b[..., 2] * b[..., 3] - inter)
    return ratio.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf)


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:  # (N, 4), (M, 4) -> (N, M)
    """`iou` of every box of `a` with every box of `b`."""
    return iou(a[:, None], b[None])


def unletterbox(boxes: Tensor, image_size: tuple[int, int], network_size: tuple[int, int]) -> Tensor:
    """Turn boxes relative to a letterboxed picture into boxes relative to the picture itself.

    Boxes are cxcywh (..., 4), sizes (w, h). From correct_region_boxes of region_layer.c.
    """
    sides = list(zip(letterbox_size(*image_size, *network_size), network_size, strict=True))
    offset = boxes.new_tensor([(outer - inner) / 2 / outer for inner, outer in sides])
    scale = boxes.new_tensor([inner / outer for inner, outer in sides])
    grow = boxes.new_tensor([outer / inner for inner, outer in sides])
    return torch.cat(((boxes[..., :2] - offset) / scale, boxes[..., 2:] * grow), -1)


def nms(boxes: Tensor, box: Tensor, label: Tensor, score: Tensor, threshold: float) -> Tensor:
    """Which rows do_nms_sort of box.c keeps: each suppresses lower ones of its class with IoU > `threshold`.

    Row k says that `boxes[box[k]]`, of cxcywh boxes (N, 4), is of class `label[k]` with `score[k]`; no box
    has two rows of one class. Higher scores come first, of equal ones the earlier row. Returns a mask (K,).
    """
    if not threshold >= 0:
        raise DarknetError(f"the NMS threshold is {threshold}; it must be 0 or more")
    boxes, score = (x.detach().to(torch.promote_types(x.dtype, torch.float32)) for x in (boxes, score))
    if boxes.device.type == "cpu":
        keep = suppress.kept(boxes.numpy(), box.numpy(), label.numpy(), score.numpy(), threshold)
        return torch.from_numpy(keep)
    return _kept(boxes, box, label, score, threshold)


def _kept(boxes: Tensor, box: Tensor, label: Tensor, score: Tensor, threshold: float) -> Tensor:
    """The same by torch's operators, on whatever device."""
    keep = torch.ones_like(box, dtype=torch.bool)
    used, box = _renumber(box)
    labels, label = _renumber(label)
    pairs = _overlapping(boxes[used], threshold)
    edges = int(box.bincount(minlength=1)[pairs[0]].sum())
    # Classes never meet, so taking a few at a time bounds the memory.
    width = max(1, len(labels) * EDGES_AT_ONCE // max(edges, 1))
    for start in range(0, len(labels), width):
        rows = ((label >= start) & (label < start + width)).nonzero()[:, 0]
        shape = len(used), min(width, len(labels) - start)
        a, b = _same_class(pairs, box[rows], label[rows] - start, shape)
        keep[rows] = _greedy(a, b, score[rows])
    return keep


def nms_dense(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:  # (N, 4), (N, C) -> (N, C)
    """`nms` over all scores that are not 0; returns the scores with 0 where suppressed, as the C does."""
    box, label = scores.nonzero(as_tuple=True)
    lost = ~nms(boxes, box, label, scores[box, label], threshold)
    return scores.index_put((box[lost], label[lost]), scores.new_zeros(()))


def nms_objectness(boxes: Tensor, objectness: Tensor, threshold: float) -> Tensor:  # (N, 4), (N,) -> (N,)
    """Which boxes do_nms_obj of box.c keeps: by objectness, whatever the class; never one of objectness 0."""
    keep = objectness != 0
    box = keep.nonzero()[:, 0]
    keep[box] = nms(boxes, box, torch.zeros_like(box), objectness[box], threshold)
    return keep


def _renumber(index: Tensor) -> tuple[Tensor, Tensor]:  # (K,) -> (distinct,), (K,)
    """Return the distinct values, rising, and the place of every value among them."""
    seen = index.bincount().bool()
    return seen.nonzero()[:, 0], (seen.cumsum(0) - 1)[index]


def _overlapping(boxes: Tensor, threshold: float) -> tuple[Tensor, Tensor]:  # (N, 4) -> (E,), (E,)
    """Find the pairs of boxes with IoU > `threshold`, each once.

    Of boxes sorted by their left edge, those that one can overlap follow it without a gap. The arithmetic is
    that of `iou`: the later of two boxes has the greater left edge.
    """
    order = (boxes[:, 0] - boxes[:, 2] / 2).argsort()
    x, y, w, h = boxes[order].unbind(1)
    left, top, right, bottom, area = x - w / 2, y - h / 2, x + w / 2, y + h / 2, w * h
    found = [order.new_empty(0, 2)]
    for rows, columns in _blocks(torch.searchsorted(left, right.cummax(0).values).tolist()):
        width = torch.minimum(right[rows, None], right[columns]).sub_(left[columns]).clamp_(min=0)
        height = torch.minimum(bottom[rows, None], bottom[columns])
        height.sub_(torch.maximum(top[rows, None], top[columns])).clamp_(min=0)
        inter = width.mul_(height)
        ratio = inter / (area[rows, None] + area[columns]).sub_(inter)
        found.append((ratio > threshold).triu_(1).nonzero() + rows.start)
    first, second = order[torch.cat(found)].unbind(1)
    return first, second


def _blocks(stops: list[int]) -> Iterator[tuple[slice, slice]]:
    """Cut rows, each to be compared with the columns up to its stop, into blocks; stops never fall."""
    start = 0
    while start < len(stops):
        size = len(stops) - start
        while size > 1 and size * (stops[start + size - 1] - start) > PAIRS_AT_ONCE:
            size //= 2
        yield slice(start, start + size), slice(start, stops[start + size - 1])
        start += size


def _same_class(
    pairs: tuple[Tensor, Tensor], box: Tensor, label: Tensor, shape: tuple[int, int]
) -> tuple[Tensor, Tensor]:  # 2 x (E,), (K,), (K,) -> 2 x (F,)
    """From pairs of overlapping boxes to pairs of rows with the same label; `shape` is (boxes, labels)."""
    first, second = pairs
    boxes, labels = shape
    counts = box.bincount(minlength=boxes)
    count = counts[first]
    # A table of rows is fastest, unless it or what is read from it would be nearly empty.
    if boxes * labels <= 4 * len(box) and len(first) * labels <= 4 * int(count.sum()):
        table = box.new_full(shape, -1)
        table[box, label] = torch.arange(len(box), device=box.device)
        a, b = table.index_select(0, first).view(-1), table.index_select(0, second).view(-1)
        if len(box) == table.numel():
            return a, b
        both = (a >= 0) & (b >= 0)
        return a[both], b[both]
    keys, row = (box * labels + label).sort()
    starts = counts.cumsum(0) - counts
    pair = torch.arange(len(first), device=box.device).repeat_interleave(count)
    nth = torch.arange(len(pair), device=box.device) - (count.cumsum(0) - count)[pair]
    a = row[starts[first[pair]] + nth]
    wanted = second[pair] * labels + label[a]
    place = torch.searchsorted(keys, wanted).clamp_(max=len(keys) - 1)
    hit = keys[place] == wanted
    return a[hit], row[place[hit]]


def _greedy(a: Tensor, b: Tensor, score: Tensor) -> Tensor:  # (F,), (F,), (K,) -> (K,)
    """Which rows the greedy loop keeps, where of a pair (a, b) the higher row, if kept, suppresses the lower.

    A round keeps the rows that no open row beats, drops those they beat and closes the pairs of both. By
    induction along the order these are the loop's answers, for it too settles all that beat a row before the
    row itself; and every round settles the best open row, so the rounds end.
    """
    higher, lower = score.index_select(0, a), score.index_select(0, b)
    a_wins = (higher > lower) | ((higher == lower) & (a < b))
    step = (a - b) * a_wins  # three times as fast as where(), which branches
    better, worse = b + step, a - step
    keep = torch.ones_like(score, dtype=torch.bool)
    while len(better):
        beaten = torch.zeros_like(keep).index_fill_(0, worse, True)
        sure = (~beaten.index_select(0, better)).nonzero()[:, 0]
        keep.index_fill_(0, worse.index_select(0, sure), False)
        still_open = (keep.index_select(0, better) & keep.index_select(0, worse)).nonzero()[:, 0]
        better, worse = better.index_select(0, still_open), worse.index_select(0, still_open)
    return keep
