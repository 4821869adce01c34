"""Darknet's .weights files: a header, then float32 values, little-endian, in the order of the layers."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

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

__all__ = ["Header", "Loaded", "expected_bytes", "fills", "layout", "load", "save", "verify"]

FLOAT = np.dtype("<f4")
CHUNK = 2 << 20  # values copied at a time; so much of the mapped file is in memory


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
    with _opened(path) as data:
        header, slots = _plan(network.graph, Path(path), data, start, cutoff, partial=partial)
        for slot in slots:
            _fill(network.stored(slot.node.index, slot.blob), slot, data, header)
    network.header = header
    return Loaded(header, slots[-1].node.index + 1 if slots else start, slots[-1].end if slots else 0)


def verify(
    graph: Graph, path: str | Path, *, start: int = 0, cutoff: int | None = None, partial: bool = False
) -> Header:
    """Raise `WeightsError` where `load` would for these arguments; no value is read."""
    with _opened(path) as data:
        header, _ = _plan(graph, Path(path), data, start, cutoff, partial=partial)
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
def _opened(path: str | Path) -> Iterator[mmap.mmap]:
    """A file in memory, read only where it is looked at; errors say its name."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise WeightsError("it is empty, or no regular file")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as data:
                yield data
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {os_reason(error)}") from error
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def _plan(
    graph: Graph, path: Path, data: mmap.mmap, start: int, cutoff: int | None, *, partial: bool
) -> tuple[Header, tuple[Slot, ...]]:
    """What `load` reads from a file."""
    cutoff = cutoff_of(path) if cutoff is None else cutoff
    header = Header.unpack(data[: HEADER_SIZES[0]])
    slots = layout(graph, start, cutoff)
    if not partial:
        check_size(slots, len(data) - header.size, graph, ended=cutoff is not None)
    return header, tuple(slot for slot in slots if slot.end <= (len(data) - header.size) // VALUE_SIZE)


def _fill(target: Tensor, slot: Slot, data: mmap.mmap, header: Header) -> None:
    with torch.no_grad():
        turned = slot.blob.flipped or (slot.blob.transposed and header.transposed)
        if not turned and target.is_contiguous():
            flat, at = target.view(-1), 0
            for values in _chunks(data, header.size, slot, CHUNK):
                flat[at : at + len(values)].copy_(values)
                at += len(values)
            return
        rows = target[: slot.size * len(target) // target.numel()]
        for values in _chunks(data, header.size, slot, slot.size):
            matrix = values.view(-1, len(rows)).T if turned else values
            rows.copy_(matrix.reshape(rows.shape))


def _chunks(data: mmap.mmap, offset: int, slot: Slot, most: int) -> Iterator[Tensor]:
    """The values of a slot, some at a time; their pages leave memory when the next are asked for."""
    for at in range(slot.start, slot.end, most):
        start, count = offset + at * VALUE_SIZE, min(most, slot.end - at)
        values = np.frombuffer(data, FLOAT, count, start).astype(np.float32, copy=False)
        yield torch.from_numpy(values)
        del values
        if hasattr(mmap, "MADV_DONTNEED"):
            page = start - start % mmap.PAGESIZE
            data.madvise(mmap.MADV_DONTNEED, page, start + count * VALUE_SIZE - page)
