"""Which boxes of a [yolo] learn which truths."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from darknet_py.boxes.overlap import iou
from darknet_py.layers.yolo import Yolo
from darknet_py.loss.parts.grid import Grid
from darknet_py.loss.truths import Truths


@dataclass(frozen=True, eq=False)
class YoloMatch:
    """For T truths a picture the box that is to find each, and for P = A*H*W boxes the truth that each learns."""

    slot: Tensor  # (N, T) int64: the box that is to find a truth
    found: Tensor  # (N, T) whether one of this layer's is
    overlap: Tensor  # (N, P) the highest IoU of a box with a truth
    nearest: Tensor  # (N, P) int64: the truth it has that with
    near: Tensor  # (N, P) whether that is above truth_thresh
    learns: Tensor  # (N, P) whether it learns a truth at all
    truth: Tensor  # (N, P) int64: which


class YoloMatcher(nn.Module):
    """A truth goes to the anchor of its shape, in its cell; boxes that are near enough to a truth learn it too."""

    anchors: Tensor  # (total, 2) of all heads, in pixels of the input
    places: Tensor  # (total,) int64: which of this layer's anchors that is, or -1

    def __init__(self, layer: Yolo) -> None:
        super().__init__()
        self.truth_thresh = layer.truth_thresh
        own = layer.own_anchors
        places = [own.index(n) if n in own else -1 for n in range(layer.num)]
        anchors = torch.tensor(layer.all_anchors, dtype=torch.float32)
        self.register_buffer("anchors", anchors, persistent=False)
        self.register_buffer("places", torch.tensor(places, dtype=torch.int64), persistent=False)

    def forward(self, boxes: Tensor, truths: Truths, grid: Grid) -> YoloMatch:
        """Match the predicted boxes (N, P, 4) with the truths."""
        slot, found = self.slots(truths, grid)
        overlap, nearest = iou(boxes[:, :, None], truths.boxes[:, None]).max(2)
        near = overlap > self.truth_thresh
        number = torch.where(found, torch.arange(slot.shape[1], device=slot.device), -1)
        last = torch.full_like(nearest, -1).scatter_reduce_(1, slot, number, "amax")  # of several at a box, the last
        truth = torch.where(last >= 0, last, nearest)
        return YoloMatch(slot, found, overlap, nearest, near, near | (last >= 0), truth)

    def slots(self, truths: Truths, grid: Grid) -> tuple[Tensor, Tensor]:
        """The box (N, T) int64 that is to find each truth, and whether this layer has it."""
        along, down = grid.units
        sides = torch.stack((self.anchors[:, 0] / along, self.anchors[:, 1] / down), 1)
        shapes = iou(F.pad(truths.boxes[:, :, None, 2:], (2, 0)), F.pad(sides, (2, 0)))  # (N, T, total)
        anchor = self.places[shapes.max(2).indices]
        cell, inside = grid.cell_of(truths.boxes)
        found = inside & truths.listed & (anchor >= 0)
        return torch.where(found, anchor * grid.cells + cell, 0), found
