"""Convolutions by oneDNN, in float32 or bfloat16: weights in its own order, bias and activation in the same pass."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_py.engine.memory import Memory
from darknet_py.engine.plain import Folded, add
from darknet_py.engine.steps import Convolution, Convolutions, Half
from darknet_py.layers.parts.activations import Function

USUAL_SIDE = 26  # the picture for which oneDNN orders the weights; others take them as they are


class Fused:
    """One convolution by private operators of torch, which `convolutions` has tried."""

    pools = False

    def __init__(self, conv: Folded, dtype: torch.dtype = torch.float32) -> None:
        pad, stride = list(conv.padding), list(conv.stride)
        channels = conv.weight.shape[1] * conv.groups
        order: Any = torch._C._nn.mkldnn_reorder_conv2d_weight  # noqa: SLF001
        size = [1, channels, USUAL_SIDE, USUAL_SIDE]
        weight = conv.weight.to(dtype).contiguous().to_mkldnn()
        self.weight: Tensor = order(weight, pad, stride, [1, 1], conv.groups, size)
        self.bias, self.geometry = conv.bias.to(dtype), (pad, stride, [1, 1], conv.groups)
        self.activate, self.activation = _activation(conv)

    def __call__(
        self, memory: Memory, x: Tensor, other: Tensor | None = None, *, slope: float = 1.0, pool: bool = False
    ) -> Tensor:
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(  # noqa: SLF001
            x.to(self.bias.dtype), self.weight, self.bias, *self.geometry, *self.activation, ""
        )
        return add(y if self.activate is None else self.activate(y), other, slope)


class Pointwise:
    """A 1 x 1 convolution as a product of matrices.

    Its weights need no order, where a convolution of many channels whose weights were ordered for another number of
    pixels can take thirty times as long.
    """

    pools = False

    def __init__(self, conv: Folded, dtype: torch.dtype = torch.float32) -> None:
        self.weight, self.bias = conv.weight.flatten(1).to(dtype).contiguous(), conv.bias.to(dtype)
        self.activate, self.activation = _activation(conv)

    def __call__(
        self, memory: Memory, x: Tensor, other: Tensor | None = None, *, slope: float = 1.0, pool: bool = False
    ) -> Tensor:
        n, c, h, w = x.shape
        rows = x.to(self.bias.dtype).permute(0, 2, 3, 1).reshape(-1, c)
        y: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, *self.activation, "")  # noqa: SLF001
        y = y.view(n, h, w, -1).permute(0, 3, 1, 2)
        return add(y if self.activate is None else self.activate(y), other, slope)


def _activation(conv: Folded) -> tuple[Function | None, tuple[str, list[float]]]:
    """The activation as a function, or as oneDNN knows it."""
    if conv.slope is None:
        return conv.activate, ("none", [])
    return None, ("none", []) if conv.slope == 1 else ("leaky_relu", [conv.slope])


def _convolution(conv: Folded, dtype: torch.dtype = torch.float32) -> Convolution:
    plain = conv.stride == (1, 1) and conv.padding == (0, 0) and conv.groups == 1
    return (Pointwise if plain and conv.weight.shape[2:] == (1, 1) else Fused)(conv, dtype)


@cache
def convolutions(*, half: Half = False) -> Convolutions | None:
    """What makes them, or None where torch has no such operators or they give something else.

    With `half`, weights and outputs are bfloat16.
    """
    make = partial(_convolution, dtype=torch.bfloat16) if half else _convolution
    try:
        return make if _agrees(make, 3, 1) and _agrees(make, 1, 0) else None
    except (RuntimeError, AttributeError, TypeError):
        return None


@torch.inference_mode()
def _agrees(make: Convolutions, window: int, padding: int) -> bool:
    """Whether the operators give what torch gives, for a small input."""
    generator = torch.Generator().manual_seed(0)
    shapes = (1, 16, 9, 9), (32, 16, window, window), (32,)
    x, weight, bias = (torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu") for shape in shapes)
    expected = F.leaky_relu(F.conv2d(x, weight, bias, padding=padding), 0.1)
    conv = make(Folded(weight, bias, (1, 1), (padding, padding), 1, 0.1, F.leaky_relu))
    found = conv(Memory(), x.contiguous(memory_format=torch.channels_last))
    return torch.allclose(found.float(), expected, atol=1e-4 if found.dtype == x.dtype else 0.5)
