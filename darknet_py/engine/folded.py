"""A convolution with its batch normalization in the weights, and what comes after it, as plain values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_py.layers.convolutional import ConvolutionalModule
from darknet_py.layers.shortcut import ShortcutModule

SLOPES: Final = {"linear": 1.0, "leaky": 0.1, "relu": 0.0, "relie": 0.01}  # activations that are x, or slope * x below 0


@dataclass(frozen=True, eq=False)
class Folded:
    """activate(conv(x)), or leaky(activate(conv(x)) + other) where a shortcut follows."""

    weight: Tensor  # (K, C / groups, h, w)
    bias: Tensor  # (K,)
    stride: tuple[int, int]
    padding: tuple[int, int]
    groups: int
    slope: float | None  # of the activation below 0, if it is such a one
    activate: Callable[[Tensor], Tensor]
    sum_slope: float = 1.0

    def finish(self, y: Tensor, other: Tensor | None) -> Tensor:
        """What follows the activation, in place."""
        if other is not None:
            y += other
            if self.sum_slope != 1:
                F.leaky_relu_(y, self.sum_slope)
        return y


def is_plain_convolution(module: object) -> bool:
    """Whether this is a convolution whose weights and inputs count as they are."""
    return isinstance(module, ConvolutionalModule) and not (module.binary_weights or module.binary_inputs)


def is_plain_sum(module: object) -> bool:
    """Whether this is a shortcut of two equal sizes, each with factor 1, and an activation of `SLOPES`."""
    return (
        isinstance(module, ShortcutModule) and module.plain and module.alpha == module.beta == 1
        and module.activate.name in SLOPES
    )  # fmt: skip


@torch.no_grad()
def folded(module: Any, total: Any = None) -> Folded:
    """The convolution of a module, computed in float64, and the shortcut `total` after it."""
    conv, bn = module.conv, module.bn
    weight, bias = conv.weight.detach(), conv.bias
    if bn is not None:
        scale = bn.weight.double() / torch.sqrt(bn.running_var.double() + bn.eps)
        weight = (weight * scale.view(-1, 1, 1, 1)).to(weight.dtype)
        bias = bn.bias - bn.running_mean * scale
    bias = bias.detach().to(weight.dtype, copy=True)
    slope = SLOPES.get(module.activate.name)
    sum_slope = 1.0 if total is None else SLOPES[total.activate.name]
    return Folded(
        weight, bias, conv.stride, conv.padding, conv.groups, slope, module.activate.function, sum_slope
    )  # fmt: skip
