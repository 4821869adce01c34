"""Darknet's .weights files: a header, then float32 values, little-endian, in the order of the layers."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePath

import numpy as np
import torch
from torch import Tensor

from darknet_py import shipped
from darknet_py.download import MODELS
from darknet_py.errors import WeightsError, os_reason
from darknet_py.files import replacing
from darknet_py.graph import Graph
from darknet_py.layout import (
    HEADER_SIZES,
    VALUE_SIZE,
    Header,
    Slot,
    check_size,
    cutoff_of,
    expected_bytes,
    fills,
    layout,
)
from darknet_py.network import Network

__all__ = ["Header", "Loaded", "expected_bytes", "fills", "find", "layout", "load", "save", "verify"]

FLOAT = np.dtype("<f4")
LARGE_PAGE = 2 << 20
CHUNK = 2 << 20  # values copied at a time; so much of the mapped file is in memory


def find(path: str | Path) -> Path:
    """The file that is meant: `path`, or where there is none the weights that came or were downloaded by this name."""
    official = MODELS.get(str(path))  # the file of yolov1-tiny is called tiny-yolov1.weights
    names = (path,) if official is None else (path, PurePath(official.weights).name)
    found = (shipped.find(name, ".weights") for name in names)
    return Path(next((file for file in found if os.path.isfile(file)), path))  # noqa: PTH113 - never raises


@dataclass(frozen=True)
class Loaded:
    """What `load` did."""

    header: Header
    layers: int  # layers up to here got their values, counted as the cfg counts
    values: int


def load(
    network: Network, path: str | Path, *, start: int = 0, cutoff: int | None = None, partial: bool = False
) -> Loaded:
    """Load a .weights file into a network, on whatever device it is, and take over `seen`.

    Only layers from `start` to before `cutoff` are read (load_weights_upto). A file must hold exactly these, but one
    named `.conv.N`, as Darknet's pretrained beginnings are, is read up to layer N, and with `partial` whatever the
    file holds is taken: whole tensors from the front, and what comes after them in a longer file is left out. Layers
    that get nothing keep their values. Raises `WeightsError` before anything is changed.
    """
    with _opened(path) as file:
        header, slots = _plan(network.graph, Path(path), file, start, cutoff, partial=partial)
        for slot in slots:
            _fill(network.stored(slot.node.index, slot.blob), slot, file, header)
    network.header = header
    return Loaded(header, slots[-1].node.index + 1 if slots else start, slots[-1].end if slots else 0)


def verify(
    graph: Graph, path: str | Path, *, start: int = 0, cutoff: int | None = None, partial: bool = False
) -> Header:
    """Raise `WeightsError` where `load` would for these arguments; no value is read."""
    with _opened(path) as file:
        header, _ = _plan(graph, Path(path), file, start, cutoff, partial=partial)
    return header


def save(network: Network, path: str | Path, *, cutoff: int | None = None, header: Header | None = None) -> None:
    """Save a network as Darknet does, the layers before `cutoff` alone.

    That is version 0.2.0 with `seen` of 64 bits; another `header`, such as the `network.header` that a file was
    loaded with, gives the layout of its version.
    """
    header = Header(seen=network.seen) if header is None else header
    try:
        with replacing(path) as file:
            file.write(header.pack())
            for slot in layout(network.graph, cutoff=cutoff, saving=True):
                values = network.stored(slot.node.index, slot.blob).detach().to("cpu", torch.float32)
                values = (values.T if slot.blob.transposed and header.transposed else values).contiguous()
                file.write(values.numpy().astype(FLOAT, copy=False).data)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written: {os_reason(error)}") from error


@contextmanager
def _opened(path: str | Path) -> Iterator[BufferedReader]:
    """A file to read; errors say its name."""
    path = find(path)
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise WeightsError("it is empty, or no regular file")
            yield file
    except OSError as error:
        hint = _hint(path) if isinstance(error, FileNotFoundError) else ""
        raise WeightsError(f"{path}: cannot be read: {os_reason(error)}{hint}") from error
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def _hint(path: Path) -> str:
    """What to do about a file that is not there."""
    name = str(path).removesuffix(".weights")
    return f"; darknet-py download {name} fetches it" if name in MODELS else shipped.near(path, ".weights")


def _plan(
    graph: Graph, path: Path, file: BufferedReader, start: int, cutoff: int | None, *, partial: bool
) -> tuple[Header, tuple[Slot, ...]]:
    """What `load` reads from a file."""
    cutoff = cutoff_of(path) if cutoff is None else cutoff
    header = Header.unpack(file.read(HEADER_SIZES[0]))
    size = os.fstat(file.fileno()).st_size - header.size
    slots = layout(graph, start, cutoff)
    if not partial:
        check_size(slots, size, graph, ended=cutoff is not None)
    return header, tuple(slot for slot in slots if slot.end <= size // VALUE_SIZE)


def _fill(target: Tensor, slot: Slot, file: BufferedReader, header: Header) -> None:
    file.seek(header.size + slot.start * VALUE_SIZE)
    rows = target.detach()[: slot.size * len(target) // target.numel()]
    turned = slot.blob.flipped or (slot.blob.transposed and header.transposed)
    if turned or not rows.is_contiguous():
        values = _read_into(torch.empty(slot.size), file)
        rows.copy_((values.view(-1, len(rows)).T if turned else values).reshape(rows.shape))
    elif rows.device.type == "cpu" and rows.dtype == torch.float32:
        _advise_large_pages(rows)
        _read_into(rows.view(-1), file)  # straight from the system's cache: no second copy
        torch.autograd.graph.increment_version(target)  # which torch would do for what it writes itself
    else:
        for part in rows.view(-1).split(CHUNK):
            part.copy_(_read_into(torch.empty(len(part)), file))


def _read_into(values: Tensor, file: BufferedReader) -> Tensor:
    """Fill a row of float32 on the CPU with the next values of a file."""
    array = values.numpy()
    if file.readinto(array.data.cast("B")) != array.nbytes:
        raise WeightsError("it became shorter while it was read")
    if sys.byteorder == "big":
        array.byteswap(inplace=True)
    return values


def _advise_large_pages(values: Tensor) -> None:
    """Ask Linux for large pages: memory that nobody has used yet is there several times sooner."""
    start = -(-values.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    size = (values.data_ptr() + values.nbytes - start) // mmap.PAGESIZE * mmap.PAGESIZE
    if size >= LARGE_PAGE and hasattr(mmap, "MADV_HUGEPAGE"):
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), mmap.MADV_HUGEPAGE)
