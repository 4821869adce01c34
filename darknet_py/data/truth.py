"""Truths in the C program's layout: rows of boxes, the grid of the first YOLO, classes of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from darknet_py.data.labels import Labels
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


def framed(labels: Labels, frame: Frame) -> Labels:
    """Bring boxes onto a canvas and cut off what is outside; those without a place get `NO_BOX` (correct_boxes)."""
    x, y, w, h = labels.boxes.unbind(1)
    left, right = (x - w / 2) * frame.sx - frame.dx, (x + w / 2) * frame.sx - frame.dx
    top, bottom = ((y + side / 2) * frame.sy - frame.dy for side in (-h, h))
    if frame.flip:
        left, right = 1 - right, 1 - left
    left, right, top, bottom = (edge.clamp(0, 1) for edge in (left, right, top, bottom))
    sides = (right - left).clamp(0, 1), (bottom - top).clamp(0, 1)
    boxes = torch.stack(((left + right) / 2, (top + bottom) / 2, *sides), 1)
    return Labels(labels.label, torch.where(labels.placed[:, None], boxes, NO_BOX))


def listed(labels: Labels, most: int, coords: int = 4) -> Tensor:
    """The truth (most * (coords + 1),) of [region] and [yolo]: of the first `most` labels those that can be seen.

    With more `coords` there are zeros before the class. See fill_truth_detection of data.c.
    """
    boxes, label = labels.boxes[:most], labels.label[:most]
    seen = _no_smaller(boxes, SMALLEST)
    return truth_row(boxes[seen], label[seen], most, coords)


def gridded(labels: Labels, side: int, classes: int) -> Tensor:
    """The truth (side * side * (5 + classes),) of [detection].

    A cell has 1, its class as one of `classes`, and x, y in the cell, w, h. Of several objects in a cell the first
    counts. See fill_truth_region of data.c.
    """
    labels = labels[_no_smaller(labels.boxes, SMALLEST_IN_GRID)]
    column, row = (labels.boxes[:, :2] * side).long().unbind(1)
    cell = column + row * side
    number = torch.arange(len(cell))
    none = torch.full((side * side,), len(cell), dtype=torch.int64)
    first = none.scatter_reduce(0, cell, number, "amin")[cell] == number
    labels, cell = labels[first], cell[first]
    centre, size = labels.boxes.split(2, 1)
    truth = torch.zeros(side * side, 5 + classes, dtype=torch.float32)
    there, one_of, box = truth.split((1, classes, 4), 1)
    there[cell] = 1
    one_of[cell, labels.label] = 1
    box[cell] = torch.cat(((centre * side).frac(), size), 1)
    return truth.flatten()


def _no_smaller(boxes: Tensor, side: float) -> Tensor:  # (N, 4) -> (N,) bool
    return (boxes[:, 2:] >= side).all(1)


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
