"""``[upsample]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from darknet_py.cfg.keys import integer, key, number
from darknet_py.layers.base import Layer, Place, Reach, Shape, register
from darknet_py.layers.parts.text import Lines, call


@register("upsample")
@dataclass(frozen=True, kw_only=True)
class Upsample(Layer):
    """``[upsample]``: repeats every pixel as a square; a negative stride sums squares into pixels."""

    stride: int = key(integer, 2, "side of the square")
    scale: float = key(number, 1.0, "factor on the values")

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        c, h, w = self.image(inputs)
        s = abs(self.stride)
        if s == 0:
            raise self.error("stride=0")
        if self.stride > 0:
            return Shape(c, h * s, w * s)
        if h % s or w % s:
            raise self.error(f"stride={self.stride} does not divide the {w} x {h} input")
        return Shape(c, h // s, w // s)

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return UpsampleModule(self)

    def text(self, place: Place, *xs: str) -> Lines:
        if self.stride > 0:
            larger = call("F.interpolate", *xs, scale_factor=float(self.stride))
        else:
            larger = call("F.avg_pool2d", *xs, -self.stride, divisor_override=1)
        return [larger if self.scale == 1 else f"{self.scale} * {larger}"]

    def reach(self) -> Reach:
        return Reach(1, 1 / self.stride) if self.stride > 0 else Reach(-self.stride, -self.stride)

    def label(self, index: int) -> str:
        return f"{'upsample' if self.stride > 0 else 'downsample':<10}         {abs(self.stride):2d}x"


class UpsampleModule(nn.Module):
    """(N, C, H, W) -> (N, C, H s, W s)."""

    owns_output = True
    any_dtype = True

    def __init__(self, layer: Upsample) -> None:
        super().__init__()
        self.stride, self.scale = layer.stride, layer.scale

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 0:
            h, w = x.shape[2:]
            x = F.interpolate(x, (h * self.stride, w * self.stride), mode="nearest")
        else:
            x = F.avg_pool2d(x, -self.stride, divisor_override=1)
        return x if self.scale == 1 else self.scale * x
