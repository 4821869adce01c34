"""``[crop]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from darknet_py.cfg.keys import flag, key, number, positive
from darknet_py.layers.base import Layer, Place, Shape, register
from darknet_py.layers.parts.text import Lines


@register("crop")
@dataclass(frozen=True, kw_only=True)
class Crop(Layer):
    """``[crop]``: a part of the picture, with values from -1 to 1; the middle, or anywhere during training."""

    draws = True
    fixed_part = True

    crop_height: int = key(positive, 1, "height of the part")
    crop_width: int = key(positive, 1, "width of the part")
    flip: bool = key(flag, False, "mirror half the batches in training")
    angle: float = key(number, 0.0, "rotation in training; only in the GPU builds")
    saturation: float = key(number, 1.0, "change of saturation in training; only in the GPU builds")
    exposure: float = key(number, 1.0, "change of exposure in training; only in the GPU builds")
    shift: float = key(number, 0.0, "change of colour in training; only in the GPU builds")
    noadjust: bool = key(flag, False, "leave values from 0 to 1")

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        c, h, w = self.image(inputs)
        if self.crop_height > h or self.crop_width > w:
            raise self.error(f"the part ({self.crop_width} x {self.crop_height}) is larger than the {w} x {h} input")
        return Shape(c, self.crop_height, self.crop_width)

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return CropModule(self)

    def text(self, place: Place, *xs: str) -> Lines:
        (x,), (shape,) = xs, place.inputs
        top, left = (shape.h - self.crop_height) // 2, (shape.w - self.crop_width) // 2
        part = f"{x}[:, :, {top}:{top + self.crop_height}, {left}:{left + self.crop_width}]"
        return [part if self.noadjust else f"{part} * 2 - 1"]

    def resized(self, old: Sequence[Shape], new: Sequence[Shape]) -> Crop:
        """The same layer for another input size: the part keeps its fraction of the height (resize_crop_layer)."""
        (before,), (after,) = old, new
        scale = self.crop_height / before.h
        return replace(self, crop_height=int(scale * after.h), crop_width=int(scale * after.w))


class CropModule(nn.Module):
    """(N, C, H, W) -> (N, C, crop_height, crop_width)."""

    def __init__(self, layer: Crop) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        layer = self.layer
        h, w = layer.crop_height, layer.crop_width
        spare_h, spare_w = x.shape[2] - h, x.shape[3] - w
        if self.training:
            dy, dx = (int(torch.randint(spare + 1, ())) for spare in (spare_h, spare_w))
            if layer.flip and torch.rand((), dtype=torch.float32) < 0.5:
                x = x.flip(3)
        else:
            dy, dx = spare_h // 2, spare_w // 2
        x = x[:, :, dy : dy + h, dx : dx + w]
        return x if layer.noadjust else x * 2 - 1
