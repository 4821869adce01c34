"""Darknet's .weights files: a header, then float32 values, little-endian, in the order of the layers."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from darknet_py.errors import WeightsError, os_reason
from darknet_py.files import replacing
from darknet_py.files.signatures import HEAD
from darknet_py.layers.parts.batchnorm import EPS
from darknet_py.network.graph import Graph
from darknet_py.network.header import Header
from darknet_py.network.module import Network
from darknet_py.weights.fit import check_size, matching
from darknet_py.weights.reading import Loaded, Reading
from darknet_py.weights.slots import VALUE_SIZE, Slot, cutoff_of, layout

FLOAT = np.dtype("<f4")
LARGE_PAGE = 2 << 20
CHUNK = 2 << 20  # values copied at a time; so much of the mapped file is in memory


class _Plan(NamedTuple):
    """What is read of a file."""

    slots: tuple[Slot, ...]
    loaded: Loaded


@dataclass(frozen=True)
class Binary:
    """A .weights, .backup or .conv.N file that is open."""

    kind: ClassVar[str] = "Darknet"
    path: Path
    file: BufferedReader

    @cached_property
    def header(self) -> Header:
        """What the file begins with; raises `WeightsError` where that is no header."""
        self.file.seek(0)
        return Header.unpack(self.file.read(HEAD))

    @property
    def size(self) -> int:
        """Bytes after the header."""
        return os.fstat(self.file.fileno()).st_size - self.header.size

    def verify(self, graph: Graph, reading: Reading) -> Loaded:
        """What `load` would do."""
        return self._plan(graph, reading).loaded

    def load(self, network: Network, reading: Reading) -> Loaded:
        """Read the values into a network, on whatever device it is."""
        slots, loaded = self._plan(network.graph, reading)
        if reading.assign and not any(_turned(slot, loaded.header) or slot.size != slot.blob.size for slot in slots):
            tensors = {f"layers.{slot.node.index}.{slot.blob.name}": self._values(slot) for slot in slots}
            network.load_state_dict(tensors, strict=False, assign=True)
        else:
            for slot in slots:
                _fill(network.stored(slot.node.index, slot.blob), slot, self.file, loaded.header)
        network.header = loaded.header
        return loaded

    def not_finite(self, graph: Graph) -> list[tuple[str, int]]:
        """Tensors with NaN or infinity in them."""
        header, stored = self.header, self.size // VALUE_SIZE
        slots = [slot for slot in layout(graph) if slot.end <= stored]
        if not slots:
            return []
        values = np.memmap(self.path, FLOAT, "r", header.size, (slots[-1].end,))
        bad = (slot for slot in slots if not all_finite(values[slot.start : slot.end]))
        return [(f"{slot.node}, {slot.blob.role}", slot.node.index) for slot in bad]

    def _plan(self, graph: Graph, reading: Reading) -> _Plan:
        if reading.layout is not None or reading.bn_eps != EPS:
            raise WeightsError("a layout and its epsilon belong to state dicts, and this is a .weights file")
        header, size, nodes = self.header, self.size, graph.nodes
        named = cutoff_of(self.path) if reading.cutoff is None else None
        left: tuple[str, ...] = ()
        slots = layout(graph, reading.start, named if reading.cutoff is None else reading.cutoff)
        if reading.partial == "matching" and named is None and reading.cutoff is None and not reading.start:
            slots, left = matching(graph, slots, size)
        elif reading.partial is not True:
            check_size(slots, size, graph, ended=reading.cutoff is not None, named=named or 0)
        slots = tuple(slot for slot in slots if slot.end <= size // VALUE_SIZE)
        values = sum(slot.size for slot in slots)
        whole = values == sum(blob.size for node in nodes for blob in node.blobs)
        if left:
            header = replace(header, seen=0)  # another network's
        layers, held = slots[-1].node.index + 1 if slots else reading.start, min(named or len(nodes), len(nodes))
        return _Plan(slots, Loaded(header, layers, values, held, whole, left))

    def _values(self, slot: Slot) -> Tensor:
        """The values of a tensor that is stored as it is used."""
        self.file.seek(self.header.size + slot.start * VALUE_SIZE)
        values = np.fromfile(self.file, FLOAT, slot.size).astype(np.float32, copy=False)
        return torch.from_numpy(values).view(slot.blob.shape)


def save(network: Network, path: str | Path, *, cutoff: int | None = None, header: Header | None = None) -> None:
    """Save a network as Darknet does, the layers before `cutoff` alone.

    The version is that of the dialect's program: Darknet writes 0.2.0, with `seen` of 64 bits. Another `header`, such
    as the `network.header` that a file was loaded with, gives the layout of its version.
    """
    network.check_values()
    header = Header.of(network.graph.dialect, network.seen) if header is None else header
    try:
        with replacing(path) as file:
            file.write(header.pack())
            for slot in layout(network.graph, cutoff=cutoff, saving=True):
                values = network.stored(slot.node.index, slot.blob).detach().to("cpu", torch.float32)
                values = (values.T if slot.blob.transposed and header.transposed else values).contiguous()
                file.write(values.numpy().astype(FLOAT, copy=False).data)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written: {os_reason(error)}") from error


def all_finite(values: npt.NDArray[np.float32]) -> bool:
    """Whether no value is NaN or infinite."""
    return all(bool(np.isfinite(values[at : at + CHUNK]).all()) for at in range(0, len(values), CHUNK))


def _turned(slot: Slot, header: Header) -> bool:
    """Whether a tensor is stored otherwise than it is used."""
    return slot.blob.flipped or (slot.blob.transposed and header.transposed)


def _fill(target: Tensor, slot: Slot, file: BufferedReader, header: Header) -> None:
    file.seek(header.size + slot.start * VALUE_SIZE)
    rows = target.detach()[: slot.size * len(target) // target.numel()]
    turned = _turned(slot, header)
    if turned or not rows.is_contiguous():
        values = _read_into(torch.empty(slot.size, dtype=torch.float32, device="cpu"), file)
        rows.copy_((values.view(-1, len(rows)).T if turned else values).reshape(rows.shape))
    elif rows.device.type == "cpu" and rows.dtype == torch.float32:
        _advise_large_pages(rows)
        _read_into(rows.view(-1), file)  # straight from the system's cache: no second copy
        torch.autograd.graph.increment_version(target)  # which torch would do for what it writes itself
    else:
        for part in rows.view(-1).split(CHUNK):
            part.copy_(_read_into(torch.empty(len(part), dtype=torch.float32, device="cpu"), file))


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
