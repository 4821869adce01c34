"""Calls the C kernels, and finds out what this machine has."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Sequence
from ctypes import POINTER, Structure, c_float, c_int, c_ssize_t, c_void_p
from functools import cache
from typing import Any

import torch
from torch import Tensor

from darknet_py.errors import DarknetError
from darknet_py.kernels import compiled
from darknet_py.kernels.compiled import told_of_processor

NUMBERS = ("n", "h", "w", "c", "k", "pool", "threads", "brief", "packed", "half", "superblock", "block", "group")


class Job(Structure):
    """The sizes of one convolution; the `Job` of kernel.h."""

    _fields_ = (
        *((name, c_ssize_t) for name in NUMBERS),
        ("slope", c_float),
        ("from_slope", c_float),
    )


class Buffer(Structure):
    """Memory that a kernel reads or writes, and its bytes; the `Buffer` of kernel.h."""

    _fields_ = (("at", c_void_p), ("bytes", c_ssize_t))


class Picture(Structure):
    """The picture of letterbox.c."""

    _fields_ = (("pixels", Buffer), *((name, c_ssize_t) for name in ("h", "w", "step", "row")))


class Axis(Structure):
    """The samples along a side that letterbox.c reads."""

    _fields_ = (
        *((name, c_void_p) for name in ("near", "far", "near_weight", "far_weight")),
        ("count", c_ssize_t),
    )


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None without a compiler or with DARKNET_PY_NATIVE=0."""
    if os.environ.get("DARKNET_PY_NATIVE") == "0" or sys.platform != "linux":
        return None
    return compiled.opened(functions)


def functions(kernel: ctypes.CDLL) -> ctypes.CDLL:
    """The library with the types of its functions; raises `AttributeError` if one is missing."""
    job, size, buffers, axis = POINTER(Job), c_ssize_t, c_void_p, POINTER(Axis)
    for name, result, *arguments in (
        ("column", size),
        ("winograd_workspace", size, job),
        ("winograd_packed", size, size, size),
        ("winograd_pack", c_int, size, size, buffers),
        ("winograd", c_int, job, buffers),
        ("narrow_workspace", size, job),
        ("narrow", c_int, job, buffers),
        ("resize_workspace", size, POINTER(Picture), axis),
        ("resize_picture", c_int, POINTER(Picture), axis, axis, size, buffers),
    ):
        function = getattr(kernel, name)
        function.restype, function.argtypes = result, arguments
    return kernel


def call(
    function: Callable[..., Any], *sizes: Any, tensors: Sequence[Tensor | None], types: Sequence[torch.dtype]
) -> None:
    """Call a kernel with dense tensors of any shape and of these types on the CPU; four dimensions mean channels last.

    Raises `DarknetError` for other tensors, and if the kernel finds that they do not fit the sizes.
    """
    numbers = [number for pair in map(_buffer, tensors, types) for number in pair]
    if function(*sizes, (c_ssize_t * len(numbers))(*numbers)):  # laid out as buffers are, but faster to make
        shapes = [None if tensor is None else tuple(tensor.shape) for tensor in tensors]
        raise DarknetError(f"the kernel {function.__name__} does not take tensors of {shapes} with these sizes")


def _buffer(tensor: Tensor | None, dtype: torch.dtype) -> tuple[int, int]:
    if tensor is None:
        return 0, 0
    order = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
    if not tensor.is_cpu or tensor.dtype != dtype or not tensor.is_contiguous(memory_format=order):
        raise DarknetError(
            f"the C kernels want dense {dtype} on the CPU, not {tensor.dtype} on {tensor.device}, "
            f"{tuple(tensor.shape)} with strides {tensor.stride()}"
        )
    return tensor.data_ptr(), tensor.nbytes


def floats(count: int) -> int:
    """The floats of workspace that a kernel needs; raises `DarknetError` for sizes that it refuses."""
    if count < 0:
        raise DarknetError("a C kernel does not take these sizes")
    return count


def has_amx() -> bool:
    """Whether the processor has matrix products of bfloat16 (AMX), which are many times faster than vectors."""
    return "amx_bf16" in told_of_processor("flags").split()


def multiplies_bfloat16() -> bool:
    """Whether oneDNN is faster in bfloat16 than in float32: with AMX, and with AVX-512 of AMD."""
    return has_amx() or (
        "avx512_bf16" in told_of_processor("flags").split() and "AMD" in told_of_processor("vendor_id")
    )
