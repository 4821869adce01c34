"""3 x 3 convolutions by the C kernel of winograd.c; the others as in `fused`."""

from __future__ import annotations

import ctypes
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_py.engine import fused
from darknet_py.engine.folded import Folded
from darknet_py.engine.native import Job, library
from darknet_py.engine.steps import Convolutions, Operation

PACKED_BYTES = 5 << 20  # weights that are kept transformed, if they are no larger then
NEAR_BYTES, FAR_BYTES = 4 << 20, 32 << 20  # transformed tiles at a time: with such weights, and with others
BLOCK = 48  # tiles that are multiplied at a time
LEAST_CHANNELS = 32
VECTOR = 16  # channels of the input come in whole numbers of these


class Winograd:
    """One convolution with bias, activation and sum."""

    def __init__(self, conv: Folded, kernel: ctypes.CDLL) -> None:
        self.kernel, self.bias, self.slope = kernel, conv.bias, conv.slope
        k, c = conv.weight.shape[:2]
        column = kernel.column()
        weight = conv.weight.reshape(k // column, column, c, 9).permute(0, 2, 3, 1).contiguous()
        self.packed = 36 * c * k * weight.itemsize <= PACKED_BYTES
        if self.packed:
            plain, weight = weight, weight.new_empty(k // column, 36, c, column)
            kernel.pack(plain.data_ptr(), weight.data_ptr(), c, k // column)
        self.weight = weight

    def __call__(self, x: Tensor, other: Tensor | None = None, slope: float = 1.0) -> Tensor:
        """(N, C, H, W) and what is added, (N, K, H, W) -> (N, K, H, W); `slope` is of leaky after the sum."""
        x = x.contiguous(memory_format=torch.channels_last)
        if other is not None:
            other = other.contiguous(memory_format=torch.channels_last)
        shape = len(x), len(self.bias), *x.shape[2:]
        y = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
        job = ctypes.byref(self._job(x, slope))
        space = x.new_empty(self.kernel.workspace(job))
        tensors = (x, self.weight, self.bias, other, y, space)
        self.kernel.convolve(job, *(None if tensor is None else tensor.data_ptr() for tensor in tensors))
        return y

    def _job(self, x: Tensor, slope: float) -> Job:
        n, c, h, w = x.shape
        tiles = n * -(-h // 4) * -(-w // 4)
        limit = (NEAR_BYTES if self.packed else FAR_BYTES) // (36 * c * x.itemsize)
        superblock = min(tiles, max(limit // BLOCK, 1) * BLOCK)
        threads = torch.get_num_threads()
        return Job(n, h, w, c, len(self.bias), superblock, BLOCK, self.packed, threads, self.slope, slope)


def suits(conv: Folded, column: int) -> bool:
    """Whether the kernel computes this convolution."""
    k, c, *window = conv.weight.shape
    plain = window == [3, 3] and conv.stride == conv.padding == (1, 1) and conv.groups == 1
    return plain and conv.slope is not None and c >= LEAST_CHANNELS and c % VECTOR == 0 and k % column == 0


@cache
def convolutions() -> Convolutions | None:
    """`Winograd` where it suits and `Fused` elsewhere; None where either is not there or gives something else."""
    others = fused.convolutions()
    kernel = None if others is None else library()
    if kernel is None or others is None:
        return None
    column = kernel.column()

    def make(conv: Folded) -> Operation:
        return Winograd(conv, kernel) if suits(conv, column) else others(conv)

    return make if _agrees(kernel, column) else None


def _agrees(kernel: ctypes.CDLL, column: int) -> bool:
    """Whether the kernel gives what torch gives, for a small input."""
    generator = torch.Generator().manual_seed(0)
    shapes = (1, 64, 9, 10), (2 * column, 64, 3, 3), (2 * column,)
    x, weight, bias = (torch.randn(shape, generator=generator) for shape in shapes)
    expected = F.leaky_relu(F.conv2d(x, weight, bias, padding=1), 0.1)
    found = Winograd(Folded(weight, bias, (1, 1), (1, 1), 1, 0.1, F.leaky_relu), kernel)(x)
    return torch.allclose(found, expected, atol=1e-3)
