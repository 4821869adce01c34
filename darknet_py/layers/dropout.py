"""``[dropout]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from darknet_py.cfg.keys import key, number
from darknet_py.layers.base import Layer, Place, Shape, register
from darknet_py.layers.parts.text import Lines, call


@register("dropout")
@dataclass(frozen=True, kw_only=True)
class Dropout(Layer):
    """``[dropout]``: in training, sets values to zero at random and divides the rest by 1 - probability."""

    draws = True

    probability: float = key(number, 0.5, "fraction of values that become 0")

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        (shape,) = inputs
        if not 0 <= self.probability < 1:
            raise self.error(f"probability={self.probability} is not from 0 to below 1")
        return shape

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return nn.Dropout(self.probability)

    def text(self, place: Place, *xs: str) -> Lines:
        return [call("F.dropout", *xs, self.probability, "self.training")]

    def label(self, index: int) -> str:
        return f"dropout       p = {self.probability:.2f}"
