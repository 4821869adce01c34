"""Where a weights file holds what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from darknet_py.layers.base import Blob
from darknet_py.network.graph import Graph, Node
from darknet_py.network.header import HEADER_SIZES

VALUE_SIZE = 4  # bytes of a float32
NONE: Mapping[int, int] = {}
_CUT = re.compile(r"\.conv\.(\d+)$")


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
) -> tuple[Slot, ...]:
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
            elif not saving and layer.numload and layer.partial_filters:
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
