"""The loss of [yolo]: what forward_yolo_layer of yolo_layer.c does, for all boxes and truths at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from darknet_py.boxes.overlap import iou
from darknet_py.layers.yolo import Yolo
from darknet_py.loss.base import HeadLoss, Loss, printed
from darknet_py.loss.classes import ClassTargets
from darknet_py.loss.parts import BOX_LOSSES
from darknet_py.loss.parts.grid import Grid
from darknet_py.loss.parts.pairs import BoxPairs
from darknet_py.loss.parts.yolo_match import YoloMatch, YoloMatcher
from darknet_py.loss.truths import Truths
from darknet_py.network.graph import Graph, Node


class YoloLoss(Loss):
    """Objectness of every box; place, size and classes of those that are to find a truth.

    Its parts are `matcher`, `box_loss` (with the weight `box_weight`), `objectness` and `classes`; deltas have the
    shape of the output, (N, A, entries, H*W), of which each part gives some entries.
    """

    anchors: Tensor  # (A, 2) of this layer, in pixels of the input
    box_weight = 1.0

    def __init__(self, node: Node, graph: Graph) -> None:
        super().__init__()
        self.layer, self.index = cast("Yolo", node.layer), node.index
        self.input_size = (graph.net.width, graph.net.height)
        layer = self.layer
        self.head = layer.build(node.inputs)
        self.targets = ClassTargets(layer.classes, layer.label_map or ())
        self.matcher = YoloMatcher(layer)
        self.box_loss = BOX_LOSSES["mse"]
        self.register_buffer("anchors", torch.tensor(layer.anchor_boxes, dtype=torch.float32), persistent=False)

    def forward(self, raw: Tensor, truth: Tensor, seen: int) -> HeadLoss:
        grid = Grid.of(raw, self.layer.coder, self.input_size)
        output = self.head(raw.detach().float())
        output = output.reshape(len(raw), len(self.anchors), self.layer.entries, grid.cells)  # (N, A, E, H*W)
        boxes = grid.decode(output, self.anchors)
        truths = Truths.read(truth.detach().float(), self.layer.truths)
        label = self.targets.known(self.targets.mapped(truths.label))
        match = self.matcher(boxes.flatten(1, 2), truths, grid)
        parts = (
            self.box(output, boxes, truths, match, grid),
            self.objectness(output[:, :, 4:5], match),
            self.classes(output[:, :, 5:], label, match),
        )
        delta = torch.cat(parts, 2)
        statistics = self.statistics(output, boxes, truths, label, match)
        return HeadLoss.of(raw.float(), delta.reshape(raw.shape), delta.square().sum(), statistics)

    def line(self, statistics: Sequence[float]) -> str:
        overlap, label, objectness, other, half, most = map(printed, statistics[:6])
        return (
            f"Region {self.index} Avg IOU: {overlap}, Class: {label}, Obj: {objectness}, No Obj: {other}, "
            f".5R: {half}, .75R: {most},  count: {round(statistics[6])}"
        )

    def box(self, output: Tensor, boxes: Tensor, truths: Truths, match: YoloMatch, grid: Grid) -> Tensor:
        """The deltas (N, A, 4, H*W) of x, y, w, h, given the predicted boxes (N, A, H*W, 4)."""
        n, anchors, _, cells = output.shape
        learnt = truths.boxes.mT.gather(2, match.truth[:, None].expand(-1, 4, -1))  # (N, 4, P)
        learnt = learnt.unflatten(2, (anchors, cells)).movedim(1, 3)
        wanted = grid.encode(learnt, grid.every_cell(output), self.anchors[:, None])
        delta = self.box_loss(BoxPairs(output[:, :, :4].mT, wanted, boxes, learnt), self.box_weight)
        return torch.where(match.learns.view(n, anchors, 1, cells), delta.mT, 0)

    def objectness(self, values: Tensor, match: YoloMatch) -> Tensor:  # (N, A, 1, H*W) -> the same
        """A box with a truth learns 1, one near to a truth nothing, all others 0."""
        wanted = match.learns.view_as(values)
        ignored = (match.overlap > self.layer.ignore_thresh).view_as(values) & ~wanted
        return torch.where(ignored, 0, wanted.float() - values)

    def classes(self, values: Tensor, label: Tensor, match: YoloMatch) -> Tensor:  # (N, A, C, H*W) -> the same
        """A box learns the classes (N, T) of all its truths, not only that of the last."""
        n, anchors, _, cells = values.shape
        box = torch.arange(anchors * cells, device=values.device).expand(n, -1)
        near = self._class_places(box, label.gather(1, match.nearest), match.near, cells)
        found = self._class_places(match.slot, label, match.found, cells)
        place, is_one = (torch.cat(parts, 1) for parts in zip(near, found, strict=True))
        wanted = torch.zeros_like(values).flatten(1).scatter_reduce_(1, place, is_one.float(), "amax")
        return torch.where(match.learns.view(n, anchors, 1, cells), wanted.view_as(values) - values, 0)

    def _class_places(self, slot: Tensor, label: Tensor, valid: Tensor, cells: int) -> tuple[Tensor, Tensor]:
        """Where class `label` of box `slot` is among the values of a picture (A, C, H*W), and if there is one."""
        valid = valid & (label < self.layer.classes)
        place = (slot // cells * self.layer.classes + label) * cells + slot % cells
        return torch.where(valid, place, 0), valid

    def statistics(self, output: Tensor, boxes: Tensor, truths: Truths, label: Tensor, match: YoloMatch) -> Tensor:
        """The numbers (7,) of `line`, from the output (N, A, E, H*W) and its boxes (N, A, H*W, 4)."""
        slot, found = match.slot, match.found
        overlap = iou(boxes.flatten(1, 2).gather(1, slot[..., None].expand(-1, -1, 4)), truths.boxes)
        place, is_one = self._class_places(slot, label, found, output.shape[3])
        likely = output[:, :, 5:].flatten(1).gather(1, place) * is_one
        objectness = output[:, :, 4].flatten(1).gather(1, slot)
        count = found.sum(dtype=output.dtype)
        sums = [overlap, likely, objectness, (overlap > 0.5), (overlap > 0.75)]
        means = [(value * found).sum() / count for value in sums]
        return torch.stack((*means[:3], output[:, :, 4].mean(), *means[3:], count))
