"""``.weights``, ``.backup`` and ``.conv.N``: Darknet's own files."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from darknet_py import weights
from darknet_py.convert.formats import Format, Options, Reading, heads
from darknet_py.errors import DarknetError, WeightsError
from darknet_py.graph import Graph
from darknet_py.layers.batchnorm import EPS
from darknet_py.layout import Header, Slot, cutoff_of
from darknet_py.network import Network
from darknet_py.weights import FLOAT, Loaded


def write(network: Network, path: Path, options: Options) -> None:
    """Write a file from which `weights.load` gives this network, with the version and `seen` of `network.header`.

    What [layers] say about loading counts: kernels with flipped=1 go in transposed, a layer with dontload not at all.
    `weights.save` does as the C program, which turns none back.
    """
    if options.dtype != torch.float32:
        raise DarknetError(".weights files hold float32 alone; 16 bits are for the other formats")
    with path.open("wb") as file:
        file.write(_packed(network.header))
        for slot in weights.layout(network.graph):
            file.write(_values(network, slot, network.header).numpy().astype(FLOAT, copy=False).data)


def read(network: Network, path: Path, reading: Reading) -> Loaded:
    """Load a file, as `weights.load`; `layers` counts those without weights too."""
    if reading.layout is not None or reading.bn_eps != EPS:
        raise DarknetError(f"{path}: a layout and its epsilon belong to state dicts, and this is a .weights file")
    loaded = (_assign(network, path) if reading.assign and not reading.partial else None) or weights.load(
        network, path, partial=reading.partial
    )
    return replace(loaded, layers=min(cutoff_of(path) or len(network.layers), len(network.layers)))


def _assign(network: Network, path: Path) -> Loaded | None:
    """`weights.load`, but each tensor becomes what is read for it. None where one is not stored as it is used."""
    header = weights.verify(network.graph, path)
    slots = weights.layout(network.graph, cutoff=cutoff_of(path))
    turned = any(slot.blob.flipped or (slot.blob.transposed and header.transposed) for slot in slots)
    if turned or any(slot.size != slot.blob.size for slot in slots):
        return None
    with path.open("rb") as file:
        file.seek(header.size)
        read = [np.fromfile(file, FLOAT, slot.size).astype(np.float32, copy=False) for slot in slots]
    tensors = {
        f"layers.{slot.node.index}.{slot.blob.name}": torch.from_numpy(values).view(slot.blob.shape)
        for slot, values in zip(slots, read, strict=True)
    }
    network.load_state_dict(tensors, strict=False, assign=True)
    network.header = header
    return Loaded(header, len(network.layers), slots[-1].end if slots else 0)


def run(path: Path, network: Network, inputs: Sequence[Tensor], _options: Options) -> list[list[Tensor]]:
    """What a network that is loaded from the file makes of each input."""
    loaded = Network(network.graph, initialize=False).eval()
    if not loads_all(network.graph):
        loaded.load_state_dict(network.state_dict())
    weights.load(loaded, path)
    return heads(loaded, inputs)


def loads_all(graph: Graph) -> bool:
    """Whether weights files have a value for every tensor; dontload, dontloadscales and numload leave some out."""
    return sum(slot.size for slot in weights.layout(graph)) == sum(
        blob.size for node in graph.nodes for blob in node.blobs
    )


def _packed(header: Header) -> bytes:
    try:
        return header.pack()
    except struct.error:
        version = f"{header.major}.{header.minor}.{header.revision}"
        raise WeightsError(f"seen={header.seen} has no place in a file of version {version}") from None


def _values(network: Network, slot: Slot, header: Header) -> Tensor:
    """The values of a slot in the order of the file: what `weights.load` does, backwards."""
    blob = slot.blob
    values = network.stored(slot.node.index, blob).detach()
    rows = values[: slot.size * len(values) // values.numel()]
    if blob.flipped or (blob.transposed and header.transposed):
        rows = rows.flatten(1).T
    return rows.contiguous()


FORMAT = Format("Darknet", (".weights", ".backup"), write, run, read=read, values_only=True)
