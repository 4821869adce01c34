"""Head outputs to boxes: what get_network_boxes and do_nms_sort of the C program do. Nothing is changed in place.

Pictures are decoded together: a GPU takes many as soon as one. Outputs have a batch dimension, (N, ...).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from darknet_py.boxes.coder import BoxCoder
from darknet_py.devices import one_thread, places, sent
from darknet_py.errors import DarknetError
from darknet_py.layers.bylayer import ByLayer
from darknet_py.layers.detection import Detection
from darknet_py.layers.region import Region
from darknet_py.layers.yolo import Yolo
from darknet_py.network.graph import Node
from darknet_py.pictures.opening import Size
from darknet_py.predict.candidates import Candidates
from darknet_py.tree.walk import TreeWalk


@dataclass(frozen=True)
class Settings:
    """How to decode: thresholds from 0 to 1, and what YOLO9000 needs."""

    thresh: float = 0.5
    hier: float = 0.5  # the walk down the tree goes on while its product stays above this
    map: tuple[int, ...] | None = None  # with a tree: entry j is class map[j], and every entry has its own score

    def __post_init__(self) -> None:
        for name, value in (("thresh", self.thresh), ("hier", self.hier)):
            if not 0 <= value <= 1:
                raise DarknetError(f"{name} is {value}; it must be from 0 to 1")


@one_thread()
def decode(
    heads: Sequence[Node], outputs: Sequence[Tensor], network: Size, settings: Settings, walk: TreeWalk | None = None
) -> Candidates:
    """The candidates in the outputs (N, ...) of all heads for N pictures.

    Boxes are relative to the network's input, whose width and height are `network`. Those of a picture have the order
    that they have in its outputs. Scores below the threshold are left out. Raises `CfgError` for a head that gives no
    boxes.
    """
    parts = []
    for head, output in zip(heads, outputs, strict=True):
        decode_head = DECODERS[head.layer]
        parts.append(decode_head(head.layer, output.detach().float(), network, settings, walk))
    return Candidates.joined(parts)


def decode_region(
    layer: Region, output: Tensor, network: Size, settings: Settings, walk: TreeWalk | None
) -> Candidates:
    """Boxes of a [region] output (N, num * entries, H, W), by get_region_detections of region_layer.c."""
    n, _, h, w = output.shape
    cells = output.view(n, layer.num, layer.entries, h, w).movedim(2, 4)  # (N, num, H, W, entries)
    scale = torch.ones_like(cells[..., 0]) if layer.background else cells[..., layer.coords]
    found = picture, anchor, row, column = (scale > settings.thresh).nonzero(as_tuple=True)  # (M,) each
    objectness = scale[found]
    boxes = _grid_boxes(layer.coder, layer.anchor_boxes, cells[..., :4][found], (anchor, row, column), (w, h), network)
    classes = cells[..., layer.coords + 1 :]
    if walk is not None and settings.map is None:
        label = walk.at(classes, found, settings.hier)
        return Candidates(
            boxes=boxes,
            objectness=objectness,
            picture_index=picture,
            picture_count=n,
            box_index=torch.arange(len(boxes), device=output.device),
            label=label,
            score=objectness,
        )
    classes = classes[found]  # (M, classes)
    if walk is not None and settings.map is not None:
        unknown = next((label for label in settings.map if not 0 <= label < layer.classes), None)
        if unknown is not None:
            raise DarknetError(f"there is no class {unknown} in the tree, which has {layer.classes}")
        classes = walk.absolute(classes).index_select(1, sent(settings.map, torch.int64, output.device))
    return _scored(boxes, objectness, picture, n, classes, settings.thresh)


def decode_yolo(layer: Yolo, output: Tensor, network: Size, settings: Settings, _walk: TreeWalk | None) -> Candidates:
    """Boxes of a [yolo] output (N, anchors * entries, H, W), by get_yolo_detections of yolo_layer.c."""
    n, channels, h, w = output.shape
    cells = output.view(n, channels // layer.entries, layer.entries, h, w).permute(0, 3, 4, 1, 2)
    picture, row, column, anchor = (cells[..., 4] > settings.thresh).nonzero(as_tuple=True)
    found = cells[picture, row, column, anchor]  # (M, entries)
    boxes = _grid_boxes(layer.coder, layer.anchor_boxes, found, (anchor, row, column), (w, h), network)
    return _scored(boxes, found[:, 4], picture, n, found[:, 5:], settings.thresh)


def decode_detection(
    layer: Detection, output: Tensor, _network: Size, settings: Settings, _walk: TreeWalk | None
) -> Candidates:
    """Boxes of a [detection] output (N, values), by get_detection_detections of detection_layer.c."""
    cells, side, n = layer.side**2, layer.side, len(output)
    layer.require_boxes()
    classes, objectness, boxes = output.split((cells * layer.classes, cells * layer.num, cells * layer.num * 4), 1)
    classes = classes.reshape(n, cells, 1, layer.classes).expand(-1, -1, layer.num, -1).flatten(0, 2)
    boxes = boxes.reshape(n, cells, layer.num, 4)
    cell = torch.arange(cells, device=output.device)
    corner = torch.stack((cell % side, cell // side), 1)[:, None]  # (cells, 1, 2)
    boxes = torch.cat(layer.coder.decode(boxes[..., :2], boxes[..., 2:], corner, side), 3).flatten(0, 2)
    picture = torch.arange(n, device=output.device).repeat_interleave(cells * layer.num)
    return _scored(boxes, objectness.flatten(), picture, n, classes, settings.thresh)


Decoder = Callable[[Any, Tensor, Size, Settings, "TreeWalk | None"], Candidates]
DECODERS: Final[ByLayer[Decoder]] = ByLayer(
    "gives no boxes: is this a classifier?",
    {Region: decode_region, Yolo: decode_yolo, Detection: decode_detection},
)


def _grid_boxes(
    coder: BoxCoder,
    anchors: Sequence[Size | tuple[float, float]],
    found: Tensor,
    place: tuple[Tensor, Tensor, Tensor],
    grid: Size,
    network: Size,
) -> Tensor:
    """The boxes (M, 4), relative to the input, of rows (M, 4 or more); anchor, row and column (M,) are in `place`."""
    numbers = sent([*anchors, grid, coder.units(grid, network)], found.dtype, found.device)
    anchor, row, column = place
    cell = torch.stack((column, row), 1)
    return torch.cat(coder.decode(found[:, :2], found[:, 2:4], cell, numbers[-2], numbers[anchor], numbers[-1]), 1)


def _scored(
    boxes: Tensor, objectness: Tensor, picture: Tensor, pictures: int, classes: Tensor, thresh: float
) -> Candidates:
    """With a row for every class (M, C) of a box whose score, objectness times class, is above the threshold."""
    scores, count = (objectness[:, None] * classes).flatten(), classes.shape[1]
    found = places(scores > thresh)
    box = found // max(count, 1)
    return Candidates(
        boxes=boxes,
        objectness=objectness,
        picture_index=picture,
        picture_count=pictures,
        box_index=box,
        label=found - box * count,
        score=scores.index_select(0, found),
    )
