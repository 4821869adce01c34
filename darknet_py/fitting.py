"""Pictures of any sizes to one batch of a network's input."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, Structure, byref, c_ssize_t, c_void_p
from functools import cache, lru_cache

import torch
from torch import Tensor

from darknet_py.engine.native import library
from darknet_py.image import corner_aligned, letterbox_size, resize

GREY = 0.5  # of the canvas around a picture
CPU = torch.device("cpu")


class _Picture(Structure):
    _fields_ = (("pixels", c_void_p), ("w", c_ssize_t), ("step", c_ssize_t), ("row", c_ssize_t))


class _Axis(Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("near", "far", "near_weight", "far_weight")),
        ("count", c_ssize_t),
    )


def fitted(images: Sequence[Tensor], width: int, height: int, *, stretch: bool = False) -> Tensor:
    """Letterbox pictures (C, H, W), or stretch them, as `image` does -> (N, C, height, width) float32.

    Pictures of uint8 on the CPU with three channels side by side in memory, as files give them, take one pass of a C
    kernel, where that works; the numbers are the same. The batch is on the device of the pictures, channels last.
    """
    first = images[0]
    size = len(images), first.shape[0], height, width
    batch = torch.empty(size, dtype=torch.float32, device=first.device, memory_format=torch.channels_last)
    for image, canvas in zip(images, batch, strict=True):
        _place(image, canvas, stretch=stretch)
    return batch


def _place(image: Tensor, canvas: Tensor, *, stretch: bool) -> None:
    """Put a picture (C, H, W) into the middle of a canvas (C, height, width)."""
    (_, height, width), (_, h, w) = canvas.shape, image.shape
    new_w, new_h = (width, height) if stretch else letterbox_size(w, h, width, height)
    left, top = (width - new_w) // 2, (height - new_h) // 2
    if (new_w, new_h) != (width, height):
        for border in (canvas[:, :top], canvas[:, top + new_h :], canvas[..., :left], canvas[..., left + new_w :]):
            border.fill_(GREY)
    part = canvas[:, top : top + new_h, left : left + new_w]
    if not _resized(image, part):
        part.copy_(resize(image, new_w, new_h))


def _resized(image: Tensor, out: Tensor) -> bool:
    """Resize by the kernel, where it can; `out` has its channels side by side."""
    kernel = _kernel()
    c, h, w = image.shape
    by_channel, row, step = image.stride()
    suits = c == 3 and by_channel == 1 and step in (3, 4) and image.dtype == torch.uint8
    if kernel is None or not suits or image.device != CPU or out.device != CPU or not h * w:
        return False
    picture = _Picture(image.data_ptr(), w, step, row)
    (x, columns), (y, rows) = _axis(w, out.shape[2], rows=False), _axis(h, out.shape[1], rows=True)
    floats = kernel.resize_workspace(byref(picture), byref(columns))
    space = torch.empty(floats, dtype=torch.float32, device="cpu")
    kernel.resize_picture(byref(picture), byref(columns), byref(rows), out.data_ptr(), out.stride(1), space.data_ptr())
    del x, y  # until here, for the kernel reads them
    return True


@lru_cache(maxsize=64)
def _axis(size: int, new: int, *, rows: bool) -> tuple[tuple[Tensor, ...], _Axis]:
    """Where `image.resize` looks for each of `new` samples of a side of `size`, and how much each neighbour counts."""
    at, far = corner_aligned(size, new, CPU)
    near = 1 - far
    if not rows or new == 1:
        at[-1], near[-1] = size - 1, 1
    far[-1] = 0  # image.c adds nothing to the last row
    tensors = at.int(), (at + 1).clamp_(max=size - 1).int(), near, far
    return tensors, _Axis(*(tensor.data_ptr() for tensor in tensors), new)


@cache
def _kernel() -> ctypes.CDLL | None:
    """The functions of letterbox.c, or None where they cannot be had."""
    kernel = library()
    if kernel is not None:
        picture, axis, size = POINTER(_Picture), POINTER(_Axis), c_ssize_t
        kernel.resize_workspace.restype, kernel.resize_workspace.argtypes = size, (picture, axis)
        kernel.resize_picture.restype = None
        kernel.resize_picture.argtypes = picture, axis, axis, c_void_p, size, c_void_p
    return kernel
