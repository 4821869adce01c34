"""Named tensors for ``.pt`` and ``.safetensors`` files, and a note of text that goes with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from darknet_py.cfg import dumps
from darknet_py.convert.formats import Options, heads
from darknet_py.errors import DarknetError
from darknet_py.layers.parts.batchnorm import EPS
from darknet_py.network.module import Network
from darknet_py.weights import Reading, read
from darknet_py.weights.projects import Key, layout_named


def note_of(network: Network, options: Options) -> dict[str, str]:
    """The note that is written beside the tensors."""
    header = network.header
    return {
        "cfg": dumps(network.graph.to_sections()),
        "version": f"{header.major}.{header.minor}.{header.revision}",
        "seen": str(header.seen),
        "layers": str(len(network.layers)),
        "layout": layout_named(options.layout).name,
        "dtype": str(options.dtype).removeprefix("torch."),
    }


def named(network: Network, options: Options) -> dict[str, Tensor]:
    """The tensors under the keys of a layout, contiguous; unchanged ones are the network's own."""
    layout = layout_named(options.layout)
    own = network.state_dict()
    tensors = {key.foreign: _outgoing(own[key.own], key, options) for key in layout.keys(network)}
    return {**tensors, **layout.extra_tensors(network.graph)}


def run(path: Path, network: Network, inputs: Sequence[Tensor], options: Options) -> list[list[Tensor]]:
    """The outputs of a network loaded from the file for each input (N, ...)."""
    loaded = Network(network.graph, initialize=False).eval()
    read(loaded, path, Reading(layout=layout_named(options.layout).name, bn_eps=options.bn_eps))
    return heads(loaded, inputs)


def _outgoing(tensor: Tensor, key: Key, options: Options) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    if key.is_variance and options.bn_eps != EPS:
        tensor = tensor.double() - (options.bn_eps - EPS)
    stored = tensor.to(options.dtype).contiguous()
    if options.dtype != torch.float32 and stored.isinf().any() and not tensor.isinf().any():
        raise DarknetError(f"{key.own} has {float(tensor.abs().max()):g}, which is too large for {options.dtype}")
    return stored
