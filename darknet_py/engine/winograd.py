"""3 x 3 convolutions by the C kernel of winograd.c, the first one by that of narrow.c, the others as in `fused`."""

from __future__ import annotations

import ctypes
from functools import cache

import torch
from torch import Tensor

from darknet_py.engine import fused, narrow
from darknet_py.engine.backend import Backend, Half
from darknet_py.engine.convolution import Convolution, Convolutions, agrees
from darknet_py.engine.cpu import OnCpu
from darknet_py.engine.memory import Memory
from darknet_py.engine.narrow import Narrow, in_columns
from darknet_py.engine.plain import Folded
from darknet_py.kernels import native
from darknet_py.kernels.native import Job, call, floats, library

PACKED_BYTES = 5 << 20  # larger weights are transformed in every call instead of kept
TILES_BYTES = 32 << 20  # the approximate size of the transformed tiles that threads share at a time
TILES_PER_BLOCK = 48  # tiles to multiply at a time
COLUMNS_PER_BLOCK = 4  # columns of weights for a block of tiles while it is in the cache
CHANNEL_MULTIPLE = 16  # the number of input channels is a multiple of this


class Winograd:
    """A convolution with bias, leaky, and sum or pooling."""

    engine, pools = "winograd", True

    def __init__(
        self, conv: Folded, kernel: ctypes.CDLL, dtype: torch.dtype = torch.float32, *, half: bool = False
    ) -> None:
        self.kernel, self.bias, self.dtype = kernel, conv.bias, dtype
        self.slope = conv.slope
        c = conv.weight.shape[1]
        self.column = kernel.column()
        weight = in_columns(conv.weight, self.column)
        self.columns = len(weight) // self.column
        self.weight = weight.reshape(self.columns, self.column, c, 9).permute(0, 2, 3, 1).flatten()
        packed = floats(kernel.winograd_packed(c, self.columns))
        self.packed = packed * weight.itemsize <= PACKED_BYTES
        if self.packed:
            plain, self.weight = self.weight, weight.new_empty(packed)
            call(kernel.winograd_pack, c, self.columns, tensors=(plain, self.weight), types=(torch.float32,) * 2)
        self.half = half and not self.packed
        if self.half:
            self.weight = self.weight.bfloat16()
        self.types = dtype, self.weight.dtype, torch.float32, dtype, dtype, torch.float32  # of the kernel's arguments

    def __call__(
        self, memory: Memory, x: Tensor, other: Tensor | None = None, *, slope: float = 1.0, pool: bool = False
    ) -> Tensor:
        x = x.to(self.dtype).contiguous(memory_format=torch.channels_last)
        if other is not None:
            other = other.to(self.dtype).contiguous(memory_format=torch.channels_last)
        n, _, h, w = x.shape
        shrink = pool + 1
        y = memory.picture(n, len(self.bias), (h + pool) // shrink, (w + pool) // shrink, self.dtype)
        job = ctypes.byref(self._job(x, slope, pool))
        space = memory.floats(floats(self.kernel.winograd_workspace(job)))
        call(self.kernel.winograd, job, tensors=(x, self.weight, self.bias, other, y, space), types=self.types)
        memory.give_back(space)
        return y

    def _job(self, x: Tensor, slope: float, pool: bool) -> Job:
        n, c, h, w = x.shape
        threads = torch.get_num_threads()
        tiles = n * -(-h // 4) * -(-w // 4)
        if self.packed:
            blocks = max(-(-tiles // TILES_PER_BLOCK), min(tiles, 4 * threads))
            block = superblock = -(-tiles // blocks)
            group = 1
        else:
            blocks = max(round(tiles / TILES_PER_BLOCK), 1)
            block = -(-tiles // blocks)
            superblock = block * max(min(blocks, TILES_BYTES // (36 * c * 4 * block)), 1)
            group = max(min(COLUMNS_PER_BLOCK, self.columns // (2 * threads)), 1)
        k = len(self.bias)
        kinds = self.dtype != torch.float32, self.packed, self.half
        return Job(n, h, w, c, k, pool, threads, *kinds, superblock, block, group, self.slope, slope)


def suits(conv: Folded, lanes: int) -> bool:
    """Whether the kernel computes this convolution."""
    k, c, *window = conv.weight.shape
    plain = window == [3, 3] and conv.stride == conv.padding == (1, 1) and conv.groups == 1
    return plain and c % CHANNEL_MULTIPLE == 0 and k % lanes == 0


@cache
def convolutions(half: Half = False) -> Convolutions | None:
    """`Winograd` and `Narrow` where they suit, `fused` elsewhere; None if one is missing or wrong.

    With `half`, large weights are bfloat16, and so are pictures and what `fused` computes if the processor is faster at
    that; the kernels compute in float32.
    """
    brief = bool(half) and native.multiplies_bfloat16()
    others = fused.convolutions(brief)
    kernel = None if others is None else library()
    if kernel is None or others is None:
        return None
    lanes = kernel.column() // 2
    dtype = torch.bfloat16 if brief else torch.float32

    def make(conv: Folded) -> Convolution:
        if narrow.suits(conv, lanes):
            return Narrow(conv, kernel, dtype)
        return Winograd(conv, kernel, dtype, half=bool(half)) if suits(conv, lanes) else others(conv)

    works = all(agrees(make, (3 * lanes, channels, 3), padding=1, close=1e-3) for channels in (64, 3))
    return make if works else None


BACKEND = Backend(
    name="winograd",
    device="cpu",
    needs="it needs Linux, oneDNN in torch, and gcc, which compiles the kernel at its first use",
    halves=(torch.bfloat16,),
    make=convolutions,
    runner=OnCpu,
)
