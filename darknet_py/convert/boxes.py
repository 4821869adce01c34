"""Heads to boxes without a step that depends on the values, so that it can be part of a graph.

`darknet_py.predict.decode` picks the boxes above a threshold: how many it gives depends on the picture. Here nothing
is picked: all boxes of a head come out, in the order in which `decode` counts them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from darknet_py.boxes.formats import xyxy_from_cxcywh
from darknet_py.layers.bylayer import ByLayer
from darknet_py.layers.detection import Detection
from darknet_py.layers.region import Region
from darknet_py.layers.yolo import Yolo
from darknet_py.predict.decode import Settings
from darknet_py.tree.walk import TreeWalk


class Dense(NamedTuple):
    """All boxes of N pictures: K a picture, with C classes."""

    boxes: Tensor  # (N, K, 4) left, top, right, bottom as shares of the network's input
    scores: Tensor  # (N, K, C) objectness times class; with a tree (N, K), the objectness
    labels: Tensor | None = None  # with a tree (N, K) int64: where the walk down it ends, with the usual threshold
    probabilities: Tensor | None = None  # with a tree (N, K, C): the absolute ones, for a walk with another


Side = int | Tensor  # a tensor without dimensions while something is traced


def dense_region(layer: Region, output: Tensor, size: tuple[Side, Side], walk: TreeWalk | None) -> Dense:
    """Boxes of [region] outputs (N, num * entries, H, W); K counts anchors, then rows, then columns."""
    entries = output.unflatten(1, (layer.num, layer.entries))  # (N, num, entries, H, W)
    boxes = grid_boxes(layer, entries, size).permute(0, 1, 3, 4, 2).flatten(1, 3)
    rows = entries[:, :, layer.coords :].permute(0, 1, 3, 4, 2).flatten(1, 3)  # (N, K, 1 + classes)
    objectness, classes = rows[..., :1], rows[..., 1:]
    if layer.background:
        objectness = torch.ones_like(objectness)
    if walk is None:
        return Dense(boxes, objectness * classes)
    absolute = walk.absolute(classes)
    return Dense(boxes, objectness[..., 0], walk(absolute, Settings.hier), absolute)


def dense_yolo(layer: Yolo, output: Tensor, size: tuple[Side, Side], _walk: TreeWalk | None) -> Dense:
    """Boxes of [yolo] outputs (N, anchors * entries, H, W); K counts rows, then columns, then anchors."""
    entries = output.unflatten(1, (-1, layer.entries))  # (N, anchors, entries, H, W)
    boxes = grid_boxes(layer, entries, size).permute(0, 3, 4, 1, 2).flatten(1, 3)
    rows = entries[:, :, 4:].permute(0, 3, 4, 1, 2).flatten(1, 3)  # (N, K, 1 + classes)
    return Dense(boxes, rows[..., :1] * rows[..., 1:])


def dense_detection(layer: Detection, output: Tensor, _size: tuple[Side, Side], _walk: TreeWalk | None) -> Dense:
    """Boxes of [detection] outputs (N, values); K counts cells, then their boxes."""
    cells, side = layer.side**2, layer.side
    classes, objectness, boxes = output.split((cells * layer.classes, cells * layer.num, cells * layer.num * 4), 1)
    scores = objectness.unflatten(1, (cells, layer.num, 1)) * classes.unflatten(1, (cells, 1, layer.classes))
    boxes = boxes.unflatten(1, (cells, layer.num, 4))
    cell = torch.arange(cells, device=output.device)
    corner = torch.stack((cell % side, cell // side), 1)[:, None]  # (cells, 1, 2)
    boxes = torch.cat(layer.coder.decode(boxes[..., :2], boxes[..., 2:], corner, side), 3)
    return Dense(xyxy_from_cxcywh(boxes).flatten(1, 2), scores.flatten(1, 2))


Decoder = Callable[[Any, Tensor, Any, Any], Dense]
DENSE: Final[ByLayer[Decoder]] = ByLayer(
    "has no boxes that can be part of a graph",
    {Region: dense_region, Yolo: dense_yolo, Detection: dense_detection},
)


def grid_boxes(layer: Region | Yolo, entries: Tensor, network: tuple[Side, Side]) -> Tensor:
    """From (N, anchors, entries, H, W) to left, top, right, bottom, (N, anchors, 4, H, W); `network` is h and w."""
    coder, (h, w) = layer.coder, entries.shape[3:]
    anchor = entries.new_tensor(layer.anchor_boxes)[..., None, None]  # (anchors, 2, 1, 1)
    column, row = torch.arange(w, device=entries.device), torch.arange(h, device=entries.device)[:, None]
    down, along = coder.units((h, w), network)
    x, width = coder.decode(entries[:, :, 0], entries[:, :, 2], column, w, anchor[:, 0], along)
    y, height = coder.decode(entries[:, :, 1], entries[:, :, 3], row, h, anchor[:, 1], down)
    half_w, half_h = width / 2, height / 2
    return torch.stack((x - half_w, y - half_h, x + half_w, y + half_h), 2)
