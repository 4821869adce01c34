"""``[yolo]``: the head of YOLOv3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from darknet_py.boxes.coder import BoxCoder
from darknet_py.cfg.keys import file_name, integer, key, list_of, natural, number, positive
from darknet_py.layers.base import Layer, Shape, register
from darknet_py.layers.region import limited_truths, pair_anchors


@register("yolo")
@dataclass(frozen=True, kw_only=True)
class Yolo(Layer):
    """``[yolo]``: boxes on a grid with the anchors that `mask` names; per anchor x, y, w, h, objectness, classes."""

    is_head = True

    anchors: tuple[float, ...] = key(list_of(number), (), "width, height of all anchors in pixels of the input")
    mask: tuple[int, ...] | None = key(list_of(natural), None, "which anchors this layer has; all where not given")
    classes: int = key(positive, 20, "how many classes")
    num: int = key(positive, 1, "anchors in all layers together")
    max: int = key(integer, 90, "truths a picture")
    jitter: float = key(number, 0.2, "how much pictures are cropped while training, as a share of their size")
    ignore_thresh: float = key(number, 0.5, "boxes with a higher IoU with a truth learn no missing object")
    truth_thresh: float = key(number, 1.0, "boxes with a higher IoU with a truth learn that truth")
    random: int = key(integer, 0, "not 0: another input size every 10 batches while training")
    map: str | None = key(file_name, None, "a .map file: the class here of each class in the labels")

    @property
    def truths(self) -> int:
        """Truths a picture; raises `CfgError` for more than can be meant."""
        return limited_truths(self, max(self.max, 0))

    @property
    def anchor_boxes(self) -> tuple[tuple[float, float], ...]:
        """(width, height) of this layer's anchors, in pixels of the network's input."""
        if self.mask is None:
            return pair_anchors(self.anchors, self.num)
        return tuple(pair_anchors(self.anchors[2 * n : 2 * n + 2], 1)[0] for n in self.mask)

    @property
    def coder(self) -> BoxCoder:
        """How its numbers are boxes."""
        return BoxCoder(unit="pixels")

    @property
    def entries(self) -> int:
        """Channels an anchor."""
        return 5 + self.classes

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        shape = self.image(inputs)
        if self.mask is not None and any(n >= self.num for n in self.mask):
            raise self.error(f"mask={','.join(map(str, self.mask))} names an anchor beyond num={self.num}")
        count = self.num if self.mask is None else len(self.mask)
        if shape.c != count * self.entries:
            raise self.error(
                f"needs anchors*(classes+5) = {count}*({self.classes}+5) = {count * self.entries} channels, "
                f"but the layer before it gives {shape.c}: set its filters"
            )
        return shape

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return YoloModule(self)


class YoloModule(nn.Module):
    """(N, anchors * entries, H, W) -> the same shape: a logistic on all but w and h."""

    def __init__(self, layer: Yolo) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        xy, wh, rest = x.reshape(b, c // self.layer.entries, self.layer.entries, h, w).split(
            (2, 2, self.layer.entries - 4), 2
        )
        return torch.cat((torch.sigmoid(xy), wh, torch.sigmoid(rest)), 2).reshape(b, c, h, w)
