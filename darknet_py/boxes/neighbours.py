"""Finds overlapping boxes on the CPU: numpy sorts and searches, torch computes in blocks that fit into the cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from darknet_py.boxes.overlap import Measure

Array: TypeAlias = npt.NDArray[Any]
Pairs: TypeAlias = tuple[Array, Array]

TILE_ROWS = 128  # boxes compared at once with one stretch of others,
TILE_COLUMNS = 512  # which is no longer than this: they stay in the cache
LINE_END = 2.0**20  # where boxes are looked for, edges beyond are there


@dataclass(frozen=True, eq=False)
class SortedBoxes:
    """Boxes sorted by group and then by left edge, so that boxes near each other are neighbours.

    The groups lie one after the other on a line. Two boxes overlap if their measure is above the threshold.
    """

    threshold: float
    measure: Measure
    edges: Array  # (5, N) left, top, right, bottom, area
    number: Array  # (N,) the index before sorting
    group: Array  # (N,)
    start: Array  # (N,) the left edge on the line
    stop: Array  # (N,) the end of the stretch of the line in which an overlapping box may begin

    @classmethod
    def of(cls, edges: Array, group: Array, threshold: float, measure: Measure) -> SortedBoxes:
        """Sort boxes with edges and areas (5, N) and groups (N,), which count from 0."""
        ends = edges[:3:2].astype(np.float64)
        ends[1] -= _out_of_reach(edges, threshold)
        ends = np.clip(np.nan_to_num(ends, nan=LINE_END), -LINE_END, LINE_END) + group * (2 * LINE_END + 1)
        return cls(threshold, measure, edges, np.arange(len(group)), group, *ends).take(ends[0].argsort())

    def take(self, places: Array) -> SortedBoxes:
        """Some of them, by their places."""
        columns = (column.take(places) for column in (self.number, self.group, self.start, self.stop))
        return SortedBoxes(self.threshold, self.measure, self.edges.take(places, 1), *columns)

    def reach(self, others: SortedBoxes) -> Pairs:
        """For each box, the first and the end of the boxes of `others` that begin inside its stretch."""
        return others.start.searchsorted(self.start), others.start.searchsorted(self.stop, side="right")

    def pairs(self, most: float = np.inf) -> Pairs:
        """Index pairs of overlapping boxes, each once or twice; stops once there are more than `most`."""
        found, count = [(self.number[:0],) * 2], 0
        for i, j in self.overlapping(self):
            found.append((i, j))
            count += len(i)
            if count > most + len(self.number):  # each box overlaps itself
                break
        i, j = (self.number.take(np.concatenate(column)) for column in zip(*found, strict=True))
        apart = np.flatnonzero(i != j)
        return i.take(apart), j.take(apart)

    def overlapping(self, others: SortedBoxes) -> Iterator[Pairs]:
        """Index pairs, here and in `others`, of overlapping boxes of one group.

        They include all pairs in which the other box begins no earlier than the one here, and some others.
        """
        first, end = self.reach(others)
        edges, other_edges = torch.from_numpy(self.edges), torch.from_numpy(others.edges)
        for row in range(0, len(first), TILE_ROWS):
            rows = slice(row, row + TILE_ROWS)
            stop = int(end[rows].max())
            for column in range(int(first[row]), stop, TILE_COLUMNS):
                columns = slice(column, min(column + TILE_COLUMNS, stop))
                overlap = self.measure(edges[:, rows, None], other_edges[:, None, columns]).numpy()
                hits = np.flatnonzero(overlap > self.threshold)
                i = hits // overlap.shape[1]
                j = hits - i * overlap.shape[1] + column
                i += row
                if self.group[row] != max(self.group[rows][-1], others.group[columns.stop - 1]):
                    same = np.flatnonzero(self.group.take(i) == others.group.take(j))
                    i, j = i.take(same), j.take(same)
                yield i, j


def _out_of_reach(edges: Array, threshold: float) -> Array:  # (5, N) -> (N,) float64
    """The stretch before its right edge in which a box cannot begin and still have an IoU > `threshold`.

    The intersection is more than threshold / (1 + threshold) of its area, because the other area is not negative, and
    not higher than the box. A box that is small beside its coordinates gets 0, because its edges are rounded too much.
    """
    left, top, right, bottom, area = edges.astype(np.float64)
    exact = (area > 1e-30) & (right - left > (np.abs(left) + np.abs(right)) / 1000)
    exact &= bottom - top > (np.abs(top) + np.abs(bottom)) / 1000
    return np.where(exact, 0.99 * threshold / (1 + threshold) * (right - left), 0)
