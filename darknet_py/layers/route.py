"""``[route]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from darknet_py.cfg.keys import integer, key, list_of
from darknet_py.layers.base import Layer, Place, Shape, register
from darknet_py.layers.parts.text import Lines, parts_of


@register("route")
@dataclass(frozen=True, kw_only=True)
class Route(Layer):
    """``[route]``: concatenates the outputs of earlier layers in the given order."""

    layers: tuple[int, ...] = key(list_of(integer), doc="the layers; negative counts back from here, 0 is the first")

    def sources(self, index: int) -> tuple[int, ...]:
        return tuple(self.earlier(n, index) for n in self.layers)

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        first = inputs[0]
        if any(shape[1:] != first[1:] for shape in inputs):
            sizes = ", ".join(f"layer {n}: {shape}" for n, shape in zip(self.layers, inputs, strict=True))
            raise self.error(f"joins outputs of different sizes ({sizes})")
        return first._replace(c=sum(shape.c for shape in inputs))

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return RouteModule(len(inputs))

    def text(self, place: Place, *xs: str) -> Lines:
        if len(xs) == 1:
            return [xs[0]]
        joined = ", ".join(xs)
        return [f"torch.cat(({joined}), 1)"] if len(joined) < 48 else [*parts_of(xs), "torch.cat(parts, 1)"]

    def label(self, index: int) -> str:
        return f"route  {' '.join(map(str, self.sources(index)))}"


class RouteModule(nn.Module):
    """Several (N, C_i, H, W) -> (N, sum of C_i, H, W)."""

    any_dtype = True

    def __init__(self, sources: int) -> None:
        super().__init__()
        self.owns_output = sources > 1

    def forward(self, *xs: Tensor) -> Tensor:
        return torch.cat(xs, 1) if len(xs) > 1 else xs[0]
