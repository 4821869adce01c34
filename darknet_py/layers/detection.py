"""``[detection]``: the head of the first YOLO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from darknet_py.boxes.coder import PLAIN, SQUARE, BoxCoder
from darknet_py.cfg.dialect import Augment, Fit
from darknet_py.cfg.keys import flag, integer, key, number, positive
from darknet_py.layers.base import Place, Shape, register
from darknet_py.layers.heads import Head, formulas_of
from darknet_py.layers.parts.text import Lines


@register("detection")
@dataclass(frozen=True, kw_only=True)
class Detection(Head):
    """``[detection]``: classes of every cell, then objectness of every box, then boxes; the output is a row."""

    fit = Fit.STRETCH  # the first YOLO was trained on stretched pictures
    augment = Augment.CROP
    resizable = False

    classes: int = key(positive, 1, "how many classes")
    coords: int = key(positive, 1, "values a box; 4 for x, y, w, h")
    num: int = key(positive, 1, "boxes per cell")
    side: int = key(positive, 7, "cells along a side")
    softmax: bool = key(flag, False, "softmax over the classes of a cell")
    sqrt: bool = key(flag, False, "w and h are square roots of the box's")
    rescore: bool = key(flag, False, "objectness learns the IoU instead of 1")
    max: int = key(integer, 90, "truths per picture")
    jitter: float = key(number, 0.2, "how far pictures are cropped in training, as a fraction of their size")
    forced: bool = key(flag, False, "small truths go to the second box, large ones to the first")
    random: int = key(integer, 0, "if not 0, truths go to any box while seen < 64000")
    coord_scale: float = key(number, 1.0, "weight of the box loss")
    object_scale: float = key(number, 1.0, "weight of the objectness loss of boxes with an object")
    noobject_scale: float = key(number, 1.0, "weight of the objectness loss of boxes without")
    class_scale: float = key(number, 1.0, "weight of the class loss")
    reorg: bool = key(flag, False, "read by Darknet, without effect")

    @property
    def truth_size(self) -> int:
        return self.side**2 * (1 + self.coords + self.classes)

    @property
    def coder(self) -> BoxCoder:
        """How its numbers mean boxes: sizes are fractions of the picture, or their roots."""
        return BoxCoder(SQUARE if self.sqrt else PLAIN)

    def require_boxes(self) -> None:
        if self.coords != 4:
            raise self.error(f"coords={self.coords} gives no boxes; they have 4")

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        (shape,) = inputs
        needed = self.side**2 * ((1 + self.coords) * self.num + self.classes)
        if shape.size != needed:
            raise self.error(
                f"needs side*side*((1+coords)*num+classes) = {needed} values, "
                f"but the layer before it gives {shape.size}: set its output"
            )
        return Shape(shape.size)

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return DetectionModule(self)

    def text(self, place: Place, *xs: str) -> Lines:
        flat = f"{xs[0]}.flatten(1)"
        if not self.softmax:
            return [flat]
        count = self.side**2 * self.classes
        return [
            f"classes, boxes = {flat}.split(({count}, {place.shape.size - count}), 1)",
            f"classes = classes.unflatten(1, (-1, {self.classes})).softmax(2).flatten(1)",
            "torch.cat((classes, boxes), 1)",
        ]

    @property
    def meaning(self) -> str:
        return (
            f"For each of {self.side} x {self.side} cells {self.classes} classes, then for each "
            f"{self.num} times objectness, then for each {self.num} times x, y, w, h."
        )

    @property
    def box_formulas(self) -> tuple[str, str]:
        return formulas_of(self.coder, (str(self.side),), (str(self.side),))


class DetectionModule(nn.Module):
    """(N, ...) -> (N, side^2 * (classes + num + num * coords))."""

    def __init__(self, layer: Detection) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if not self.layer.softmax:
            return x
        count = self.layer.side**2 * self.layer.classes
        classes = x[:, :count].unflatten(1, (-1, self.layer.classes)).softmax(2).flatten(1)
        return torch.cat((classes, x[:, count:]), 1)
