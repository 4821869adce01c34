"""The loss of [yolo]: what forward_yolo_layer of yolo_layer.c does, for all boxes and truths at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from darknet_py.boxes.overlap import iou
from darknet_py.layers.yolo import Yolo
from darknet_py.loss.base import HeadLoss, Loss, printed
from darknet_py.network.graph import Graph, Node

ROW = 5  # values a truth: x, y, w, h relative to the input, class


@dataclass(frozen=True, eq=False)
class _Truths:
    """The truths of a batch, T a picture; rows that are none are boxes without size."""

    boxes: Tensor  # (N, T, 4)
    label: Tensor  # (N, T) int64
    slot: Tensor  # (N, T) int64: the box among the layer's A*H*W that is to find it
    found: Tensor  # (N, T) whether there is such a box


@dataclass(frozen=True, eq=False)
class _Match:
    """What each of the layer's P = A*H*W boxes learns."""

    best: Tensor  # (N, P) its highest IoU with a truth
    nearest: Tensor  # (N, P) int64: the truth it has that with
    near: Tensor  # (N, P) whether that is above truth_thresh
    learns: Tensor  # (N, P) whether it learns a truth at all
    truth: Tensor  # (N, P) int64: which


class YoloLoss(Loss):
    """Objectness of every box; place, size and classes of those that are to find a truth."""

    anchors: Tensor  # (total, 2) of all heads, in pixels of the input
    own: Tensor  # (A, 2) of this layer
    places: Tensor  # (total,) where in `own` an anchor is, or -1
    map: Tensor  # (labels,) int64: the class of each label; empty where that is the label

    def __init__(self, node: Node, graph: Graph) -> None:
        super().__init__()
        self.layer, self.index = cast("Yolo", node.layer), node.index
        self.input_size = (graph.net.width, graph.net.height)
        layer = self.layer
        mask = layer.own_anchors
        places = [mask.index(n) if n in mask else -1 for n in range(layer.num)]
        classes = layer.label_map or ()
        anchors = torch.tensor(layer.all_anchors, dtype=torch.float32)
        self.register_buffer("anchors", anchors, persistent=False)
        self.register_buffer("own", torch.tensor(layer.anchor_boxes, dtype=torch.float32), persistent=False)
        self.register_buffer("places", torch.tensor(places, dtype=torch.int64), persistent=False)
        self.register_buffer("map", torch.tensor(classes, dtype=torch.int64), persistent=False)

    def forward(self, raw: Tensor, truth: Tensor, seen: int) -> HeadLoss:
        size = raw.shape[3], raw.shape[2]
        logits = raw.detach().float().reshape(len(raw), len(self.own), self.layer.entries, -1)  # (N, A, E, H*W)
        output = torch.cat((logits[:, :, :2].sigmoid(), logits[:, :, 2:4], logits[:, :, 4:].sigmoid()), 2)
        boxes = self._boxes(output, size)
        truths = self._read(truth.detach().float(), size)
        match = self._match(boxes, truths)
        delta = torch.cat(
            (
                self._box_delta(output, truths, match, size),
                self._objectness_delta(output[:, :, 4], match),
                self._class_delta(output[:, :, ROW:], truths, match),
            ),
            2,
        )
        statistics = self._statistics(output, boxes, truths)
        return HeadLoss.of(raw.float(), delta.reshape(raw.shape), delta.square().sum(), statistics)

    def line(self, statistics: Sequence[float]) -> str:
        overlap, label, objectness, other, half, most = map(printed, statistics[:6])
        return (
            f"Region {self.index} Avg IOU: {overlap}, Class: {label}, Obj: {objectness}, No Obj: {other}, "
            f".5R: {half}, .75R: {most},  count: {round(statistics[6])}"
        )

    def _boxes(self, output: Tensor, size: tuple[int, int]) -> Tensor:  # (N, A, E, H*W) -> (N, P, 4)
        """The predicted boxes, relative to the input."""
        x, y, w, h = output[:, :, :4].unbind(2)
        column, row = _grid(size, output)
        centre = (x + column) / size[0], (y + row) / size[1]
        width, height = (self.own[:, n, None] for n in (0, 1))
        sides = w.exp() * width / self.input_size[0], h.exp() * height / self.input_size[1]
        return torch.stack((*centre, *sides), 1).flatten(2).mT

    def _read(self, truth: Tensor, size: tuple[int, int]) -> _Truths:
        """The rows of `truth` up to the first with x = 0, each with the box of this layer that is to find it."""
        rows = F.pad(truth, (0, ROW)).unflatten(1, (-1, ROW))  # one row more, so that there is one
        rows = rows[:, : max(min(self.layer.max, rows.shape[1] - 1), 1)]
        rows = (rows * (rows[..., :1] != 0).cumprod(1)).mT.contiguous().mT  # coordinates apart: `iou` is faster so
        boxes, label = rows[..., :4], rows[..., 4].long()
        if len(self.map):
            label = torch.where(label == label.clamp(0, len(self.map) - 1), self.map[label % len(self.map)], -1)
        sides = torch.stack((self.anchors[:, 0] / self.input_size[0], self.anchors[:, 1] / self.input_size[1]), 1)
        shapes = iou(F.pad(boxes[:, :, None, 2:], (2, 0)), F.pad(sides, (2, 0)))  # (N, T, total)
        anchor = self.places[shapes.max(2).indices]
        column, row = (boxes[..., 0] * size[0]).trunc(), (boxes[..., 1] * size[1]).trunc()
        inside = (column >= 0) & (column < size[0]) & (row >= 0) & (row < size[1])
        found = inside & (rows[..., 0] != 0) & (anchor >= 0)
        slot = (anchor * size[1] + row) * size[0] + column
        return _Truths(boxes, label, torch.where(found, slot, 0).long(), found)

    def _match(self, boxes: Tensor, truths: _Truths) -> _Match:
        best, nearest = iou(boxes[:, :, None], truths.boxes[:, None]).max(2)
        near = best > self.layer.truth_thresh
        # Of several truths at one box, the last.
        number = torch.arange(truths.slot.shape[1], device=boxes.device).expand_as(truths.slot)
        number = torch.where(truths.found, number, -1)
        last = torch.full_like(nearest, -1).scatter_reduce_(1, truths.slot, number, "amax")
        return _Match(best, nearest, near, near | (last >= 0), torch.where(last >= 0, last, nearest))

    def _box_delta(self, output: Tensor, truths: _Truths, match: _Match, size: tuple[int, int]) -> Tensor:
        """(N, A, 4, H*W)."""
        n, anchors, _, cells = output.shape
        chosen = truths.boxes.mT.gather(2, match.truth[:, None].expand(-1, 4, -1))  # (N, 4, P)
        x, y, w, h = chosen.unflatten(2, (anchors, cells)).unbind(1)  # (N, A, H*W) each
        column, row = _grid(size, output)
        width, height = (self.own[:, n, None] for n in (0, 1))
        sides = (w * self.input_size[0] / width).log(), (h * self.input_size[1] / height).log()
        wanted = torch.stack((x * size[0] - column, y * size[1] - row, *sides), 2)
        delta = (2 - w * h)[:, :, None] * (wanted - output[:, :, :4])
        return torch.where(match.learns.view(n, anchors, 1, cells), delta, 0)

    def _objectness_delta(self, objectness: Tensor, match: _Match) -> Tensor:  # (N, A, H*W) -> (N, A, 1, H*W)
        wanted = match.learns.view_as(objectness)
        ignored = (match.best > self.layer.ignore_thresh).view_as(objectness) & ~wanted
        return torch.where(ignored, 0, wanted.float() - objectness)[:, :, None]

    def _class_delta(self, classes: Tensor, truths: _Truths, match: _Match) -> Tensor:
        """(N, A, C, H*W): a box learns the classes of all its truths, not of the last alone."""
        n, anchors, _, cells = classes.shape
        box = torch.arange(anchors * cells, device=classes.device).expand(n, -1)
        near = self._class_places(box, truths.label.gather(1, match.nearest), match.near, cells)
        found = self._class_places(truths.slot, truths.label, truths.found, cells)
        place, is_one = (torch.cat(parts, 1) for parts in zip(near, found, strict=True))
        wanted = torch.zeros_like(classes).flatten(1).scatter_reduce_(1, place, is_one.float(), "amax")
        return torch.where(match.learns.view(n, anchors, 1, cells), wanted.view_as(classes) - classes, 0)

    def _class_places(self, slot: Tensor, label: Tensor, valid: Tensor, cells: int) -> tuple[Tensor, Tensor]:
        """Where class `label` of box `slot` is among the values of a picture (A, C, H*W), and if there is one."""
        valid = valid & (label >= 0) & (label < self.layer.classes)
        place = (slot // cells * self.layer.classes + label) * cells + slot % cells
        return torch.where(valid, place, 0), valid

    def _statistics(self, output: Tensor, boxes: Tensor, truths: _Truths) -> Tensor:
        found, cells = truths.found, output.shape[3]
        overlap = iou(boxes.gather(1, truths.slot[..., None].expand(-1, -1, 4)), truths.boxes)
        place, is_one = self._class_places(truths.slot, truths.label, found, cells)
        label = output[:, :, ROW:].flatten(1).gather(1, place) * is_one
        objectness = output[:, :, 4].flatten(1).gather(1, truths.slot)
        count = found.sum(dtype=output.dtype)
        sums = [overlap, label, objectness, (overlap > 0.5), (overlap > 0.75)]
        means = [(value * found).sum() / count for value in sums]
        return torch.stack((*means[:3], output[:, :, 4].mean(), *means[3:], count))


def _grid(size: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor]:
    """The column and the row of each of the W*H cells, row by row."""
    cell = torch.arange(size[0] * size[1], device=like.device)
    return (cell % size[0]).to(like.dtype), (cell // size[0]).to(like.dtype)
