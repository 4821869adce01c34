"""Letterboxes pictures of any size into one input batch."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import byref

import torch
from torch import Tensor

from darknet_py.errors import DarknetError
from darknet_py.kernels.native import Axis, Buffer, Picture, floats, library
from darknet_py.pictures.operations import corner_aligned, letterbox_size, resize

GREY = 0.5  # of the canvas around a picture
CPU = torch.device("cpu")


def fitted(images: Sequence[Tensor], width: int, height: int, *, stretch: bool = False) -> Tensor:
    """Letterbox pictures (C, H, W), or stretch them, as `image` does -> (N, C, height, width) float32.

    Pictures of uint8 on the CPU with interleaved channels, as they come from files, take one pass of a C kernel if it
    is available; the numbers are the same. The batch is on the device of the pictures, channels last.
    """
    first = images[0]
    size = len(images), first.shape[0], height, width
    batch = torch.empty(size, dtype=torch.float32, device=first.device, memory_format=torch.channels_last)
    for image, canvas in zip(images, batch, strict=True):
        _place(image, canvas, stretch=stretch)
    return batch


def _place(image: Tensor, canvas: Tensor, *, stretch: bool) -> None:
    """Resize a picture (C, H, W) into the middle of a canvas (C, height, width)."""
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
    """Resize by the kernel if it can; `out` has interleaved channels."""
    kernel = library()
    c, h, w = image.shape
    by_channel, row, step = image.stride()
    suits = c == 3 and by_channel == 1 and step in (3, 4) and image.dtype == torch.uint8
    if kernel is None or not suits or image.device != CPU or out.device != CPU or not h * w:
        return False
    picture = Picture(_rest(image), h, w, step, row)
    (x, columns), (y, rows) = _axis(w, out.shape[2], rows=False), _axis(h, out.shape[1], rows=True)
    count = floats(kernel.resize_workspace(byref(picture), byref(columns)))
    space = torch.empty(count, dtype=torch.float32, device="cpu")
    fits = out.dtype == torch.float32 and (out.stride(0), out.stride(2)) == (1, 3)
    buffers = (Buffer * 2)(_rest(out), _rest(space))
    if not fits or kernel.resize_picture(byref(picture), byref(columns), byref(rows), out.stride(1), buffers):
        raise DarknetError(f"a picture {tuple(image.shape)} does not fit its place {tuple(out.shape)}")
    del x, y  # until here, for the kernel reads them
    return True


def _rest(tensor: Tensor) -> Buffer:
    """The memory of a tensor, from its first value on."""
    return Buffer(tensor.data_ptr(), tensor.untyped_storage().nbytes() - tensor.storage_offset() * tensor.itemsize)


def _axis(size: int, new: int, *, rows: bool) -> tuple[tuple[Tensor, ...], Axis]:
    """For each of `new` samples of a side of `size`, the neighbours that `image.resize` reads, and their weights."""
    at, far = corner_aligned(size, new, CPU)
    near = 1 - far
    if not rows or new == 1:
        at[-1], near[-1] = size - 1, 1
    far[-1] = 0  # image.c adds nothing to the last row
    tensors = at.int(), (at + 1).clamp_(max=size - 1).int(), near, far
    return tensors, Axis(*(tensor.data_ptr() for tensor in tensors), new)
