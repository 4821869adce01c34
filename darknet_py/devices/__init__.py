"""What a CPU and a GPU want done differently: threads, sorting and searching, copies."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from darknet_py.errors import DarknetError


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The given device, or else the first GPU (CUDA, then MPS), or else the CPU.

    Raises `DarknetError` for a device that does not exist.
    """
    if device is not None:
        try:
            found = torch.empty(0, dtype=torch.float32, device=device).device
        except (RuntimeError, AssertionError, TypeError) as error:
            raise DarknetError(f"there is no device {str(device)!r}: {str(error).splitlines()[0]}") from error
        if found.type == "meta":
            raise DarknetError("the device meta holds no values, so that nothing can be computed there")
        return found
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


class _Fork:
    """Whether this process was forked and has not been limited to one thread yet."""

    unseen = False

    @classmethod
    def happened(cls) -> None:
        cls.unseen = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Fork.happened)


def after_fork() -> None:
    """Make torch use one thread in a forked process; called before anything is computed there.

    The OpenMP threads of the parent do not exist in the new process, which would wait for them for ever.
    """
    if _Fork.unseen:
        _Fork.unseen = False
        torch.set_num_threads(1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch's operators on the calling thread only; also a decorator.

    Waking other threads costs more than a small operator takes, and many times more on a busy machine.
    OpenMP keeps the number per calling thread, so other threads are not affected, as they are by
    `torch.set_num_threads`. If torch's OpenMP cannot be found, this does nothing.
    """
    openmp = _openmp()
    if openmp is None:
        yield
        return
    before = torch.get_num_threads()
    openmp.omp_set_num_threads(1)
    try:
        yield
    finally:
        openmp.omp_set_num_threads(before)


@cache
def _openmp() -> ctypes.CDLL | None:
    """The OpenMP library that torch uses, if torch obeys it."""
    before = torch.get_num_threads()
    try:
        openmp = ctypes.CDLL(None)
        openmp.omp_set_num_threads(before + 1)
    except (AttributeError, OSError, TypeError):
        return None
    obeys = torch.get_num_threads() == before + 1
    openmp.omp_set_num_threads(before)
    return openmp if obeys else None


def descending(values: Tensor) -> Tensor:  # (N,) -> (N,) int64
    """The order from the largest to the smallest; equal values keep their order."""
    if values.device.type != "cpu" or values.dtype != torch.float32:
        return values.sort(descending=True, stable=True).indices
    # numpy sorts integers about ten times as fast: the bits of the number, inverted so that they rise as it falls, and
    # then its index.
    bits = (values.detach().numpy() + np.float32(0)).view(np.int32)  # -0 becomes 0, its equal
    keys = (~(bits ^ ((bits >> 31) & 0x7FFFFFFF))).astype(np.int64)
    keys <<= 32
    keys |= np.arange(len(keys))
    keys.sort()
    keys &= 0xFFFFFFFF
    return torch.from_numpy(keys)


def places(mask: Tensor) -> Tensor:  # (N,) bool -> (K,) int64
    """The indices where the mask is true, in rising order."""
    if mask.device.type != "cpu":
        return mask.nonzero()[:, 0]
    return torch.from_numpy(np.flatnonzero(mask.numpy()))


def sent(values: Sequence[Any], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers, or rows of them, as a tensor on a device; the host does not wait for the copy."""
    return torch.tensor(values, dtype=dtype, device="cpu").to(device, non_blocking=device.type == "cuda")


def suits(device: torch.device) -> bool:
    """Whether a device is to be used as said above."""
    return device.type != "cpu"


def on_cpu(boxes: Tensor, *columns: Tensor) -> tuple[Tensor, ...]:
    """Boxes (K, 4), and columns (K,) of numbers of 32 bits or of int64 that fit in them, brought to the CPU at once."""
    if not suits(boxes.device):
        return boxes, *columns
    return unpacked(packed(boxes, *columns).cpu(), [column.dtype for column in columns])


def packed(boxes: Tensor, *columns: Tensor) -> Tensor:
    """Float32 boxes (K, 4) and columns (K,), float32 or int64, as one (K, 4 + columns) of int32, bit by bit."""
    numbers = [column.int() if column.dtype == torch.int64 else column.view(torch.int32) for column in columns]
    return torch.cat((boxes.view(torch.int32), torch.stack(numbers, 1)), 1)


def unpacked(rows: Tensor, dtypes: Sequence[torch.dtype]) -> tuple[Tensor, ...]:
    """The boxes and columns again."""
    columns = rows[:, 4:].t().contiguous().unbind(0)
    whole = [
        column.long() if dtype == torch.int64 else column.view(dtype)
        for column, dtype in zip(columns, dtypes, strict=True)
    ]
    return rows[:, :4].contiguous().view(torch.float32), *whole
