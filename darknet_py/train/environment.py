"""Settings of torch and of the C library's memory for training."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from darknet_py.errors import DarknetError

M_TRIM_THRESHOLD: Final = -1  # malloc.h of glibc
M_MMAP_MAX: Final = -4


def tune_malloc() -> bool:
    """Make the C library keep freed memory until this process ends; returns whether it can.

    glibc returns large blocks to the system at once, and the next step waits for as many fresh pages. This changes the
    whole process and its forks, so it is for programs to decide, not for a library. Call it before the first large
    tensor.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and mallopt(M_MMAP_MAX, 0) == 1 and mallopt(M_TRIM_THRESHOLD, -1) == 1


@contextmanager
def set_up(*, deterministic: bool) -> Iterator[None]:
    """Set torch up for a run, and restore it; errors become a `DarknetError` that says what to do."""
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DarknetError("the GPU has too little memory for a mini-batch: raise subdivisions") from error
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        raise DarknetError(f"not with --deterministic: {str(error).splitlines()[0]}") from error
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
