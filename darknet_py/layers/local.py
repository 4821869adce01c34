"""``[local]``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darknet_py.cfg.keys import key, natural, positive
from darknet_py.layers.base import Blob, Layer, Place, Reach, Shape, Update, register
from darknet_py.layers.parts.activations import Activate, activated, activation_name
from darknet_py.layers.parts.text import Lines, call, helper


@register("local")
@dataclass(frozen=True, kw_only=True)
class Local(Layer):
    """``[local]``: a convolution with a different kernel at every position."""

    resizable = False
    update = Update(adam=False)

    filters: int = key(positive, 1, "output channels")
    size: int = key(positive, 1, "height and width of the kernels")
    stride: int = key(positive, 1, "step of the kernels")
    pad: int = key(natural, 0, "padding of every side; has to be (size-1)/2 or 0")
    activation: str = key(activation_name, "logistic", "the function applied last")

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        _, h, w = self.image(inputs)
        if self.pad and 2 * self.pad != self.size - 1:
            raise self.error(
                f"pad={self.pad} does not fit size={self.size}: local_layer.c counts the output as if pad were "
                "(size-1)/2, and with another value would read past its buffers"
            )
        if min(h, w) + 2 * self.pad < self.size:
            raise self.error(f"size={self.size} is larger than the {w} x {h} input with its padding")
        return Shape(self.filters, *((n + 2 * self.pad - self.size) // self.stride + 1 for n in (h, w)))

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return LocalModule(self, self.image(inputs), self.out_shape(inputs))

    def module_text(self, place: Place) -> str:
        return call("local_weights", *place.shape, place.inputs[0].c * self.size**2)

    def text(self, place: Place, *xs: str) -> Lines:
        return [activated(self.activation, call("local", place.module, *xs, self.size, self.stride, self.pad))]

    def blobs(self, inputs: Sequence[Shape]) -> tuple[Blob, ...]:
        n, h, w = self.out_shape(inputs)
        return (
            Blob("bias", (n, h, w), "bias"),
            Blob("weight", (h * w, n, self.image(inputs).c * self.size**2), "weight"),
        )

    def workspace(self, inputs: Sequence[Shape]) -> int:
        _, h, w = self.out_shape(inputs)
        return self.image(inputs).c * self.size**2 * h * w

    def operations(self, inputs: Sequence[Shape]) -> int:
        return 2 * self.size**2 * self.image(inputs).c * self.out_shape(inputs).size

    def reach(self) -> Reach:
        return Reach(self.size, self.stride)

    def label(self, index: int) -> str:
        return f"local {self.filters:5d} {self.size:2d} x{self.size:2d} /{self.stride:2d}"


class LocalModule(nn.Module):
    """One matrix product per position; (N, C, H, W) -> (N, filters, H', W')."""

    def __init__(self, layer: Local, source: Shape, out: Shape) -> None:
        super().__init__()
        self.size, self.stride, self.pad = layer.size, layer.stride, layer.pad
        self.weight = nn.Parameter(torch.empty(out.h * out.w, out.c, source.c * layer.size**2, dtype=torch.float32))
        self.bias = nn.Parameter(torch.empty(out.c, out.h, out.w, dtype=torch.float32))
        self.activate = Activate(layer.activation)

    def forward(self, x: Tensor) -> Tensor:
        columns = F.unfold(x, self.size, padding=self.pad, stride=self.stride)  # (N, C * size * size, places)
        out = torch.bmm(self.weight, columns.permute(2, 1, 0))  # (places, filters, N)
        return self.activate(out.permute(2, 1, 0).unflatten(2, self.bias.shape[1:]) + self.bias)

    def initialize(self, generator: torch.Generator | None) -> None:
        """Draw the weights evenly within the root of 2 / fan-in (the C program only does so at the first position)."""
        with torch.no_grad():
            bound = math.sqrt(2 / self.weight.shape[2])
            self.weight.uniform_(-bound, bound, generator=generator)
            self.bias.zero_()


@helper
def local_weights(
    filters: int,
    height: int,
    width: int,
    values: int,
) -> nn.ParameterDict:
    """The kernels of a convolution that has others at every place."""
    weight = torch.zeros(height * width, filters, values)
    bias = torch.zeros(filters, height, width)
    return nn.ParameterDict({"weight": weight, "bias": bias})


@helper
def local(
    kernels: nn.ParameterDict,
    x: Tensor,
    size: int,
    stride: int,
    padding: int,
) -> Tensor:
    """Convolution of (N, C, H, W) with other kernels at every place."""
    weight, bias = kernels["weight"], kernels["bias"]
    columns = F.unfold(x, size, padding=padding, stride=stride)
    out = torch.bmm(weight, columns.permute(2, 1, 0))  # (places, filters, N)
    return out.permute(2, 1, 0).unflatten(2, bias.shape[1:]) + bias
