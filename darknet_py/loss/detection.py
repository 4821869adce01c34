"""The loss of [detection]: what forward_detection_layer of detection_layer.c does, for all cells at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from darknet_py.boxes.overlap import iou
from darknet_py.layers.detection import Detection
from darknet_py.loss.base import HeadLoss, Loss, printed
from darknet_py.network.graph import Graph, Node

RANDOM_UNTIL = 64000  # pictures seen; from then on random=1 changes nothing


@dataclass(frozen=True, eq=False)
class _Cells:
    """The parts of an output or of a truth, S = side*side cells a picture; a truth has one box a cell."""

    classes: Tensor  # (N, S, C)
    objectness: Tensor  # (N, S, num)
    boxes: Tensor  # (N, S, num, coords)


class DetectionLoss(Loss):
    """Objectness of every box, classes of every cell with an object, place and size of its best box."""

    def __init__(self, node: Node, graph: Graph) -> None:
        super().__init__()
        self.layer = cast("Detection", node.layer)
        self.draws = bool(self.layer.random)
        if self.layer.coords < 4:
            raise self.layer.error(f"coords={self.layer.coords} cannot be trained; boxes have 4")
        if self.layer.forced and self.layer.num < 2:
            raise self.layer.error("forced=1 needs two boxes a cell, and num=1")

    def forward(self, raw: Tensor, truth: Tensor, seen: int) -> HeadLoss:
        layer = self.layer
        output, wanted = self._output(raw.detach().float()), self._truth(truth.detach().float())
        there = wanted.objectness.trunc() != 0  # (N, S, 1)
        overlap, distance = self._compare(output.boxes, wanted.boxes)
        number = torch.arange(layer.num, device=raw.device)
        best = (self._responsible(overlap, distance, wanted.boxes, seen)[..., None] == number) & there
        aim = overlap if layer.rescore else torch.ones_like(overlap)
        objectness = torch.where(
            best, layer.object_scale * (aim - output.objectness), -layer.noobject_scale * output.objectness
        )
        classes = torch.where(there, layer.class_scale * (wanted.classes - output.classes), 0)
        centre, size = wanted.boxes[..., :2], layer.coder.sizes.shrink(wanted.boxes[..., 2:4])
        box = torch.cat((centre, size), 3) - output.boxes[..., :4]
        boxes = torch.where(best[..., None], layer.coord_scale * box, 0)
        boxes = F.pad(boxes, (0, layer.coords - 4))
        delta = torch.cat([part.flatten(1) for part in (classes, objectness, boxes)], 1)
        statistics = self._statistics(output, wanted, best, overlap)
        return HeadLoss.of(raw.float().flatten(1), delta, delta.square().sum(), statistics)

    def line(self, statistics: Sequence[float]) -> str:
        overlap, positive, every, there, other = map(printed, statistics[:5])
        return (
            f"Detection Avg IOU: {overlap}, Pos Cat: {positive}, All Cat: {every}, "
            f"Pos Obj: {there}, Any Obj: {other}, count: {round(statistics[5])}"
        )

    def _output(self, raw: Tensor) -> _Cells:
        layer, cells = self.layer, self.layer.side**2
        sizes = (cells * layer.classes, cells * layer.num, cells * layer.num * layer.coords)
        classes, objectness, boxes = raw.flatten(1).split(sizes, 1)
        classes = classes.unflatten(1, (cells, -1))
        return _Cells(
            classes.softmax(2) if layer.softmax else classes,
            objectness.unflatten(1, (cells, -1)),
            boxes.unflatten(1, (cells, layer.num, layer.coords)),
        )

    def _truth(self, truth: Tensor) -> _Cells:
        layer = self.layer
        there, classes, box = truth.unflatten(1, (layer.side**2, -1)).split((1, layer.classes, layer.coords), 2)
        return _Cells(classes, there, box[:, :, None])

    def _compare(self, boxes: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """IoU of each box of a cell with the cell's truth, and the root of the summed squares; (N, S, num) each."""
        side = self.layer.side
        boxes = torch.cat(self.layer.coder.decode(boxes[..., :2], boxes[..., 2:4], 0, side), 3)
        truth = torch.cat((truth[..., :2] / side, truth[..., 2:4]), 3)
        return iou(boxes, truth), (boxes - truth).square().sum(3).sqrt()

    def _responsible(self, overlap: Tensor, distance: Tensor, truth: Tensor, seen: int) -> Tensor:
        """Which box of each cell is to find the truth: (N, S) int64."""
        if self.layer.random and seen < RANDOM_UNTIL:
            return torch.randint(self.layer.num, overlap.shape[:2], device=overlap.device)
        if self.layer.forced:
            return (truth[:, :, 0, 2] * truth[:, :, 0, 3] < 0.1).long()
        highest, best = overlap.max(2)
        return torch.where(highest > 0, best, distance.min(2).indices)

    def _statistics(self, output: _Cells, wanted: _Cells, best: Tensor, overlap: Tensor) -> Tensor:
        there = best.any(2, keepdim=True)
        count = best.sum()
        sums = (
            overlap * best,
            output.classes * (wanted.classes != 0) * there,
            output.classes * there / self.layer.classes,
            output.objectness * best,
        )
        means = [value.sum() / count for value in sums]
        return torch.stack((*means, output.objectness.mean(), count.float()))
