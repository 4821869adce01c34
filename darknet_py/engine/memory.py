"""Reuses memory for the outputs of layers, because fresh pages from the system cost more than many layers."""

from __future__ import annotations

import ctypes
import sys
from bisect import bisect_left, insort

import torch
from torch import Tensor

LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def give_back_free() -> None:
    """Return free memory to the system if the C library can: allocations of many sizes fragment the heap."""
    if LIBC is not None and hasattr(LIBC, "malloc_trim"):
        LIBC.malloc_trim(0)


class Memory:
    """Blocks of float32 that are lent and given back; it keeps only blocks that something fits into."""

    def __init__(self) -> None:
        self._free: list[Tensor] = []  # sorted by size
        self._lent: dict[int, Tensor] = {}

    def floats(self, count: int) -> Tensor:
        """A row of at least `count` values."""
        place = bisect_left(self._free, count, key=len)
        if place < len(self._free):
            block = self._free.pop(place)
        else:
            if self._free:
                self._free.pop()  # too small; dropping it keeps the memory at what is needed at a time
            block = torch.empty(count, dtype=torch.float32, device="cpu")
        self._lent[block.data_ptr()] = block
        return block

    def picture(self, n: int, c: int, h: int, w: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """(N, C, H, W), channels last."""
        count = n * c * h * w
        values = self.floats(-(-count * dtype.itemsize // 4)).view(dtype)[:count]
        return values.view(n, h, w, c).permute(0, 3, 1, 2)

    def give_back(self, tensor: Tensor) -> None:
        """Take back a tensor (...) that `floats` or `picture` lent, such as (N, C, H, W); others are ignored."""
        block = self._lent.pop(tensor.data_ptr(), None)
        if block is not None:
            insort(self._free, block, key=len)

    def end(self) -> None:
        """Forget blocks that are still lent."""
        self._lent.clear()
