"""The pixels of a Pillow picture as an array in its own memory, by the Arrow PyCapsule interface."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_char_p, c_int64, c_void_p, cast, py_object
from typing import Any

import numpy as np
from PIL import Image

FORMAT, ITEMS = b"+w:4", b"C"  # of a picture with four bytes a pixel, and of these


class _Schema(Structure):
    """The first fields of ArrowSchema."""


class _Array(Structure):
    """The first fields of ArrowArray."""


_Schema._fields_ = (
    *((name, c_char_p) for name in ("format", "name", "metadata")),
    *((name, c_int64) for name in ("flags", "n_children")),
    ("children", POINTER(POINTER(_Schema))),
)
_Array._fields_ = (
    *((name, c_int64) for name in ("length", "null_count", "offset", "n_buffers", "n_children")),
    ("buffers", POINTER(c_void_p)),
    ("children", POINTER(POINTER(_Array))),
)
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = c_void_p, (py_object, c_char_p)


class _Pixels:
    """An array interface for numpy that keeps the memory alive."""

    def __init__(self, capsule: object, address: int, shape: tuple[int, int, int]) -> None:
        self.capsule = capsule
        self.__array_interface__ = {"version": 3, "typestr": "|u1", "data": (address, False), "shape": shape}


def pixels_of(picture: Image.Image) -> np.ndarray[Any, Any] | None:
    """(H, W, 4) uint8 of a loaded RGB or RGBA picture without a copy; None if Pillow cannot share its memory."""
    try:
        capsules: tuple[object, object] = picture.__arrow_c_array__()
    except (AttributeError, ValueError):  # an old Pillow, or a picture in several pieces
        return None
    schema = cast(_pointer(capsules[0], b"arrow_schema"), POINTER(_Schema)).contents
    array = cast(_pointer(capsules[1], b"arrow_array"), POINTER(_Array)).contents
    whole = picture.width * picture.height
    if schema.format != FORMAT or (schema.n_children, array.n_children, array.length, array.offset) != (1, 1, whole, 0):
        return None
    items = array.children[0].contents
    kind = schema.children[0].contents.format
    if kind != ITEMS or (items.n_buffers, items.length, items.offset) != (2, 4 * whole, 0) or not items.buffers[1]:
        return None
    address = items.buffers[1]
    return np.asarray(_Pixels(capsules[1], address, (picture.height, picture.width, 4)))
