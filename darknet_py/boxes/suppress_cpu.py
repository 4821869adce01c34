"""Non-maximum suppression on the CPU: numpy, which wakes no second thread, and searches faster than torch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from darknet_py.boxes.neighbours import Array, Pairs, SortedBoxes
from darknet_py.boxes.overlap import Measure, edges_and_area
from darknet_py.devices import descending, one_thread

COMMON = 16  # a class is common if more than one in this many boxes has it
MOST_PAIRS = 1 << 22  # pairs of boxes in memory
BEST_ROWS = 1 << 11  # rows settled before the rest is compared with those of them that stay,
PAIRS_IN_ONE_GO = 1 << 18  # if more pairs than this are near each other
ROWS_TOGETHER = 1 << 15  # rows of rare classes settled together
WORD = 64  # classes settled together, as bits of an integer
SCORES_AT_ONCE = 1 << 10  # pairs of boxes whose scores are compared at once, for a word of classes


@one_thread()
def kept(boxes: Tensor, box_index: Tensor, label: Tensor, score: Tensor, threshold: float, measure: Measure) -> Tensor:
    """What `kept_rows` of `boxes.suppress` gives for one picture; boxes (N, 4) are float32 or float64."""
    with np.errstate(all="ignore"):
        keep = _kept(boxes.numpy(), box_index.numpy(), label.numpy(), score.numpy(), threshold, measure)
    return torch.from_numpy(keep)


def _kept(boxes: Array, box: Array, label: Array, score: Array, threshold: float, measure: Measure) -> Array:
    used, box = _renumber(box)
    label = _renumber(label)[1]
    edges = np.stack(edges_and_area(*boxes[used].T))
    keep = np.empty(len(box), np.bool_)
    counts = np.bincount(label)
    common = counts * COMMON > len(used)
    # Class by class, boxes would be compared as often as they have classes in common: more often than all with all?
    if np.square(counts[common], dtype=np.float64).sum() > float(len(used)) ** 2:
        pairs = SortedBoxes.of(edges, np.zeros_like(used), threshold, measure).pairs(MOST_PAIRS)
        if len(pairs[0]) <= MOST_PAIRS:
            rows, shape = np.flatnonzero(common.take(label)), (len(used), int(common.sum()))
            place = (common.cumsum() - 1).take(label.take(rows))
            keep[rows] = _for_all_classes(pairs, shape, box.take(rows), place, score.take(rows))
            counts[common] = 0
    for rows in _parts(label, counts):
        sides = edges.take(box.take(rows), 1)
        keep[rows] = _class_by_class(sides, label.take(rows), score.take(rows), threshold, measure)
    return keep


def _renumber(index: Array) -> Pairs:  # (K,) -> (distinct,), (K,)
    """Return the distinct values, rising, and the place of every value among them."""
    seen = np.bincount(index) > 0
    return np.flatnonzero(seen), (seen.cumsum() - 1).take(index)


def _parts(label: Array, counts: Array) -> Iterator[Array]:
    """The rows of classes that have a count, about `ROWS_TOGETHER` at a time; a class is in one part."""
    if not counts.any():
        return
    part = np.where(counts > 0, counts.cumsum() // ROWS_TOGETHER, -1).take(label)
    order = part.argsort(kind="stable")
    part = part[order]
    start = int(part.searchsorted(0))
    yield from np.split(order[start:], np.flatnonzero(np.diff(part[start:])) + 1)


def _class_by_class(edges: Array, label: Array, score: Array, threshold: float, measure: Measure) -> Array:
    """Which rows stay, each with a box of its own: the best are settled, what they suppress goes, and so on."""
    order = descending(torch.from_numpy(score)).numpy()
    left = SortedBoxes.of(edges.take(order, 1), label[order], threshold, measure)  # their numbers are ranks
    keep = np.ones(len(order), np.bool_)
    while len(left.number):
        best, left = _divided(left)
        pairs = best.pairs()
        rounds_class_by_class(np.minimum(*pairs), np.maximum(*pairs), keep)
        best = best.take(np.flatnonzero(keep[best.number]))
        lost = np.zeros(len(left.number), np.bool_)
        for _, j in best.overlapping(left):
            lost[j] = True
        for i, _ in left.overlapping(best):
            lost[i] = True
        keep[left.number[lost]] = False
        left = left.take(np.flatnonzero(~lost))
    result = np.empty_like(keep)
    result[order] = keep
    return result


def _divided(boxes: SortedBoxes) -> tuple[SortedBoxes, SortedBoxes]:
    """The best boxes, and the rest: none, where all can be compared at once."""
    first, end = boxes.reach(boxes)
    last = len(first) - 1
    if last >= BEST_ROWS and (end - first).sum() > PAIRS_IN_ONE_GO:
        last = BEST_ROWS - 1
    best = boxes.number <= np.partition(boxes.number, last)[last]
    return boxes.take(np.flatnonzero(best)), boxes.take(np.flatnonzero(~best))


def rounds_class_by_class(better: Array, worse: Array, keep: Array) -> None:
    """Unset those in `keep` (N,) that the greedy loop drops; of pair k `better[k]`, if kept, drops `worse[k]`.

    Why these are the loop's answers: `darknet_py.boxes.suppress`.
    """
    while len(better):
        beaten = np.zeros_like(keep)
        beaten[worse] = True
        keep[worse.take(np.flatnonzero(~beaten.take(better)))] = False
        still_open = np.flatnonzero(keep.take(better) & keep.take(worse))
        better, worse = better.take(still_open), worse.take(still_open)


def _for_all_classes(pairs: Pairs, shape: tuple[int, int], box: Array, label: Array, score: Array) -> Array:
    """Which rows stay, where many of the boxes have many of the classes; `shape` is how many there are of both.

    Boxes are compared once for all classes, and the classes of a box are settled together, a bit each.
    """
    words = -(-shape[1] // WORD)
    place = box * (words * WORD) + label
    table = np.full((shape[0] * words, WORD), np.nan, score.dtype)  # where NaN, the box does not have the class
    table.ravel()[place] = score
    row = np.empty(table.size, np.int64)
    row[place] = np.arange(len(place))
    better, worse = np.concatenate((pairs, pairs[::-1]), 1)
    order = worse.argsort()
    better, worse = better[order], worse[order]
    keep = _bits(~np.isnan(table)).reshape(-1, words)
    for word in range(words):
        beats = _beats(better * words + word, worse * words + word, table, row)
        keep[:, word] = rounds_for_all_classes(better, worse, beats, keep[:, word])
    return np.unpackbits(keep.view(np.uint8)).view(np.bool_)[place]


def _bits(rows: Array) -> Array:  # (N, WORD) bool -> (N,)
    return np.packbits(rows, 1).view(np.uint64)[:, 0]


def _beats(better: Array, worse: Array, table: Array, row: Array) -> Array:  # (P,), (P,) -> (P,)
    """For every pair of rows of the table, the classes in which the first has the higher score."""
    found = [np.empty(0, np.uint64)]
    for start in range(0, len(better), SCORES_AT_ONCE):
        i, j = better[start : start + SCORES_AT_ONCE], worse[start : start + SCORES_AT_ONCE]
        a, b = table.take(i, 0), table.take(j, 0)
        higher = a > b
        pair, label = np.divmod(np.flatnonzero(a == b), WORD)
        higher[pair, label] = row[i[pair] * WORD + label] < row[j[pair] * WORD + label]
        found.append(_bits(higher))
    return np.concatenate(found)


def rounds_for_all_classes(better: Array, worse: Array, beats: Array, still_open: Array) -> Array:
    """`rounds_class_by_class` for a word of classes: three times (P,), pairs by their worse box, and (N,) -> (N,).

    A bit is a class: in `beats` where the better box of a pair beats the worse, in `still_open` where a box has it.
    """
    keep = np.zeros_like(still_open)
    while len(beats):
        first = np.flatnonzero(np.diff(worse, prepend=-1))
        beaten, lost = np.zeros_like(keep), np.zeros_like(keep)
        beaten[worse[first]] = np.bitwise_or.reduceat(beats, first)
        sure = still_open & ~beaten
        lost[worse[first]] = np.bitwise_or.reduceat(beats & sure[better], first)
        keep |= sure
        still_open = still_open & ~(sure | lost)
        beats = beats & still_open[better] & still_open[worse]
        live = np.flatnonzero(beats)
        better, worse, beats = better[live], worse[live], beats[live]
    return keep | still_open
