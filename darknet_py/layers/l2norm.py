"""``[l2norm]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from darknet_py.layers.base import Layer, Place, Shape, register
from darknet_py.layers.parts.text import Lines


@register("l2norm")
@dataclass(frozen=True, kw_only=True)
class L2Norm(Layer):
    """``[l2norm]``: divides the channels of every pixel by their length."""

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        return self.image(inputs)

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return L2NormModule()

    def text(self, place: Place, *xs: str) -> Lines:
        (x,) = xs
        return [f"{x} / {x}.square().sum(1, keepdim=True).sqrt()"]


class L2NormModule(nn.Module):
    """(N, C, H, W) -> the same shape. Gradients pass unchanged, as in l2norm_layer.c."""

    def forward(self, x: Tensor) -> Tensor:
        scaled = x.detach() / x.detach().square().sum(1, keepdim=True).sqrt()
        return scaled + (x - x.detach()) if x.requires_grad else scaled
