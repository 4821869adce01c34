"""The loss of [region], by forward_region_layer of region_layer.c, for all anchors and truths at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor

from darknet_py.boxes.overlap import iou
from darknet_py.layers.region import Region, RegionModule
from darknet_py.loss.base import HeadLoss, Loss, printed
from darknet_py.loss.classes import ClassTargets, TreeTargets
from darknet_py.loss.parts import BOX_LOSSES
from darknet_py.loss.parts.grid import Grid
from darknet_py.loss.parts.pairs import BoxPairs
from darknet_py.loss.parts.region_match import RegionMatch, RegionMatcher
from darknet_py.loss.truths import Truths
from darknet_py.network.graph import Graph, Node

PRIOR_PICTURES: Final = 12_800  # pictures until which all boxes also learn their anchor, in the middle of their cell
PRIOR_SCALE: Final = 0.01


@dataclass(frozen=True, eq=False)
class Found:
    """The predictions of the truths' anchors."""

    values: Tensor  # (N, T, entries)
    boxes: Tensor  # (N, T, 4)
    overlap: Tensor  # (N, T) IoU of the box with the truth
    likely: Tensor  # (N, T) probability of the label


class RegionLoss(Loss):
    """The deltas themselves: with rescore, and where truths share an anchor, no plain loss has them as gradient.

    Its parts are `matcher`, `box_loss`, `objectness` and `classes`, and `prior` and `mask`, which only this layer has.
    """

    def __init__(self, node: Node, graph: Graph) -> None:
        super().__init__()
        self.layer = layer = cast("Region", node.layer)
        tree, mapping = layer.word_tree, layer.label_map or ()
        self.head = RegionModule(layer, tree)
        self.targets = ClassTargets(layer.classes, mapping) if tree is None else TreeTargets(tree, mapping)
        self.matcher = RegionMatcher(layer, self.targets)
        self.box_loss = BOX_LOSSES["mse"]
        self.adds_classes = not (layer.softmax or tree is not None or layer.class_scale == 0)

    @property
    def anchors(self) -> Tensor:  # (A, 2) in cells
        """Width and height of the anchors."""
        return self.matcher.anchors

    def forward(self, raw: Tensor, truth: Tensor, seen: int) -> HeadLoss:
        layer, grid = self.layer, Grid.of(raw, self.layer.coder, self.input_size)
        raw = raw.to(torch.promote_types(raw.dtype, torch.float32))
        values = self.head(raw.detach())
        values = values.reshape(len(raw), len(self.anchors), layer.entries, grid.cells)  # (N, A, E, H*W)
        boxes = grid.decode(values, self.anchors)
        truths = Truths.read(truth.detach().to(raw.dtype), layer.truths, layer.coords)
        match = self.matcher(values, boxes, truths, grid)
        found = self.look(values, boxes, truths, match)
        delta = torch.zeros_like(values)
        if seen < PRIOR_PICTURES:
            delta[:, :, :4] = self.prior(values, match)
        delta[:, :, layer.coords] = self.objectness(values, boxes, truths, match)
        at = match.index(grid.cells)
        head = self.of_last(self.head_rows(truths, match, found, grid), delta.mT[at], match)
        delta.mT[at] = torch.cat((head, self.classes(match, found)), 2)  # truths together write the same
        cost = delta.square().sum()
        for part in (slice(0, 2), slice(4, layer.coords + (not layer.background))):
            delta[:, :, part] *= values[:, :, part] * (1 - values[:, :, part])  # back through the logistic
        return HeadLoss.of(raw, delta.reshape(raw.shape), cost, self.statistics(match, found, values))

    def line(self, statistics: Sequence[float]) -> str:
        overlap, label, objectness, other, recall = map(printed, statistics[:5])
        return (
            f"Region Avg IOU: {overlap}, Class: {label}, Obj: {objectness}, No Obj: {other}, "
            f"Avg Recall: {recall},  count: {round(statistics[5])}"
        )

    def look(self, values: Tensor, boxes: Tensor, truths: Truths, match: RegionMatch) -> Found:
        """The predictions of the truths' anchors in the output (N, A, E, H*W) and among its boxes (N, A, H*W, 4)."""
        at = match.index(values.shape[3])
        there, own = values.mT[at], boxes[at]
        likely = self.targets.probability(there[..., self.layer.coords + 1 :].mT, match.label)
        return Found(there, own, iou(own, truths.boxes), likely)

    def prior(self, values: Tensor, match: RegionMatch) -> Tensor:  # (N, A, E, H*W) -> (N, A, 4, H*W)
        """At first all boxes learn the shape of their anchor, in the middle of their cell."""
        scale = PRIOR_SCALE * (~match.no_box[..., None, None]).to(values.dtype)
        return torch.cat((scale * (0.5 - values[:, :, :2]), scale * -values[:, :, 2:4]), 2)

    def objectness(self, values: Tensor, boxes: Tensor, truths: Truths, match: RegionMatch) -> Tensor:
        """The deltas (N, A, H*W) of anchors without a truth: no object, unless their box overlaps a truth enough."""
        layer, no_box = self.layer, match.no_box[..., None]  # (N, 1, 1)
        best = iou(boxes.flatten(1, 2)[:, None], truths.boxes[:, :, None]).amax(1).view(boxes.shape[:3])
        spared = (best > layer.thresh) & ~no_box
        background = (~no_box).to(values.dtype) * layer.background
        return (layer.noobject_scale * (background - values[:, :, layer.coords])).where(~spared, 0)

    def head_rows(self, truths: Truths, match: RegionMatch, found: Found, grid: Grid) -> Tensor:
        """The deltas (N, T, coords + 1) of box, mask and objectness for the anchor of each truth."""
        layer, values = self.layer, found.values
        _, anchor, cell = match.index(grid.cells)
        wanted = grid.encode(truths.boxes, cell, self.anchors[anchor])
        box = self.box_loss(BoxPairs(values[..., :4], wanted, found.boxes, truths.boxes), layer.coord_scale)
        mask = layer.mask_scale * (truths.mask - values[..., 4 : layer.coords])
        aim = found.overlap if layer.rescore else torch.ones_like(found.overlap)
        objectness = layer.object_scale * (aim * (not layer.background) - values[..., layer.coords])
        return torch.cat((box, mask, objectness[..., None]), 2).where(~match.no_box[..., None], 0)

    def of_last(self, rows: Tensor, before: Tensor, match: RegionMatch) -> Tensor:
        """For each truth the row (N, T, coords + 1) of the last that its anchor learns, or what that had `before`."""
        last = match.last[..., None].expand_as(rows)
        return torch.where(last > 0, rows.gather(1, (last - 1).clamp(min=0)), before[..., : rows.shape[2]])

    def classes(self, match: RegionMatch, found: Found) -> Tensor:
        """The deltas (N, T, C) of the classes.

        A class learns from the last truth of its anchor that concerns it; a logistic class learns from all of them.
        """
        rank = torch.ones_like(match.number) if self.adds_classes else match.number
        asked = self.targets.asked(match.label) & match.learnt[..., None]
        code = asked * (2 * rank[:, None] + self.targets.right(match.label))  # the highest has the rank, and 0 or 1
        group = match.together.int().argmax(2)[..., None].expand_as(code)
        code = torch.zeros_like(code).scatter_reduce_(1, group, code, "amax").gather(1, group)
        values = found.values[..., self.layer.coords + 1 :]
        return torch.where(code > 0, self.layer.class_scale * ((code & 1) - values), 0)

    def statistics(self, match: RegionMatch, found: Found, values: Tensor) -> Tensor:
        """Means (6,) of IoU, class, objectness, that of all anchors of an output (N, A, E, H*W), recall; count."""
        boxed, objectness = match.learnt & ~match.no_box, values[:, :, self.layer.coords]
        counted = match.first if self.adds_classes else match.learnt
        count = boxed.sum(dtype=values.dtype)
        means = (
            found.overlap.where(boxed, 0).sum() / count,
            found.likely.where(counted, 0).sum() / match.learnt.sum(),
            found.values[..., self.layer.coords].where(boxed, 0).sum() / count,
            objectness.where(~match.no_box[..., None], 0).mean(),
            (boxed & (found.overlap > 0.5)).sum() / count,
        )
        return torch.stack((*means, count)).to(values.dtype)
