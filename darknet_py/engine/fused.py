"""Convolutions by oneDNN: weights in its own order, bias and activation in the same pass."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_py.engine.folded import Folded
from darknet_py.engine.steps import Convolutions

USUAL_SIDE = 26  # the picture for which oneDNN orders the weights; others take them as they are


class Fused:
    """One convolution by private operators of torch, which `convolutions` has tried."""

    def __init__(self, conv: Folded) -> None:
        self.conv = conv
        self.geometry = (list(conv.padding), list(conv.stride), [1, 1], conv.groups)
        channels = conv.weight.shape[1] * conv.groups
        self.weight = torch._C._nn.mkldnn_reorder_conv2d_weight(  # type: ignore[attr-defined]  # noqa: SLF001
            conv.weight.to_mkldnn(), *self.geometry, [1, channels, USUAL_SIDE, USUAL_SIDE]
        )
        leaky = conv.slope is not None and conv.slope != 1
        self.activation = ("leaky_relu", [conv.slope]) if leaky else ("none", [])

    def __call__(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """(N, C, H, W) and what is added, (N, K, H', W') -> (N, K, H', W'), channels last."""
        conv = self.conv
        y = torch.ops.mkldnn._convolution_pointwise(  # noqa: SLF001
            x, self.weight, conv.bias, *self.geometry, *self.activation, ""
        )
        return conv.finish(y if conv.slope is not None else conv.activate(y), other)


@cache
def convolutions() -> Convolutions | None:
    """`Fused`, or None where torch has no such operators or they give something else."""
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(shape, generator=generator) for shape in ((1, 16, 9, 9), (32, 16, 3, 3), (32,)))
    conv = Folded(weight, bias, (1, 1), (1, 1), 1, 0.1, F.leaky_relu)
    expected = F.leaky_relu(F.conv2d(x, weight, bias, padding=1), 0.1)
    try:
        with torch.inference_mode():
            found = Fused(conv)(x.contiguous(memory_format=torch.channels_last))
    except (RuntimeError, AttributeError, TypeError):
        return None
    return Fused if torch.allclose(found, expected, atol=1e-4) else None
