"""Convolutions by oneDNN: weights in its own order, bias and activation in the same pass."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_py.engine.folded import Folded, add
from darknet_py.engine.steps import Convolutions

USUAL_SIDE = 26  # the picture for which oneDNN orders the weights; others take them as they are


class Fused:
    """One convolution by private operators of torch, which `convolutions` has tried."""

    def __init__(self, conv: Folded) -> None:
        pad, stride = list(conv.padding), list(conv.stride)
        channels = conv.weight.shape[1] * conv.groups
        order: Any = torch._C._nn.mkldnn_reorder_conv2d_weight  # noqa: SLF001
        size = [1, channels, USUAL_SIDE, USUAL_SIDE]
        self.weight: Tensor = order(conv.weight.contiguous().to_mkldnn(), pad, stride, [1, 1], conv.groups, size)
        self.bias, self.geometry = conv.bias, (pad, stride, [1, 1], conv.groups)
        self.activate = conv.activate if conv.slope is None else None
        leaky = conv.slope is not None and conv.slope != 1
        self.activation = ("leaky_relu", [conv.slope]) if leaky else ("none", [])

    def __call__(self, x: Tensor, other: Tensor | None = None, slope: float = 1.0) -> Tensor:
        """(N, C, H, W) and what is added, (N, K, H', W') -> (N, K, H', W'); `slope` is of leaky after the sum."""
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(  # noqa: SLF001
            x, self.weight, self.bias, *self.geometry, *self.activation, ""
        )
        return add(y if self.activate is None else self.activate(y), other, slope)


@cache
def convolutions() -> Convolutions | None:
    """`Fused`, or None where torch has no such operators or they give something else."""
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(shape, generator=generator) for shape in ((1, 16, 9, 9), (32, 16, 3, 3), (32,)))
    expected = F.leaky_relu(F.conv2d(x, weight, bias, padding=1), 0.1)
    try:
        with torch.inference_mode():
            conv = Fused(Folded(weight, bias, (1, 1), (1, 1), 1, 0.1, F.leaky_relu))
            found = conv(x.contiguous(memory_format=torch.channels_last))
    except (RuntimeError, AttributeError, TypeError):
        return None
    return Fused if torch.allclose(found, expected, atol=1e-4) else None
