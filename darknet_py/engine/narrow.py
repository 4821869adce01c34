"""The first convolution of a network by the C kernel of narrow.c: one or three channels."""

from __future__ import annotations

import ctypes

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_py.engine.convolution import add
from darknet_py.engine.memory import Memory
from darknet_py.engine.plain import Folded
from darknet_py.kernels.native import Job, call, floats

CHANNELS = (1, 3)


class Narrow:
    """A convolution with bias, leaky and pooling."""

    engine, pools = "winograd", True

    def __init__(self, conv: Folded, kernel: ctypes.CDLL, dtype: torch.dtype = torch.float32) -> None:
        self.kernel, self.bias, self.dtype = kernel, conv.bias, dtype
        self.types = *(torch.float32,) * 3, dtype, torch.float32  # types of the kernel's arguments
        self.slope = conv.slope
        c, column = conv.weight.shape[1], kernel.column()
        weight = in_columns(conv.weight, column)
        self.weight = weight.reshape(-1, column, c, 3, 3).permute(0, 3, 4, 2, 1).contiguous()

    def __call__(
        self, memory: Memory, x: Tensor, other: Tensor | None = None, *, slope: float = 1.0, pool: bool = False
    ) -> Tensor:
        n, c, h, w = x.shape
        x = x.float().contiguous(memory_format=torch.channels_last)
        k, shrink = len(self.bias), pool + 1
        y = memory.picture(n, k, (h + pool) // shrink, (w + pool) // shrink, self.dtype)
        numbers = {"n": n, "h": h, "w": w, "c": c, "k": k, "pool": pool, "threads": torch.get_num_threads()}
        job = ctypes.byref(Job(**numbers, brief=self.dtype != torch.float32, slope=self.slope))
        space = memory.floats(floats(self.kernel.narrow_workspace(job)))
        call(self.kernel.narrow, job, tensors=(x, self.weight, self.bias, y, space), types=self.types)
        memory.give_back(space)
        return add(y, other, slope)


def in_columns(weight: Tensor, column: int) -> Tensor:
    """The weights (K, C, 3, 3), padded with zeros to a whole number of columns."""
    missing = -len(weight) % column
    return F.pad(weight, (0, 0, 0, 0, 0, 0, 0, missing)) if missing else weight


def suits(conv: Folded, lanes: int) -> bool:
    """Whether the kernel computes this convolution."""
    k, c, *window = conv.weight.shape
    plain = window == [3, 3] and conv.stride == conv.padding == (1, 1) and conv.groups == 1
    return plain and c in CHANNELS and k % lanes == 0
