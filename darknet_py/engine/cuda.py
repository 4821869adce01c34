"""NVIDIA's GPUs: convolutions with folded batch normalization, channels last, and CUDA graphs of whole networks."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_py.engine.backend import Backend, Half
from darknet_py.engine.convolution import Convolution, Convolutions, add
from darknet_py.engine.graphs import OnGpu
from darknet_py.engine.memory import Memory
from darknet_py.engine.plain import Folded


class Cudnn:
    """One convolution with bias, leaky, and sum or pooling.

    Channels are padded with zeros to the multiples that tensor cores want.
    """

    engine, pools = "cuda", True

    def __init__(self, conv: Folded, dtype: torch.dtype = torch.float32) -> None:
        group = 16 // dtype.itemsize if conv.groups == 1 else 1
        k, c = conv.weight.shape[:2]
        weight = F.pad(conv.weight, (0, 0, 0, 0, 0, -c % group, 0, -k % group))
        self.weight = weight.to(dtype).contiguous(memory_format=torch.channels_last)
        self.bias, self.slope = conv.bias.to(dtype), conv.slope
        self.geometry = conv.stride, conv.padding, (1, 1), conv.groups
        self.missing = -c % group

    def __call__(
        self, memory: Memory, x: Tensor, other: Tensor | None = None, *, slope: float = 1.0, pool: bool = False
    ) -> Tensor:
        x = x.to(self.bias.dtype)
        if self.missing:
            x = F.pad(x, (0, 0, 0, 0, 0, self.missing))
        y = F.conv2d(x, self.weight, None, *self.geometry).contiguous(memory_format=torch.channels_last)
        kernels = _kernels() if y.is_cuda else None
        if kernels is not None:
            finished: Tensor = kernels.epilogue(y, self.bias, self.slope, other, slope, pool=pool)
            return finished
        y = F.leaky_relu_(y[:, : len(self.bias)] + self.bias.view(-1, 1, 1), self.slope)
        return F.max_pool2d(y, 2, 2, ceil_mode=True) if pool else add(y, other, slope)


class Stem:
    """The first convolution of a network, by a kernel that reads a few channels in any layout and type."""

    engine, pools = "cuda", True

    def __init__(self, conv: Folded, kernels: Any, dtype: torch.dtype) -> None:
        self.kernels, self.bias = kernels, conv.bias.to(dtype)
        self.weights = [kernels.stem_weight(conv.weight.to(dtype), pool=pool) for pool in (False, True)]
        self.slope = conv.slope

    def __call__(
        self, memory: Memory, x: Tensor, other: Tensor | None = None, *, slope: float = 1.0, pool: bool = False
    ) -> Tensor:
        y: Tensor = self.kernels.stem(x, self.weights[pool], self.bias, self.slope, pool=pool)
        return add(y, other, slope)


def _convolution(conv: Folded, dtype: torch.dtype) -> Convolution:
    kernels = _kernels() if conv.weight.is_cuda else None
    plain = conv.weight.shape[2:] == (3, 3) and conv.stride == conv.padding == (1, 1) and conv.groups == 1
    if kernels is None or not plain or kernels.stem_weight(conv.weight, pool=True) is None:
        return Cudnn(conv, dtype)
    return Stem(conv, kernels, dtype)


@cache
def _kernels() -> Any:
    """The module with the kernels, or None without Triton or if their results are wrong."""
    try:
        from darknet_py.kernels import triton  # noqa: PLC0415  # Triton comes with torch for GPUs alone
    except ImportError:
        return None
    try:
        return triton if _agree(triton) else None
    except triton.FAILURES:
        return None


def _agree(kernels: Any) -> bool:
    """Whether they agree with torch for a small input."""
    rng = torch.Generator().manual_seed(0)
    shapes = (2, 48, 5, 7), (2, 40, 5, 7), (2, 3, 5, 7), (40, 3, 3, 3), (40,)
    x, other, picture, weight, bias = (
        torch.randn(shape, generator=rng, dtype=torch.float32).cuda() for shape in shapes
    )
    x = x.contiguous(memory_format=torch.channels_last)
    half = partial(F.max_pool2d, kernel_size=2, stride=2, ceil_mode=True)
    finished = F.leaky_relu(x[:, :40] + bias.view(-1, 1, 1), 0.1)
    first = F.leaky_relu(F.conv2d(picture, weight, bias, padding=1), 0.1)
    whole, pooled = (kernels.stem_weight(weight, pool=pool) for pool in (False, True))
    pairs = (
        (kernels.epilogue(x, bias, 0.1, pool=True), half(finished)),
        (kernels.epilogue(x, bias, 0.1, other, 0.3), F.leaky_relu(finished + other, 0.3)),
        (kernels.stem(picture, whole, bias, 0.1), first),
        (kernels.stem(picture, pooled, bias, 0.1, pool=True), half(first)),
    )
    return all(torch.allclose(found, wanted, rtol=0.01, atol=0.05) for found, wanted in pairs)


@cache
def convolutions(half: Half = False) -> Convolutions | None:
    """`Cudnn` and `Stem`, in float16 or the type of `half`; None without a GPU."""
    if not torch.cuda.is_available():
        return None
    dtype = half if isinstance(half, torch.dtype) else torch.float16 if half else torch.float32
    return partial(_convolution, dtype=dtype)


BACKEND = Backend(
    name="cuda",
    device="cuda",
    needs="it needs a GPU of NVIDIA",
    halves=(torch.float16, torch.bfloat16),
    make=convolutions,
    runner=OnGpu,
)
