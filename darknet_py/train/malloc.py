"""The C library's memory, kept between steps."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

M_TRIM_THRESHOLD: Final = -1  # malloc.h of glibc
M_MMAP_MAX: Final = -4


def tune_malloc() -> bool:
    """Let the C library keep memory that is freed, until this process ends; gives whether it can.

    glibc hands large blocks back to the system at once, and the next step waits until it gets as many empty pages
    again. This changes the whole process and what it forks, so a program decides on it, not a library. Call it before
    the first large tensor.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and mallopt(M_MMAP_MAX, 0) == 1 and mallopt(M_TRIM_THRESHOLD, -1) == 1
