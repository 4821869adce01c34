"""``[avgpool]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from darknet_py.layers.base import Layer, Place, Reach, Shape, register
from darknet_py.layers.parts.text import Lines, call


@register("avgpool", "avg")
@dataclass(frozen=True, kw_only=True)
class AvgPool(Layer):
    """``[avgpool]``: the mean of each channel over the whole picture of any size."""

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        return Shape(self.image(inputs).c, 1, 1)

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return nn.AdaptiveAvgPool2d(1)

    def text(self, place: Place, *xs: str) -> Lines:
        return [call("F.adaptive_avg_pool2d", *xs, 1)]

    def reach(self) -> Reach:
        return Reach(None)
