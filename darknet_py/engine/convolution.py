"""Convolutions fused with the layers that follow them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_py.engine.memory import Memory
from darknet_py.engine.plain import Folded

Function = Callable[[Tensor], Tensor]


class Convolution(Protocol):
    """A convolution with bias, leaky activation, and a shortcut or pooling."""

    engine: str  # the name of its back end
    pools: bool  # whether it can take the maximum of each 2 x 2

    def __call__(
        self, memory: Memory, x: Tensor, other: Tensor | None = None, *, slope: float = 1.0, pool: bool = False
    ) -> Tensor:
        """(N, C, H, W) -> (N, K, H', W'): plus `other`, then leaky with this slope; or the maximum of each 2 x 2."""


Convolutions = Callable[[Folded], Convolution]


class Activated:
    """A convolution followed by an activation other than leaky, in place if possible.

    A shortcut is added after that. It does not pool, because the largest sum need not have the largest activation.
    """

    pools = False

    def __init__(self, convolution: Convolution, activate: Function) -> None:
        self.convolution, self.activate, self.engine = convolution, activate, convolution.engine

    def __call__(
        self, memory: Memory, x: Tensor, other: Tensor | None = None, *, slope: float = 1.0, pool: bool = False
    ) -> Tensor:
        sums = self.convolution(memory, x)
        y = self.activate(sums)
        if y is not sums:
            memory.give_back(sums)
        return add(y, other, slope)


def add(y: Tensor, other: Tensor | None, slope: float) -> Tensor:
    """`y` (N, K, H, W) plus `other` of the same shape, if given, then leaky with this slope; in place."""
    if other is None:
        return y
    y += other
    return y if slope == 1 else F.leaky_relu_(y, slope)


@torch.inference_mode()
def agrees(make: Convolutions, weight: tuple[int, int, int], *, padding: int, close: float) -> bool:
    """Whether convolutions agree with torch for a small picture; `weight` is (K, C, side).

    `close` is the largest difference in float32; outputs of 16 bits may differ by .5.
    """
    k, c, side = weight
    generator = torch.Generator().manual_seed(0)
    shapes = (1, c, 9, 10), (k, c, side, side), (k,)
    x, kernel, bias = (torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu") for shape in shapes)
    whole = F.leaky_relu(F.conv2d(x, kernel, bias, padding=padding), 0.1)
    convolution = make(Folded(kernel, bias, (1, 1), (padding, padding), 1, slope=0.1))
    x = x.contiguous(memory_format=torch.channels_last)
    pairs = [(convolution(Memory(), x), whole)]
    if convolution.pools:
        pairs.append((convolution(Memory(), x, pool=True), F.max_pool2d(whole, 2, 2, ceil_mode=True)))
    return all(torch.allclose(y.float(), e, atol=close if y.dtype == e.dtype else 0.5) for y, e in pairs)
