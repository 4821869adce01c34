"""``[cost]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from darknet_py.cfg.keys import key, number, one_of
from darknet_py.layers.base import Layer, Place, Shape, register
from darknet_py.layers.parts.text import Lines, flat

COSTS = ("seg", "sse", "masked", "smooth", "L1", "wgan")


@register("cost")
@dataclass(frozen=True, kw_only=True)
class Cost(Layer):
    """``[cost]``: a loss on the output of the previous layer; its output is its input, as a row."""

    has_loss = True
    passes_input = True

    kind: str = key(one_of(COSTS, fallback="sse"), "sse", "which loss", name="type")
    scale: float = key(number, 1.0, "factor on the gradient")
    ratio: float = key(number, 0.0, "read by Darknet, without effect")
    noobj: float = key(number, 1.0, "factor for values whose truth is 0")
    thresh: float = key(number, 0.0, "errors below this do not count; only in the GPU builds")

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        (shape,) = inputs
        return Shape(shape.size)

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return nn.Flatten()

    def text(self, place: Place, *xs: str) -> Lines:
        (x,) = xs
        return [flat(place, x)]

    def label(self, index: int) -> str:
        return f"cost  {self.kind}"
