"""Non-maximum suppression on the CPU: numpy, which wakes no second thread, and searches faster than torch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from darknet_py.boxes.neighbours import Array, Boxes, Pairs, close, edges_of, overlapping
from darknet_py.devices import descending, one_thread

HEAD = 1 << 11  # rows settled before the rest is compared with those of them that stay,
TOGETHER = 1 << 18  # if more pairs than this are near each other
MOST = 1 << 22  # pairs of boxes in memory
PART = 1 << 15  # rows of several classes settled together
WORD = 64  # classes settled together, as bits of an integer
EDGES = 1 << 10  # pairs of boxes whose scores are compared at once, for a word of classes


@one_thread()
def kept(boxes: Array, box: Array, label: Array, score: Array, threshold: float) -> Array:
    """What `boxes.nms` gives, in arrays; the boxes are float32 or float64."""
    with np.errstate(all="ignore"):
        used, box = _renumber(box)
        label = _renumber(label)[1]
        edges = edges_of(boxes[used])
        keep = np.empty(len(box), np.bool_)
        counts = np.bincount(label)
        common = counts * 16 > len(used)
        once = np.square(counts[common], dtype=np.float64).sum() > float(len(used)) ** 2
        pairs = overlapping(Boxes.of(edges, np.zeros_like(used), threshold), threshold, MOST) if once else None
        if pairs and len(pairs[0]) <= MOST:  # boxes are compared once for all classes that many of them have,
            rows = np.flatnonzero(common.take(label))
            place = (common.cumsum() - 1).take(label.take(rows))
            keep[rows] = _by_box(pairs, (len(used), int(common.sum())), box.take(rows), place, score.take(rows))
            counts[common] = 0
        for rows in _parts(label, counts):  # and class by class for the others
            keep[rows] = _by_row(edges.take(box.take(rows), 1), label.take(rows), score.take(rows), threshold)
    return keep


def _renumber(index: Array) -> Pairs:  # (K,) -> (distinct,), (K,)
    """Return the distinct values, rising, and the place of every value among them."""
    seen = np.bincount(index) > 0
    return np.flatnonzero(seen), (seen.cumsum() - 1).take(index)


def _parts(label: Array, counts: Array) -> Iterator[Array]:
    """The rows of classes that have a count, in parts of about `PART` rows; a class is in one part."""
    if not counts.any():
        return
    part = np.where(counts > 0, counts.cumsum() // PART, -1).take(label)
    order = part.argsort(kind="stable")
    part = part[order]
    start = int(part.searchsorted(0))
    yield from np.split(order[start:], np.flatnonzero(np.diff(part[start:])) + 1)


def _by_row(edges: Array, label: Array, score: Array, threshold: float) -> Array:
    """Which rows stay, each with a box of its own: the best are settled, what they suppress goes, and so on."""
    order = descending(torch.from_numpy(score)).numpy()
    left = Boxes.of(edges.take(order, 1), label[order], threshold)  # their numbers are ranks
    keep = np.ones(len(order), np.bool_)
    while len(left.number):
        head, left = _divided(left)
        pairs = overlapping(head, threshold)
        _greedy(np.minimum(*pairs), np.maximum(*pairs), keep)
        best = head.take(np.flatnonzero(keep[head.number]))
        lost = np.zeros(len(left.number), np.bool_)
        for _, j in close(best, left, threshold):
            lost[j] = True
        for i, _ in close(left, best, threshold):
            lost[i] = True
        keep[left.number[lost]] = False
        left = left.take(np.flatnonzero(~lost))
    result = np.empty_like(keep)
    result[order] = keep
    return result


def _divided(boxes: Boxes) -> tuple[Boxes, Boxes]:
    """The best boxes, and the rest: none, where all can be compared at once."""
    first, end = boxes.reach(boxes)
    last = len(first) - 1
    if last >= HEAD and (end - first).sum() > TOGETHER:
        last = HEAD - 1
    best = boxes.number <= np.partition(boxes.number, last)[last]
    return boxes.take(np.flatnonzero(best)), boxes.take(np.flatnonzero(~best))


def _greedy(better: Array, worse: Array, keep: Array) -> None:
    """Unset those in `keep` that the greedy loop drops, where of a pair the better one, if kept, drops the worse.

    A round keeps what nothing open beats, drops what that beats and closes the pairs of both. By induction along
    the order these are the loop's answers, for it too settles all that beat a box before the box itself; and every
    round settles the best open box, so the rounds end.
    """
    while len(better):
        beaten = np.zeros_like(keep)
        beaten[worse] = True
        keep[worse.take(np.flatnonzero(~beaten.take(better)))] = False
        still_open = np.flatnonzero(keep.take(better) & keep.take(worse))
        better, worse = better.take(still_open), worse.take(still_open)


def _by_box(pairs: Pairs, shape: tuple[int, int], box: Array, label: Array, score: Array) -> Array:
    """Which rows stay, where many of the boxes have many of the classes; `shape` is how many there are of both."""
    words = -(-shape[1] // WORD)
    place = box * (words * WORD) + label
    table = np.full((shape[0] * words, WORD), np.nan, score.dtype)  # where NaN, the box does not have the class
    table.ravel()[place] = score
    row = np.empty(table.size, np.int64)
    row[place] = np.arange(len(place))
    better, worse = np.concatenate((pairs, pairs[::-1]), 1)
    order = worse.argsort()
    better, worse = better[order], worse[order]
    keep = _bits(table == table).reshape(-1, words)  # noqa: PLR0124 - NaN
    for word in range(words):
        beats = _beats(better * words + word, worse * words + word, table, row)
        keep[:, word] = _rounds(better, worse, beats, keep[:, word])
    return np.unpackbits(keep.view(np.uint8)).view(np.bool_)[place]


def _bits(rows: Array) -> Array:  # (N, WORD) bool -> (N,)
    return np.packbits(rows, 1).view(np.uint64)[:, 0]


def _beats(better: Array, worse: Array, table: Array, row: Array) -> Array:  # (D,), (D,) -> (D,)
    """For every pair of rows of the table, the classes in which the first has the higher score."""
    found = [np.empty(0, np.uint64)]
    for start in range(0, len(better), EDGES):
        i, j = better[start : start + EDGES], worse[start : start + EDGES]
        a, b = table.take(i, 0), table.take(j, 0)
        higher = a > b
        pair, label = np.divmod(np.flatnonzero(a == b), WORD)
        higher[pair, label] = row[i[pair] * WORD + label] < row[j[pair] * WORD + label]
        found.append(_bits(higher))
    return np.concatenate(found)


def _rounds(better: Array, worse: Array, beats: Array, still_open: Array) -> Array:
    """`_greedy` for a word of classes: (D,) three times, pairs by their worse box, and (N,) -> (N,)."""
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
