"""``[logistic]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from darknet_py.layers.base import Layer, Place, Shape, register
from darknet_py.layers.parts.text import Lines, call


@register("logistic")
@dataclass(frozen=True, kw_only=True)
class Logistic(Layer):
    """``[logistic]``: the logistic of every value, with cross-entropy as its loss (logxent)."""

    has_loss = True

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        (shape,) = inputs
        return shape

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return nn.Sigmoid()

    def text(self, place: Place, *xs: str) -> Lines:
        return [call("torch.sigmoid", *xs)]
