"""``[logistic]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from darknet_py.layers.base import Layer, Shape, register


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
