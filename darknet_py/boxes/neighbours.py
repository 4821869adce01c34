"""Which of many boxes overlap, on the CPU: numpy sorts and searches, torch computes what fits into the cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[Any]
Pairs = tuple[Array, Array]

ROWS = 128  # boxes compared at once with one stretch of others,
COLUMNS = 512  # which is no longer than this: they stay in the cache
FAR = 2.0**20  # where boxes are looked for, edges beyond are there


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes in the order of their group, and then of their left edge."""

    edges: Array  # (5, N) left, top, right, bottom, area
    number: Array  # (N,) which of the boxes that were sorted
    group: Array  # (N,)
    start: Array  # (N,) the left edge, and
    stop: Array  # (N,) the right one, on a line on which the groups lie one after the other

    @classmethod
    def of(cls, edges: Array, group: Array, threshold: float) -> Boxes:
        """Sort boxes (5, N) of groups (N,), which count from 0."""
        ends = edges[:3:2].astype(np.float64)
        ends[1] -= _out_of_reach(edges, threshold)
        ends = np.clip(np.nan_to_num(ends, nan=FAR), -FAR, FAR) + group * (2 * FAR + 1)
        return cls(edges, np.arange(len(group)), group, *ends).take(ends[0].argsort())

    def take(self, which: Array) -> Boxes:
        """Some of them, by their places."""
        columns = (column.take(which) for column in (self.number, self.group, self.start, self.stop))
        return Boxes(self.edges.take(which, 1), *columns)

    def reach(self, others: Boxes) -> Pairs:
        """For each, the first and the end of those of `others` that begin inside it."""
        return others.start.searchsorted(self.start), others.start.searchsorted(self.stop, side="right")


def edges_of(boxes: Array) -> Array:  # (N, 4) -> (5, N)
    """Edges and areas of cxcywh boxes."""
    x, y, w, h = boxes.T
    return np.stack((x - w / 2, y - h / 2, x + w / 2, y + h / 2, w * h))


def overlapping(boxes: Boxes, threshold: float, most: float = np.inf) -> Pairs:
    """Numbers of boxes that overlap, a pair once or twice; not all of them where they are more than `most`."""
    found, count = [(boxes.number[:0],) * 2], 0
    for i, j in close(boxes, boxes, threshold):
        found.append((i, j))
        count += len(i)
        if count > most + len(boxes.number):  # each box overlaps itself
            break
    i, j = (boxes.number.take(np.concatenate(column)) for column in zip(*found, strict=True))
    apart = np.flatnonzero(i != j)
    return i.take(apart), j.take(apart)


def close(a: Boxes, b: Boxes, threshold: float) -> Iterator[Pairs]:
    """Places in `a` and `b` of boxes of one group with IoU > `threshold`, by the arithmetic of `boxes.iou`.

    They are all pairs in which the box of `b` begins no earlier than that of `a`, and some of the others.
    """
    first, end = a.reach(b)
    edges_a, edges_b = torch.from_numpy(a.edges), torch.from_numpy(b.edges)
    for row in range(0, len(first), ROWS):
        rows = slice(row, row + ROWS)
        stop = int(end[rows].max())
        for column in range(int(first[row]), stop, COLUMNS):
            columns = slice(column, min(column + COLUMNS, stop))
            ratio = _iou(edges_a[:, rows, None], edges_b[:, None, columns]).numpy()
            hits = np.flatnonzero(ratio > threshold)
            i = hits // ratio.shape[1]
            j = hits - i * ratio.shape[1] + column
            i += row
            if a.group[row] != max(a.group[rows][-1], b.group[columns.stop - 1]):
                same = np.flatnonzero(a.group.take(i) == b.group.take(j))
                i, j = i.take(same), j.take(same)
            yield i, j


def _iou(a: Tensor, b: Tensor) -> Tensor:  # (5, N, 1), (5, 1, M) -> (N, M)
    inter = torch.minimum(a[2], b[2]).sub_(torch.maximum(a[0], b[0])).clamp_(min=0)
    height = torch.minimum(a[3], b[3]).sub_(torch.maximum(a[1], b[1])).clamp_(min=0)
    inter.mul_(height)
    return inter.div_(torch.add(a[4], b[4], out=height).sub_(inter))


def _out_of_reach(edges: Array, threshold: float) -> Array:  # (5, N) -> (N,) float64
    """How far from its right edge a box that begins inside must not begin to have an IoU > `threshold`.

    The intersection is more than threshold / (1 + threshold) of its area, for the other area is not negative, and is
    no higher than it. A box that is small beside its coordinates is left out: its edges are too much rounded.
    """
    left, top, right, bottom, area = edges.astype(np.float64)
    exact = (area > 1e-30) & (right - left > (np.abs(left) + np.abs(right)) / 1000)
    exact &= bottom - top > (np.abs(top) + np.abs(bottom)) / 1000
    return np.where(exact, 0.99 * threshold / (1 + threshold) * (right - left), 0)
