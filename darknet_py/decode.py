"""Head outputs to boxes: what get_network_boxes and do_nms_sort of the C program do. Nothing is changed in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from darknet_py.boxes import nms, unletterbox
from darknet_py.cpu import descending, one_thread, places
from darknet_py.errors import DarknetError
from darknet_py.graph import Node
from darknet_py.layers.detection import Detection
from darknet_py.layers.region import Region
from darknet_py.layers.yolo import Yolo
from darknet_py.tree import WordTree

Size = tuple[int, int]  # width, height


@dataclass(frozen=True)
class Candidates:
    """Boxes with the classes they may have: row k says that box `box[k]` has class `label[k]` with `score[k]`."""

    boxes: Tensor  # (N, 4) x, y, w, h relative to the network's input or to the picture
    objectness: Tensor  # (N,)
    box: Tensor  # (K,) int64
    label: Tensor  # (K,) int64
    score: Tensor  # (K,) above the threshold

    @one_thread()
    def rows(self, which: Tensor) -> Candidates:
        """Some of the rows, by a mask or by their numbers."""
        return Candidates(self.boxes, self.objectness, self.box[which], self.label[which], self.score[which])

    def suppressed(self, threshold: float) -> Candidates:
        """Those that Darknet's NMS leaves, class by class (do_nms_sort)."""
        return self.rows(places(nms(self.boxes, self.box, self.label, self.score, threshold)))

    def best_first(self) -> Candidates:
        """In the order of their scores; of equal ones the earlier row comes first."""
        return self.rows(descending(self.score))

    def as_printed(self) -> Candidates:
        """In the order in which the C program prints them.

        do_nms_sort sorts all boxes by one class after the other, before it suppresses any in that class, so the last
        class decides first; the classes of a box rise.
        """
        labels, label = self.label.unique(return_inverse=True)
        scores = self.score.new_zeros(len(self.boxes), len(labels))
        scores[self.box, label] = self.score
        order = torch.arange(len(self.boxes), device=self.box.device)
        for column in scores.unbind(1):
            order = order[descending(column[order])]
        place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        return self.rows((place[self.box] * len(labels) + label).argsort())

    def in_picture(self, picture: Size, network: Size) -> Candidates:
        """With boxes relative to the picture that was letterboxed to the network's input."""
        boxes = unletterbox(self.boxes, picture, network)
        return Candidates(boxes, self.objectness, self.box, self.label, self.score)

    @classmethod
    def joined(cls, parts: Sequence[Candidates]) -> Candidates:
        """Those of several heads, in the order of the heads."""
        if len(parts) == 1:
            return parts[0]
        starts = [sum(len(part.boxes) for part in parts[:n]) for n in range(len(parts))]
        return cls(
            torch.cat([part.boxes for part in parts]),
            torch.cat([part.objectness for part in parts]),
            torch.cat([part.box + start for part, start in zip(parts, starts, strict=True)]),
            torch.cat([part.label for part in parts]),
            torch.cat([part.score for part in parts]),
        )


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
    heads: Sequence[Node], outputs: Sequence[Tensor], network: Size, settings: Settings, tree: WordTree | None = None
) -> Candidates:
    """The candidates in the outputs of all heads for one picture; each output is without the batch dimension.

    Boxes are relative to the network's input, whose width and height are `network`. Scores below the threshold are
    left out. Raises `DarknetError` for a head that gives no boxes.
    """
    parts = []
    for head, output in zip(heads, outputs, strict=True):
        decoder = DECODERS.get(type(head.layer))
        if decoder is None:
            raise DarknetError(f"{head} gives no boxes: is this a classifier?")
        parts.append(decoder(head.layer, output.detach().float(), network, settings, tree))
    return Candidates.joined(parts)


def decode_region(
    layer: Region, output: Tensor, _network: Size, settings: Settings, tree: WordTree | None
) -> Candidates:
    """Boxes of a [region] output (num * entries, H, W), by get_region_detections of region_layer.c."""
    _, h, w = output.shape
    entries = output.view(layer.num, layer.entries, h, w)
    scale = torch.ones_like(entries[:, 0]) if layer.background else entries[:, layer.coords]
    anchor, row, column = (scale > settings.thresh).nonzero(as_tuple=True)  # (N,) each
    objectness = scale[anchor, row, column]
    anchors = output.new_tensor(layer.anchor_boxes)[anchor]  # (N, 2) in cells
    boxes = _grid_boxes(entries[anchor, :4, row, column], row, column, anchors, (w, h), (w, h))
    classes = entries[:, layer.coords + 1 :].movedim(1, -1)  # (num, H, W, classes)
    if tree is not None and settings.map is None:
        # Every cell walks, as taking thousands of classes out of those that were found would cost more.
        label = tree.walk(classes, settings.hier, conditional=True)[anchor, row, column]
        return Candidates(boxes, objectness, torch.arange(len(boxes), device=output.device), label, objectness)
    classes = classes[anchor, row, column]  # (N, classes)
    if tree is not None and settings.map is not None:
        unknown = next((n for n in settings.map if not 0 <= n < layer.classes), None)
        if unknown is not None:
            raise DarknetError(f"there is no class {unknown} in the tree, which has {layer.classes}")
        classes = tree.absolute(classes)[:, list(settings.map)]
    return _scored(boxes, objectness, objectness[:, None] * classes, settings.thresh)


def decode_yolo(layer: Yolo, output: Tensor, network: Size, settings: Settings, _tree: WordTree | None) -> Candidates:
    """Boxes of a [yolo] output (anchors * entries, H, W), by get_yolo_detections of yolo_layer.c."""
    _, h, w = output.shape
    entries = output.view(-1, layer.entries, h, w)
    row, column, anchor = (entries[:, 4].permute(1, 2, 0) > settings.thresh).nonzero(as_tuple=True)
    found = entries[anchor, :, row, column]
    anchors = output.new_tensor(layer.anchor_boxes)[anchor]  # (N, 2) in pixels
    boxes = _grid_boxes(found, row, column, anchors, (w, h), network)
    objectness = found[:, 4]
    return _scored(boxes, objectness, objectness[:, None] * found[:, 5:], settings.thresh)


def decode_detection(
    layer: Detection, output: Tensor, _network: Size, settings: Settings, _tree: WordTree | None
) -> Candidates:
    """Boxes of a [detection] output (a row), by get_detection_detections of detection_layer.c."""
    cells, side = layer.side**2, layer.side
    if layer.coords != 4:
        raise DarknetError(f"[detection] coords={layer.coords} gives no boxes; they have 4")
    classes, objectness, boxes = output.split((cells * layer.classes, cells * layer.num, cells * layer.num * 4))
    classes = classes.view(cells, 1, layer.classes).expand(-1, layer.num, -1).flatten(0, 1)
    boxes = boxes.view(cells, layer.num, 4)
    cell = torch.arange(cells, device=output.device)
    corner = torch.stack((cell % side, cell // side), 1)[:, None]  # (cells, 1, 2)
    size = boxes[..., 2:].square() if layer.sqrt else boxes[..., 2:]
    boxes = torch.cat(((boxes[..., :2] + corner) / side, size), 2).flatten(0, 1)
    return _scored(boxes, objectness, objectness[:, None] * classes, settings.thresh)


Decoder = Callable[[Any, Tensor, Size, Settings, "WordTree | None"], Candidates]
DECODERS: Final[dict[type, Decoder]] = {
    Region: decode_region,
    Yolo: decode_yolo,
    Detection: decode_detection,
}


def _grid_boxes(found: Tensor, row: Tensor, column: Tensor, anchors: Tensor, grid: Size, unit: Size) -> Tensor:
    """(N, 4) boxes relative to the input; anchors (N, 2) are in `unit`s of it: cells or pixels."""
    centre = (found[:, :2] + torch.stack((column, row), 1)) / found.new_tensor(grid)
    return torch.cat((centre, found[:, 2:4].exp() * anchors / found.new_tensor(unit)), 1)


def _scored(boxes: Tensor, objectness: Tensor, scores: Tensor, thresh: float) -> Candidates:
    found = places((scores > thresh).flatten())
    box = found // max(scores.shape[1], 1)
    return Candidates(boxes, objectness, box, found - box * scores.shape[1], scores.flatten()[found])
