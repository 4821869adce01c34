"""Memory for the outputs of layers, used again: pages that the system hands out anew cost more than many layers."""

from __future__ import annotations

import ctypes
import sys
from bisect import bisect_left, insort

import torch
from torch import Tensor

LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def give_back_free() -> None:
    """Hand free memory back to the system, where the C library can: what comes and goes in many sizes leaves gaps."""
    if LIBC is not None and hasattr(LIBC, "malloc_trim"):
        LIBC.malloc_trim(0)


class Memory:
    """Blocks of float32 that are lent and given back; of those no longer needed it keeps no more than fit something."""

    def __init__(self) -> None:
        self._free: list[Tensor] = []  # the smallest first
        self._lent: dict[int, Tensor] = {}

    def floats(self, count: int) -> Tensor:
        """At least so many values, in one row."""
        place = bisect_left(self._free, count, key=len)
        if place < len(self._free):
            block = self._free.pop(place)
        else:
            if self._free:
                self._free.pop()  # too small: what is kept does not grow beyond what is needed at a time
            block = torch.empty(count, dtype=torch.float32, device="cpu")
        self._lent[block.data_ptr()] = block
        return block

    def picture(self, n: int, c: int, h: int, w: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """(N, C, H, W), channels last."""
        count = n * c * h * w
        values = self.floats(-(-count * dtype.itemsize // 4)).view(dtype)[:count]
        return values.view(n, h, w, c).permute(0, 3, 1, 2)

    def give_back(self, tensor: Tensor) -> None:
        """Take back what `floats` or `picture` lent; other tensors are left alone."""
        block = self._lent.pop(tensor.data_ptr(), None)
        if block is not None:
            insort(self._free, block, key=len)

    def end(self) -> None:
        """What is still lent is kept no more."""
        self._lent.clear()
