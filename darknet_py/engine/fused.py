"""Convolutions by oneDNN, in float32 or bfloat16: weights in its own order, bias and activation in the same pass."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from darknet_py.engine.backend import Backend, Half
from darknet_py.engine.convolution import Convolution, Convolutions, add, agrees
from darknet_py.engine.cpu import OnCpu
from darknet_py.engine.memory import Memory
from darknet_py.engine.plain import Folded
from darknet_py.kernels import native

USUAL_SIDE = 26  # the picture size for which oneDNN orders the weights; other sizes use the same order


class Fused:
    """A convolution by private operators of torch, which `convolutions` has tried."""

    engine, pools = "fused", False

    def __init__(self, conv: Folded, dtype: torch.dtype = torch.float32) -> None:
        pad, stride = list(conv.padding), list(conv.stride)
        channels = conv.weight.shape[1] * conv.groups
        order: Any = torch._C._nn.mkldnn_reorder_conv2d_weight  # noqa: SLF001
        size = [1, channels, USUAL_SIDE, USUAL_SIDE]
        weight = conv.weight.to(dtype).contiguous().to_mkldnn()
        self.weight: Tensor = order(weight, pad, stride, [1, 1], conv.groups, size)
        self.bias, self.geometry = conv.bias.to(dtype), (pad, stride, [1, 1], conv.groups)
        self.activation = _activation(conv.slope)

    def __call__(
        self, memory: Memory, x: Tensor, other: Tensor | None = None, *, slope: float = 1.0, pool: bool = False
    ) -> Tensor:
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(  # noqa: SLF001
            x.to(self.bias.dtype), self.weight, self.bias, *self.geometry, *self.activation, ""
        )
        return add(y, other, slope)


class Pointwise:
    """A 1 x 1 convolution as a matrix product.

    Its weights need no order; a convolution of many channels with weights ordered for another number of pixels can take
    thirty times as long.
    """

    engine, pools = "fused", False

    def __init__(self, conv: Folded, dtype: torch.dtype = torch.float32) -> None:
        self.weight, self.bias = conv.weight.flatten(1).to(dtype).contiguous(), conv.bias.to(dtype)
        self.activation = _activation(conv.slope)

    def __call__(
        self, memory: Memory, x: Tensor, other: Tensor | None = None, *, slope: float = 1.0, pool: bool = False
    ) -> Tensor:
        n, c, h, w = x.shape
        rows = x.to(self.bias.dtype).permute(0, 2, 3, 1).reshape(-1, c)
        y: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, *self.activation, "")  # noqa: SLF001
        return add(y.view(n, h, w, -1).permute(0, 3, 1, 2), other, slope)


def _activation(slope: float) -> tuple[str, list[float]]:
    """The activation's name in oneDNN."""
    return ("none", []) if slope == 1 else ("leaky_relu", [slope])


def _convolution(conv: Folded, dtype: torch.dtype = torch.float32) -> Convolution:
    plain = conv.stride == (1, 1) and conv.padding == (0, 0) and conv.groups == 1
    return (Pointwise if plain and conv.weight.shape[2:] == (1, 1) else Fused)(conv, dtype)


@cache
def convolutions(half: Half = False) -> Convolutions | None:
    """A maker of `Fused` convolutions, or None if torch lacks the operators or they disagree.

    With `half`, weights and outputs are bfloat16.
    """
    make = partial(_convolution, dtype=torch.bfloat16) if half else _convolution
    try:
        works = all(agrees(make, (32, 16, side), padding=side // 2, close=1e-4) for side in (3, 1))
    except (RuntimeError, AttributeError, TypeError):
        return None
    return make if works else None


BACKEND = Backend(
    name="fused",
    device="cpu",
    needs="it needs oneDNN in torch",
    halves=(torch.bfloat16,),
    make=convolutions,
    runner=OnCpu,
    leads_in_half=native.has_amx,
)
