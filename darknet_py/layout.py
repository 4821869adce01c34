"""Where a .weights file holds what: the header, the place of every tensor, and what a file of another size may be."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from darknet_py.errors import WeightsError
from darknet_py.graph import Graph, Node
from darknet_py.layers.base import Blob
from darknet_py.layers.region import Region
from darknet_py.layers.yolo import Yolo

VALUE_SIZE = 4  # bytes of a float32
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
    return tuple(header + VALUE_SIZE * values for header in HEADER_SIZES)


def fills(graph: Graph, path: str | Path) -> bool:
    """Whether a file, judged by its size, gives every tensor of the network a value."""
    stored = sum(blob.size for node in graph.nodes for blob in node.blobs)
    try:
        size = Path(path).stat().st_size
    except OSError:
        return False
    return size in (header + VALUE_SIZE * stored for header in HEADER_SIZES) and size in expected_bytes(graph)


def cutoff_of(path: Path) -> int | None:
    """The number of layers in a file named `.conv.N`, as Darknet's pretrained beginnings are, or None."""
    named = _CUT.search(path.name)
    return int(named.group(1)) if named else None


def check_size(slots: Sequence[Slot], data_size: int, graph: Graph, *, ended: bool) -> None:
    """Raise `WeightsError` where so many bytes after the header are not what the slots need.

    The message says the layer the file ends in, what was wanted and had, and what would fit. With `ended` a longer
    file is fine: a cutoff reads its beginning.
    """
    values, rest = divmod(data_size, VALUE_SIZE)
    wanted = slots[-1].end if slots else 0
    if (values == wanted and not rest) or (values >= wanted and ended):
        return
    if values >= wanted:
        end = f"{slots[-1].node}" if slots else "the header"
        more = f"{values - wanted} values" if values > wanted else f"{rest} bytes"
        where = f"it has {more} more after {end}"
    else:
        slot = next(slot for slot in slots if slot.end > values)
        had = f"{slot.size} values wanted there and {values - slot.start} had"
        where = f"it ends in {slot.node}, {slot.blob.role}: {had}"
    totals = f"{values} values in all, and {graph.source} wants {wanted}"
    raise WeightsError(f"{where}; {totals}; {_suggestion(slots, values, rest, graph)}")


def _suggestion(slots: Sequence[Slot], values: int, rest: int, graph: Graph) -> str:
    if rest:
        return "it has no whole number of values: a download that was cut short?"
    ends = {slot.end: slot.node.index + 1 for slot in slots}  # of a layer's tensors the last one stays
    last = {count: end for end, count in ends.items()}
    layers = ends.get(values)
    if layers and last[layers] == values:
        return f"it holds the first {layers} layers exactly: cutoff={layers} or partial loading takes them"
    filters = _fitting_filters(slots, values)
    if filters is None:
        return "is this the file for this cfg?"
    return (
        f"it would fit with filters={filters} in {slots[-1].node}{_classes(graph, filters)}: another cfg of the family?"
    )


def _fitting_filters(slots: Sequence[Slot], values: int) -> int | None:
    """How many filters the last layer would have to have for the file to fit."""
    if not slots or slots[-1].node.layer.type != "convolutional":
        return None
    mine = [slot for slot in slots if slot.node is slots[-1].node]
    each = sum(slot.size for slot in mine) // _filters(slots[-1].node)
    if not each:
        return None
    count, left = divmod(values - mine[0].start, each)
    return count if count > 0 and not left else None


def _classes(graph: Graph, filters: int) -> str:
    """How many classes so many filters would be."""
    layer = graph.heads[-1].layer
    if not isinstance(layer, (Region, Yolo)):
        return ""
    entries, left = divmod(filters, len(layer.anchor_boxes))
    classes = entries - (layer.entries - layer.classes)
    return f" (classes={classes})" if classes > 0 and not left else ""


def _filters(node: Node) -> int:
    return node.shape.c
