"""Which anchors of a [region] learn which truths."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from darknet_py.boxes.overlap import iou
from darknet_py.layers.region import Region
from darknet_py.loss.classes import ClassTargets
from darknet_py.loss.parts.grid import Grid
from darknet_py.loss.truths import FAR, Truths


@dataclass(frozen=True, eq=False)
class RegionMatch:
    """For T truths a picture the one of the A*H*W anchors that learns each."""

    label: Tensor  # (N, T) int64: the class, as `ClassTargets.known` gives it
    place: Tensor  # (N, T) int64: which anchor
    learnt: Tensor  # (N, T) whether it does learn it
    no_box: Tensor  # (N, 1) pictures that teach one anchor their class, and the others no object

    @property
    def number(self) -> Tensor:  # (T,) int64
        """The truths counted from 1."""
        return torch.arange(1, self.place.shape[1] + 1, device=self.place.device)

    @property
    def together(self) -> Tensor:  # (N, T, T)
        """Which truths (last dimension) have the anchor of a truth."""
        return self.place[:, :, None] == self.place[:, None]

    @property
    def first(self) -> Tensor:  # (N, T)
        """Which are the first that their anchor learns."""
        return self.learnt & ~(self.together & self.learnt[:, None]).tril(-1).any(2)

    @property
    def last(self) -> Tensor:  # (N, T) int64
        """The number of the last truth that the anchor learns; 0 where there is none."""
        return (self.together * self.learnt[:, None] * self.number).amax(2)

    def index(self, cells: int) -> tuple[Tensor, Tensor, Tensor]:
        """Picture (N, 1), anchor (N, T) and cell (N, T) of each truth, to index (N, A, cells)."""
        return picture_of(self.place), self.place // cells, self.place % cells


class RegionMatcher(nn.Module):
    """A truth goes to an anchor of its cell; with a tree, a class without a box to where it is likeliest."""

    anchors: Tensor  # (A, 2) in cells

    def __init__(self, layer: Region, targets: ClassTargets) -> None:
        super().__init__()
        self.layer, self.targets = layer, targets
        self.register_buffer("anchors", torch.tensor(layer.anchor_boxes, dtype=torch.float32), persistent=False)

    def forward(self, values: Tensor, boxes: Tensor, truths: Truths, grid: Grid) -> RegionMatch:
        """Match the output (N, A, entries, H*W) and its boxes (N, A, H*W, 4) with the truths."""
        cell, inside = grid.cell_of(truths.boxes)
        learnt = truths.listed & inside
        place = self.nearest(truths.boxes[..., 2:], cell, boxes, grid) * grid.cells + cell
        label = self.targets.known(self.targets.mapped(truths.label))
        marked = truths.listed & (truths.boxes[..., :2] > FAR).all(2)
        if self.layer.tree is None:
            return RegionMatch(label, place, learnt, torch.zeros_like(marked[:, :1]))
        no_box, first = marked.any(1, keepdim=True), marked & (marked.cumsum(1) == 1)
        label = torch.where(marked, self.targets.known(truths.label), label)  # not mapped
        place = torch.where(no_box, self.likeliest((label * first).sum(1), values), place)
        return RegionMatch(label, place, torch.where(no_box, first, learnt), no_box)

    def nearest(self, sides: Tensor, cell: Tensor, boxes: Tensor, grid: Grid) -> Tensor:
        """The anchor (N, T) of its cell (N, T) that has most of a truth's size (N, T, 2); of equal ones the first."""
        if self.layer.bias_match:
            along, down = grid.units
            own = torch.stack((self.anchors[:, 0] / along, self.anchors[:, 1] / down), 1)
        else:
            own = boxes.transpose(1, 2)[picture_of(cell), cell][..., 2:]  # (N, T, A, 2)
        return iou(F.pad(own, (2, 0)), F.pad(sides, (2, 0))[:, :, None]).clamp(min=0).argmax(2)

    def likeliest(self, label: Tensor, values: Tensor) -> Tensor:  # (N,), (N, A, E, H*W) -> (N, 1)
        """The anchor of a picture where objectness times the probability of the label is highest."""
        objectness, classes = values[:, :, self.layer.coords], values[:, :, self.layer.coords + 1 :]
        likely = objectness * self.targets.probability(classes.transpose(1, 2), label[:, None, None])
        return likely.nan_to_num(nan=0.0).clamp(min=0).flatten(1).argmax(1, keepdim=True)


def picture_of(place: Tensor) -> Tensor:  # (N, T) -> (N, 1) int64
    """The number of each picture, to index with."""
    return torch.arange(len(place), device=place.device)[:, None]
