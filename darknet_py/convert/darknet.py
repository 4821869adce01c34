"""``.weights``, ``.backup`` and ``.conv.N``: Darknet's own files."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from darknet_py import weights
from darknet_py.convert.formats import Format, Options, heads
from darknet_py.errors import DarknetError, WeightsError
from darknet_py.files.targets import BY_NAME
from darknet_py.network.graph import Graph
from darknet_py.network.header import Header
from darknet_py.network.module import Network
from darknet_py.weights import FLOAT
from darknet_py.weights.slots import Slot


def write(network: Network, path: Path, options: Options) -> None:
    """Write a file from which `weights.load` gives this network, with the version and `seen` of `network.header`.

    Keys about loading are obeyed: kernels with flipped=1 are written transposed, a layer with dontload not at all.
    `weights.save` does as the C program, which transposes none.
    """
    if options.dtype != torch.float32:
        raise DarknetError(".weights files hold only float32; 16 bits are for the other formats")
    with path.open("wb") as file:
        file.write(_packed(network.header))
        for slot in weights.layout(network.graph):
            file.write(_values(network, slot, network.header).numpy().astype(FLOAT, copy=False).data)


def run(path: Path, network: Network, inputs: Sequence[Tensor], _options: Options) -> list[list[Tensor]]:
    """The outputs of a network loaded from the file for each input (N, ...)."""
    loaded = Network(network.graph, initialize=False).eval()
    if not loads_all(network.graph):
        loaded.load_state_dict(network.state_dict())
    weights.load(loaded, path)
    return heads(loaded, inputs)


def loads_all(graph: Graph) -> bool:
    """Whether a weights file has every tensor; dontload, dontloadscales and numload leave some out."""
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
    """The values of a slot in the order of the file: the inverse of `weights.load`."""
    blob = slot.blob
    values = network.stored(slot.node.index, blob).detach()
    rows = values[: slot.size * len(values) // values.numel()]
    if blob.flipped or (blob.transposed and header.transposed):
        rows = rows.flatten(1).T
    return rows.contiguous()


FORMAT = Format(BY_NAME["weights"], write, run, values_only=True)
