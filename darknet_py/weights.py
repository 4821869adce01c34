"""Darknet's .weights files: a header, then float32 values, little-endian, in the order of the layers."""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from darknet_py.errors import WeightsError, os_reason
from darknet_py.files import replacing
from darknet_py.graph import Graph, Node
from darknet_py.layers.base import Blob
from darknet_py.network import Network

FLOAT = np.dtype("<f4")
CHUNK = 2 << 20  # values copied at a time; so much of the mapped file is in memory
HEADER_SIZES = (20, 16)  # bytes with a 64-bit and with a 32-bit `seen`
_CUT = re.compile(r"\.conv\.(\d+)$")
_FOREIGN = {
    b"PK\x03\x04": "a PyTorch file (.pt); convert it first",
    b"\x80\x02": "a pickle; convert it first",
    b"<!DO": "a web page: the download went wrong",
    b"<htm": "a web page: the download went wrong",
    b"[net": "a cfg: the order is CFG WEIGHTS",
}


@dataclass(frozen=True)
class Header:
    """The first 16 or 20 bytes."""

    major: int = 0
    minor: int = 2
    revision: int = 0
    seen: int = 0

    @property
    def wide(self) -> bool:
        """Whether `seen` has 64 bits (load_weights_upto in parser.c)."""
        return self.major * 10 + self.minor >= 2 and self.major < 1000 and self.minor < 1000

    @property
    def transposed(self) -> bool:
        """Whether connected layers are stored transposed."""
        return self.major > 1000 or self.minor > 1000

    @property
    def size(self) -> int:
        return HEADER_SIZES[0] if self.wide else HEADER_SIZES[1]

    @classmethod
    def unpack(cls, data: bytes) -> Header:
        """Read a header from the start of a file; raises `WeightsError` where there is none."""
        foreign = next((what for start, what in _FOREIGN.items() if data.startswith(start)), None)
        if foreign:
            raise WeightsError(f"this is no .weights file but {foreign}")
        if len(data) >= HEADER_SIZES[1]:
            version = cls(*struct.unpack_from("<iii", data))
            if min(version.major, version.minor) < 0:
                raise WeightsError("this is no .weights file: its version is negative")
            if len(data) >= version.size:
                (seen,) = struct.unpack_from("<Q" if version.wide else "<i", data, 12)
                return cls(version.major, version.minor, version.revision, seen)
        raise WeightsError(f"it has {len(data)} bytes, which is too short for a header")

    def pack(self) -> bytes:
        """The bytes of the header."""
        return struct.pack("<iii" + ("Q" if self.wide else "i"), self.major, self.minor, self.revision, self.seen)


class Slot(NamedTuple):
    """Where a file holds a tensor; `start` counts values after the header."""

    node: Node
    blob: Blob
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


@dataclass(frozen=True)
class Loaded:
    """What `load` did."""

    header: Header
    layers: int  # layers up to here got their values, counted as the cfg counts
    values: int


def layout(graph: Graph, start: int = 0, cutoff: int | None = None, *, saving: bool = False) -> tuple[Slot, ...]:
    """Where each tensor is in a file that holds the layers from `start` to before `cutoff`.

    dontload, numload and dontloadscales change what a file that is loaded holds, dontsave what is saved.
    """
    slots: list[Slot] = []
    at = 0
    for node in graph.nodes[start:cutoff]:
        layer = node.layer
        if layer.dontsave if saving else layer.dontload:
            continue
        for blob in node.blobs:
            if not saving and layer.dontloadscales and blob.role in ("scale", "mean", "variance"):
                continue
            size = blob.size
            if not saving and layer.numload and layer.type in ("convolutional", "deconvolutional"):
                size = size // _filters(node) * min(layer.numload, _filters(node))
            slots.append(Slot(node, blob, at, size))
            at += size
    return tuple(slots)


def expected_bytes(graph: Graph) -> tuple[int, ...]:
    """The sizes a whole weights file can have: with a header of 20 bytes, and with one of 16."""
    values = sum(slot.size for slot in layout(graph))
    return tuple(header + FLOAT.itemsize * values for header in HEADER_SIZES)


def fills(graph: Graph, path: str | Path) -> bool:
    """Whether a file, judged by its size, gives every tensor of the network a value."""
    stored = sum(blob.size for node in graph.nodes for blob in node.blobs)
    try:
        size = Path(path).stat().st_size
    except OSError:
        return False
    return size in (header + FLOAT.itemsize * stored for header in HEADER_SIZES) and size in expected_bytes(graph)


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
    network.seen = header.seen
    return Loaded(header, slots[-1].node.index + 1 if slots else start, slots[-1].end if slots else 0)


def verify(
    graph: Graph, path: str | Path, *, start: int = 0, cutoff: int | None = None, partial: bool = False
) -> Header:
    """Raise `WeightsError` where `load` would for these arguments; no value is read."""
    with _opened(path) as data:
        header, _ = _plan(graph, Path(path), data, start, cutoff, partial=partial)
    return header


def save(network: Network, path: str | Path, *, cutoff: int | None = None) -> None:
    """Save a network as Darknet does (version 0.2.0, `seen` of 64 bits), the layers before `cutoff` alone."""
    try:
        with replacing(path) as file:
            file.write(Header(seen=network.seen).pack())
            for slot in layout(network.graph, cutoff=cutoff, saving=True):
                values = network.stored(slot.node.index, slot.blob).detach().to("cpu", torch.float32).contiguous()
                file.write(values.numpy().astype(FLOAT, copy=False).data)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written: {os_reason(error)}") from error


@contextmanager
def _opened(path: str | Path) -> Iterator[mmap.mmap]:
    """A file in memory; errors say its name."""
    try:
        with Path(path).open("rb") as file, _mapped(file.fileno()) as data:
            yield data
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {os_reason(error)}") from error
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def _plan(
    graph: Graph, path: Path, data: mmap.mmap, start: int, cutoff: int | None, *, partial: bool
) -> tuple[Header, tuple[Slot, ...]]:
    """What `load` reads from a file."""
    named = _CUT.search(path.name)
    if cutoff is None and named:
        cutoff = int(named.group(1))
    header = Header.unpack(data[: HEADER_SIZES[0]])
    values, rest = divmod(len(data) - header.size, FLOAT.itemsize)
    slots = layout(graph, start, cutoff)
    if not partial:
        _check_size(slots, values, rest, graph, ended=cutoff is not None)
    return header, tuple(slot for slot in slots if slot.end <= values)


class _mapped:  # noqa: N801
    """A file in memory, read only when it is looked at; nothing of it is left open."""

    def __init__(self, fileno: int) -> None:
        self.fileno = fileno

    def __enter__(self) -> mmap.mmap:
        try:
            self.map = mmap.mmap(self.fileno, 0, access=mmap.ACCESS_COPY)
        except ValueError:
            raise WeightsError("it is empty") from None
        return self.map

    def __exit__(self, *_: object) -> None:
        self.map.close()


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
        start, count = offset + at * FLOAT.itemsize, min(most, slot.end - at)
        values = np.frombuffer(data, FLOAT, count, start).astype(np.float32, copy=False)
        yield torch.from_numpy(values)
        del values
        if hasattr(mmap, "MADV_DONTNEED"):
            page = start - start % mmap.PAGESIZE
            data.madvise(mmap.MADV_DONTNEED, page, start + count * FLOAT.itemsize - page)


def _check_size(slots: Sequence[Slot], values: int, rest: int, graph: Graph, *, ended: bool) -> None:
    wanted = slots[-1].end if slots else 0
    if values == wanted and not rest:
        return
    if values >= wanted and ended:
        return  # a cutoff reads the beginning of a longer file
    if values > wanted or rest:
        end = f"{slots[-1].node}" if slots else "the header"
        more = f"{values - wanted} values" if values > wanted else f"{rest} bytes"
        where = f"it has {more} more after {end}: {values} values, and {graph.source} wants {wanted}"
    else:
        slot = next(slot for slot in slots if slot.end > values)
        where = (
            f"it ends in {slot.node}, {slot.blob.role}: {slot.size} values wanted there and {values - slot.start} had; "
            f"{values} values in all, and {graph.source} wants {wanted}"
        )
    raise WeightsError(f"{where}{_suggestion(slots, values, rest, graph)}")


def _suggestion(slots: Sequence[Slot], values: int, rest: int, graph: Graph) -> str:
    """What the file would fit, for the message."""
    if rest:
        return "; it has no whole number of values: a download that was cut short?"
    ends = {slot.end: slot.node for slot in slots}
    if values in ends and values:
        count = ends[values].index + 1
        return f"; it holds the first {count} layers exactly: cutoff={count} or partial loading takes them"
    filters = _fitting_filters(slots, values)
    if filters:
        count, node = filters
        head = next((n.layer for n in graph.heads), None)
        per_class = getattr(head, "num", 0)
        hint = f" (classes={count // per_class - 5})" if per_class and count % per_class == 0 else ""
        return f"; it would fit with filters={count} in {node}{hint}: another cfg of the same family?"
    return "; is this the file for this cfg?"


def _fitting_filters(slots: Sequence[Slot], values: int) -> tuple[int, Node] | None:
    """How many filters the last layer would have to have for the file to fit."""
    if not slots or slots[-1].node.layer.type != "convolutional":
        return None
    node = slots[-1].node
    mine = [slot for slot in slots if slot.node is node]
    each = sum(slot.size for slot in mine) // _filters(node)
    count, left = divmod(values - mine[0].start, each)
    return (count, node) if count > 0 and not left else None


def _filters(node: Node) -> int:
    return node.shape.c
