"""Where a .weights file holds what: the header, and the place of every tensor."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from darknet_py.errors import WeightsError
from darknet_py.graph import Graph, Node
from darknet_py.layers.base import Blob
from darknet_py.signatures import kind_of, text_of

VALUE_SIZE = 4  # bytes of a float32
HEADER_SIZES = (20, 16)  # bytes with a 64-bit and with a 32-bit `seen`
NONE: Mapping[int, int] = {}
MAX_VERSION = 9_999  # of a part of a version; above 1000 is a mark that Darknet's old files have
_CUT = re.compile(r"\.conv\.(\d+)$")


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
        """Read a header from the start of a file; raises `WeightsError` where there is none.

        The more of the file there is, the better the message says what it is instead.
        """
        if len(data) >= HEADER_SIZES[1]:
            version = cls(*struct.unpack_from("<iii", data))
            plausible = all(0 <= part <= MAX_VERSION for part in (version.major, version.minor, version.revision))
            if plausible and len(data) >= version.size and any(data) and not text_of(data):
                (seen,) = struct.unpack_from("<Q" if version.wide else "<i", data, 12)
                return cls(version.major, version.minor, version.revision, seen)
        raise WeightsError(_no_header(data))

    def pack(self) -> bytes:
        """The bytes of the header."""
        return struct.pack("<iii" + ("Q" if self.wide else "i"), self.major, self.minor, self.revision, self.seen)


def _no_header(data: bytes) -> str:
    """What is wrong with a file that begins so."""
    if not data:
        return "it is empty"
    kind = kind_of(data)
    if not any(data):
        return "it holds nothing but zeros: a download or a copy that was cut short"
    if kind is not None:
        return f"this is no weights file but {kind}"
    if len(data) < HEADER_SIZES[0]:
        return f"it has {len(data)} bytes, which is too short for a header"
    version = ".".join(map(str, struct.unpack_from("<iii", data)))
    return f"this is no weights file: its version would be {version}, and Darknet's are 0.1.0 and 0.2.0"


class Slot(NamedTuple):
    """Where a file holds a tensor; `start` counts values after the header."""

    node: Node
    blob: Blob
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


def layout(
    graph: Graph, start: int = 0, cutoff: int | None = None, *, saving: bool = False, outputs: Mapping[int, int] = NONE
) -> tuple[Slot, ...]:  # fmt: skip
    """Where each tensor is in a file that holds the layers from `start` to before `cutoff`.

    dontload, numload and dontloadscales change what a file that is loaded holds, dontsave what is saved. `outputs` are
    the layers that have another number of filters or outputs in the file, with that number.
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
            if node.index in outputs:
                size = size // outputs_of(node) * outputs[node.index]
            elif not saving and layer.numload and layer.type in ("convolutional", "deconvolutional"):
                size = size // outputs_of(node) * min(layer.numload, outputs_of(node))
            slots.append(Slot(node, blob, at, size))
            at += size
    return tuple(slots)


def expected_bytes(graph: Graph) -> tuple[int, ...]:
    """The sizes a whole weights file can have: with a header of 20 bytes, and with one of 16."""
    values = sum(slot.size for slot in layout(graph))
    return tuple(header + VALUE_SIZE * values for header in HEADER_SIZES)


def cutoff_of(path: Path) -> int | None:
    """The number of layers in a file named `.conv.N`, as Darknet's pretrained beginnings are, or None."""
    named = _CUT.search(path.name)
    return int(named.group(1)) if named else None


def outputs_of(node: Node) -> int:
    """How many filters or outputs a layer has: what each of its tensors is a multiple of."""
    return node.shape.c
