"""Truths in the C program's layout: rows of boxes, the grid of the first YOLO, classes of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from darknet_py.loss.truths import NO_BOX, UNLABELLED, truth_row
from darknet_py.tree.wordtree import WordTree

SMALLEST: Final = 0.001
SMALLEST_IN_GRID: Final = 0.005


class Frame(NamedTuple):
    """Maps fractions of a picture to fractions of a canvas: times `sx`, minus `dx`, then mirrored."""

    dx: float
    dy: float
    sx: float
    sy: float
    flip: bool


def has_box(rows: Tensor) -> Tensor:
    """Which rows of class, x, y, w, h say where the object is."""
    return (rows[:, 1] != 0) | (rows[:, 2] != 0)


def framed(rows: Tensor, frame: Frame) -> Tensor:
    """Bring rows of class, x, y, w, h onto a canvas and cut off what is outside (correct_boxes of data.c)."""
    label, x, y, w, h = rows.unbind(1)
    left, right = (x - w / 2) * frame.sx - frame.dx, (x + w / 2) * frame.sx - frame.dx
    top, bottom = ((y + side / 2) * frame.sy - frame.dy for side in (-h, h))
    if frame.flip:
        left, right = 1 - right, 1 - left
    left, right, top, bottom = (edge.clamp(0, 1) for edge in (left, right, top, bottom))
    sides = (right - left).clamp(0, 1), (bottom - top).clamp(0, 1)
    boxes = torch.stack(((left + right) / 2, (top + bottom) / 2, *sides), 1)
    boxes = torch.where(has_box(rows)[:, None], boxes, NO_BOX)
    return torch.cat((label[:, None], boxes), 1)


def listed(rows: Tensor, most: int, coords: int = 4) -> Tensor:
    """The truth of [region] and [yolo]: of the first `most` rows those that can be seen, each x, y, w, h, class.

    With more `coords` there are zeros before the class. See fill_truth_detection of data.c.
    """
    rows = rows[:most]
    rows = rows[(rows[:, 3:] >= SMALLEST).all(1)]
    return truth_row(rows[:, 1:], rows[:, 0], most, coords)


def gridded(rows: Tensor, side: int, classes: int) -> Tensor:
    """The truth of [detection]: a cell has 1, its class as one of `classes`, and x, y in the cell, w, h.

    Of several objects in a cell the first counts. See fill_truth_region of data.c.
    """
    rows = rows[(rows[:, 3:] >= SMALLEST_IN_GRID).all(1)]
    at = rows[:, 1:3] * side
    column, row = at.long().unbind(1)
    cell = column + row * side
    number = torch.arange(len(cell))
    none = torch.full((side * side,), len(cell), dtype=torch.int64)
    first = none.scatter_reduce(0, cell, number, "amin")[cell] == number
    rows, at, cell = rows[first], at[first], cell[first]
    truth = torch.zeros(side * side, 5 + classes, dtype=torch.float32)
    truth[cell, 0] = 1
    truth[cell, 1 + rows[:, 0].long()] = 1
    truth[cell, 1 + classes :] = torch.cat((at - at.floor(), rows[:, 3:]), 1)
    return truth.flatten()


def classified(labels: Sequence[int], classes: int, tree: WordTree | None = None) -> Tensor:
    """The truth of a classifier: 1 for each label; with a tree for its ancestors too.

    Groups of the tree with none of them are `UNLABELLED`, for nothing is known of them (fill_hierarchy of data.c).
    """
    truth = torch.zeros(classes, dtype=torch.float32)
    if tree is None:
        truth[list(labels)] = 1
        return truth
    nodes = sorted({node for label in labels for node in tree.path(label)})
    truth[nodes] = 1
    known = torch.zeros(len(tree.group_sizes), dtype=torch.bool)
    group = torch.tensor(tree.group, dtype=torch.int64)
    known[group[nodes]] = True
    return torch.where(known[group], truth, UNLABELLED)
