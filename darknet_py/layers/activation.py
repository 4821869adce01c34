"""``[activation]``: an activation as a layer of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from darknet_py.cfg.keys import key
from darknet_py.layers.base import Layer, Place, Shape, register
from darknet_py.layers.parts.activations import Activate, activated, activation_name
from darknet_py.layers.parts.text import Lines


@register("activation")
@dataclass(frozen=True, kw_only=True)
class ActivationLayer(Layer):
    """``[activation]``: an activation as a layer of its own."""

    activation: str = key(activation_name, "linear", "the function")

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        (shape,) = inputs
        return shape

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return Activate(self.activation, owned=False)

    def text(self, place: Place, *xs: str) -> Lines:
        return [activated(self.activation, *xs)]
