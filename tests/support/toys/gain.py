"""``[gain]``: a layer with weights in one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from darknet_py.cfg.keys import key, number
from darknet_py.layers.base import Blob, Layer, Place, Shape, register
from darknet_py.layers.parts.text import Lines


@register("gain")
@dataclass(frozen=True, kw_only=True)
class Gain(Layer):
    """``[gain]``: every channel times a learned factor."""

    start: float = key(number, 1.0, "the factor before training")

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        return self.image(inputs)

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return GainModule(self.image(inputs).c, self.start)

    def blobs(self, inputs: Sequence[Shape]) -> tuple[Blob, ...]:
        return (Blob("factor", (self.image(inputs).c,), "scale"),)

    def operations(self, inputs: Sequence[Shape]) -> int:
        return self.image(inputs).size

    def module_text(self, place: Place) -> str:
        return f'nn.ParameterDict({{"factor": torch.empty({place.shape.c})}})'

    def text(self, place: Place, *xs: str) -> Lines:
        return [f'{xs[0]} * {place.module}["factor"][:, None, None]']


class GainModule(nn.Module):
    """(N, C, H, W) -> the same shape."""

    def __init__(self, channels: int, start: float) -> None:
        super().__init__()
        self.start = start
        self.factor = nn.Parameter(torch.empty(channels))

    def initialize(self, _generator: torch.Generator | None) -> None:
        """All factors are the key `start`."""
        nn.init.constant_(self.factor, self.start)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor[:, None, None]
