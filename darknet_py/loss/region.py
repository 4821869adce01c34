"""The loss of [region]: what forward_region_layer of region_layer.c does, for all anchors and truths at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from darknet_py.boxes.overlap import iou
from darknet_py.layers.region import Region, RegionModule
from darknet_py.loss.base import HeadLoss, Loss, printed
from darknet_py.loss.classes import Labels, TreeLabels
from darknet_py.network.graph import Graph, Node

PRIOR_PICTURES: Final = 12_800  # so long all boxes also learn their anchor, in the middle of their cell
PRIOR_SCALE: Final = 0.01
NO_BOX: Final = 100_000.0  # x and y above it mark a picture of which the class is known and no box

Size = tuple[int, int]  # columns, rows of the grid


@dataclass(frozen=True, eq=False)
class _Truths:
    """T truths a picture, and for each the one of the A*H*W anchors that learns it."""

    rows: Tensor  # (N, T, coords + 1), zeros after the end of the list
    label: Tensor  # (N, T) int64: the class, as `Labels.known` gives it
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


@dataclass(frozen=True, eq=False)
class _Found:
    """What the anchors of the truths predict."""

    values: Tensor  # (N, T, entries)
    overlap: Tensor  # (N, T) IoU of the box with the truth
    likely: Tensor  # (N, T) probability of the label


class RegionLoss(Loss):
    """The deltas themselves: with rescore, and where truths share an anchor, no plain loss has them as gradient."""

    anchors: Tensor  # (A, 2) in cells

    def __init__(self, node: Node, graph: Graph) -> None:
        super().__init__()
        self.layer = layer = cast("Region", node.layer)
        tree, mapping = layer.word_tree, layer.label_map or ()
        self.decode = RegionModule(layer, tree)
        self.labels = Labels(layer.classes, mapping) if tree is None else TreeLabels(tree, mapping)
        self.has_tree = tree is not None
        self.adds_classes = not (layer.softmax or self.has_tree or layer.class_scale == 0)
        self.register_buffer("anchors", torch.tensor(layer.anchor_boxes, dtype=torch.float32), persistent=False)

    def forward(self, raw: Tensor, truth: Tensor, seen: int) -> HeadLoss:
        size = raw.shape[3], raw.shape[2]
        raw = raw.to(torch.promote_types(raw.dtype, torch.float32))
        values = self.decode(raw.detach())
        values = values.reshape(len(raw), len(self.anchors), self.layer.entries, -1)  # (N, A, E, H*W)
        boxes = self._boxes(values, size)
        truths = self._read(truth.detach().to(raw.dtype), values, boxes, size)
        at = _index(truths.place, values.shape[3])
        found = self._look(truths, values.mT[at], boxes[at])
        delta = self._without_truths(values, boxes, truths, seen)
        head = self._head_rows(truths, found, delta.mT[at], size)
        delta.mT[at] = torch.cat((head, self._class_rows(truths, found)), 2)  # truths together write the same
        cost = delta.square().sum()
        for part in (slice(0, 2), slice(4, self.layer.coords + (not self.layer.background))):
            delta[:, :, part] *= values[:, :, part] * (1 - values[:, :, part])  # back through the logistic
        return HeadLoss.of(raw, delta.reshape(raw.shape), cost, self._statistics(truths, found, values))

    def line(self, statistics: Sequence[float]) -> str:
        overlap, label, objectness, other, recall = map(printed, statistics[:5])
        return (
            f"Region Avg IOU: {overlap}, Class: {label}, Obj: {objectness}, No Obj: {other}, "
            f"Avg Recall: {recall},  count: {round(statistics[5])}"
        )

    def _boxes(self, values: Tensor, size: Size) -> Tensor:  # (N, A, E, H*W) -> (N, A, H*W, 4)
        """The predicted boxes, relative to the picture."""
        x, y, w, h = values[:, :, :4].unbind(2)
        cell = torch.arange(values.shape[3], device=values.device)
        width, height = (side[:, None] for side in self.anchors.unbind(1))
        centre = (x + cell % size[0]) / size[0], (y + cell // size[0]) / size[1]
        return torch.stack((*centre, w.exp() * width / size[0], h.exp() * height / size[1]), 3)

    def _read(self, truth: Tensor, values: Tensor, boxes: Tensor, size: Size) -> _Truths:
        """The rows of `truth` before the first with x = 0, and their anchors."""
        columns = self.layer.coords + 1
        rows = truth[:, : self.layer.truths * columns].unflatten(1, (-1, columns))
        listed = (rows[..., 0] != 0).cumprod(1).bool()
        rows = rows.where(listed[..., None], 0)
        column, row = (rows[..., 0] * size[0]).trunc(), (rows[..., 1] * size[1]).trunc()
        learnt = listed & (column >= 0) & (column < size[0]) & (row >= 0) & (row < size[1])
        cell = torch.where(learnt, row * size[0] + column, 0).long()
        place = self._nearest(rows[..., 2:4], cell, boxes, size) * boxes.shape[2] + cell
        given = rows[..., -1].long()
        label = self.labels.known(self.labels.mapped(given))
        marked = listed & (rows[..., :2] > NO_BOX).all(2)
        if not self.has_tree:
            return _Truths(rows, label, place, learnt, torch.zeros_like(marked[:, :1]))
        no_box, first = marked.any(1, keepdim=True), marked & (marked.cumsum(1) == 1)
        label = torch.where(marked, self.labels.known(given), label)  # not mapped
        place = torch.where(no_box, self._likeliest((label * first).sum(1), values), place)
        return _Truths(rows, label, place, torch.where(no_box, first, learnt), no_box)

    def _nearest(self, sides: Tensor, cell: Tensor, boxes: Tensor, size: Size) -> Tensor:
        """(N, T) the anchor of its cell that has most of a truth's size; of equal ones the first."""
        if self.layer.bias_match:
            own = torch.stack((self.anchors[:, 0] / size[0], self.anchors[:, 1] / size[1]), 1)
        else:
            own = boxes.transpose(1, 2)[_picture(cell), cell][..., 2:]  # (N, T, A, 2)
        return iou(F.pad(own, (2, 0)), F.pad(sides, (2, 0))[:, :, None]).clamp(min=0).argmax(2)

    def _likeliest(self, label: Tensor, values: Tensor) -> Tensor:  # (N,), (N, A, E, H*W) -> (N, 1)
        """The anchor of a picture where objectness times the probability of the label is highest."""
        objectness, classes = values[:, :, self.layer.coords], values[:, :, self.layer.coords + 1 :]
        likely = objectness * self.labels.probability(classes.transpose(1, 2), label[:, None, None])
        return likely.nan_to_num(nan=0.0).clamp(min=0).flatten(1).argmax(1, keepdim=True)

    def _look(self, truths: _Truths, there: Tensor, boxes: Tensor) -> _Found:  # (N, T, entries), (N, T, 4)
        classes = there[..., self.layer.coords + 1 :]
        overlap = iou(boxes, truths.rows[..., :4])
        return _Found(there, overlap, self.labels.probability(classes.mT, truths.label))

    def _without_truths(self, values: Tensor, boxes: Tensor, truths: _Truths, seen: int) -> Tensor:
        """What an anchor learns without a truth of its own: no object, and in the beginning its own shape."""
        layer, delta = self.layer, torch.zeros_like(values)
        no_box = truths.no_box[..., None]  # (N, 1, 1)
        best = iou(boxes.flatten(1, 2)[:, None], truths.rows[:, :, None, :4]).amax(1).view(boxes.shape[:3])
        spared = (best > layer.thresh) & ~no_box
        background = (~no_box).to(values.dtype) * layer.background
        objectness = layer.noobject_scale * (background - values[:, :, layer.coords])
        delta[:, :, layer.coords] = objectness.where(~spared, 0)
        if seen < PRIOR_PICTURES:
            scale = PRIOR_SCALE * (~no_box[..., None]).to(values.dtype)
            delta[:, :, :2] = scale * (0.5 - values[:, :, :2])
            delta[:, :, 2:4] = scale * -values[:, :, 2:4]
        return delta

    def _head_rows(self, truths: _Truths, found: _Found, before: Tensor, size: Size) -> Tensor:
        """(N, T, coords + 1) the deltas of box, mask and objectness: of the last truth that the anchor learns."""
        layer, rows = self.layer, truths.rows
        cells = size[0] * size[1]
        x, y, w, h = rows[..., :4].unbind(2)
        cell, own = truths.place % cells, self.anchors[truths.place // cells]
        corner = x * size[0] - cell % size[0], y * size[1] - cell // size[0]
        sides = (w * size[0] / own[..., 0]).log(), (h * size[1] / own[..., 1]).log()
        objectness = found.overlap if layer.rescore else torch.ones_like(x)
        wanted = torch.stack((*corner, *sides, *rows[..., 4:-1].unbind(2), objectness * (not layer.background)), 2)
        scale = torch.full_like(wanted, layer.mask_scale)
        scale[..., :4] = self._box_scale(w, h)[..., None]
        scale[..., -1] = layer.object_scale
        delta = scale * (wanted - found.values[..., : layer.coords + 1])
        delta = delta.where(~truths.no_box[..., None], 0)
        last = truths.last[..., None].expand_as(delta)
        return torch.where(last > 0, delta.gather(1, (last - 1).clamp(min=0)), before[..., : layer.coords + 1])

    def _box_scale(self, w: Tensor, h: Tensor) -> Tensor:
        """How much the box of a truth counts: small ones up to twice as much."""
        return self.layer.coord_scale * (2 - w * h)

    def _class_rows(self, truths: _Truths, found: _Found) -> Tensor:
        """(N, T, classes) the deltas of the classes.

        A class learns from the last truth of its anchor that asks it; with logistic classes, from all of them.
        """
        rank = torch.ones_like(truths.number) if self.adds_classes else truths.number
        asked = self.labels.asked(truths.label) & truths.learnt[..., None]
        code = asked * (2 * rank[:, None] + self.labels.right(truths.label))  # the highest has the rank, and 0 or 1
        group = truths.together.int().argmax(2)[..., None].expand_as(code)
        code = torch.zeros_like(code).scatter_reduce_(1, group, code, "amax").gather(1, group)
        classes = found.values[..., self.layer.coords + 1 :]
        return torch.where(code > 0, self.layer.class_scale * ((code & 1) - classes), 0)

    def _statistics(self, truths: _Truths, found: _Found, values: Tensor) -> Tensor:
        """Means of IoU, class, objectness, that of all anchors, recall; count."""
        boxed, objectness = truths.learnt & ~truths.no_box, values[:, :, self.layer.coords]
        counted = truths.first if self.adds_classes else truths.learnt
        count = boxed.sum(dtype=values.dtype)
        means = (
            found.overlap.where(boxed, 0).sum() / count,
            found.likely.where(counted, 0).sum() / truths.learnt.sum(),
            found.values[..., self.layer.coords].where(boxed, 0).sum() / count,
            objectness.where(~truths.no_box[..., None], 0).mean(),
            (boxed & (found.overlap > 0.5)).sum() / count,
        )
        return torch.stack((*means, count)).to(values.dtype)


def _picture(place: Tensor) -> Tensor:  # (N, T) -> (N, 1)
    return torch.arange(len(place), device=place.device)[:, None]


def _index(place: Tensor, cells: int) -> tuple[Tensor, Tensor, Tensor]:
    """Picture, anchor and cell of each place."""
    return _picture(place), place // cells, place % cells
