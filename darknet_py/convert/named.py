"""Named tensors: what ``.pt`` and ``.safetensors`` files have in common. Each is a few tensors and a note of text."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import torch
from torch import Tensor

from darknet_py.cfg import dumps
from darknet_py.convert.formats import Options, Read, Reading, Run, heads
from darknet_py.convert.layouts import COUNTER, Key, common_wrapper, detect, layout_named, mismatch
from darknet_py.errors import DarknetError, WeightsError
from darknet_py.layers.batchnorm import EPS
from darknet_py.layout import Header
from darknet_py.network import Network
from darknet_py.weights import Loaded

FLOATS: Final = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class StateDict:
    """A file of named tensors. Where it can be, they are mapped: what is not looked at is not read."""

    tensors: Mapping[str, Tensor]
    note: Mapping[str, str]  # what `note_of` says, or what others have written in its place

    @property
    def header(self) -> Header | None:
        """The header of the weights file that the values once came from, if it is told."""
        try:
            major, minor, revision = map(int, self.note["version"].split("."))
            return Header.unpack(Header(major, minor, revision, int(self.note["seen"])).pack())
        except (KeyError, ValueError, struct.error, WeightsError):
            return None

    def layers(self, most: int) -> int:
        """How many layers of a network the file was made from; `most` where it does not say."""
        told = self.note.get("layers", "")
        return min(int(told), most) if re.fullmatch(r"[1-9]\d{0,5}", told) else most


def note_of(network: Network, options: Options) -> dict[str, str]:
    """What is written beside the tensors."""
    header = network.header
    return {
        "cfg": dumps(network.graph.sections),
        "version": f"{header.major}.{header.minor}.{header.revision}",
        "seen": str(header.seen),
        "layers": str(len(network.layers)),
        "layout": layout_named(options.layout).name,
        "dtype": str(options.dtype).removeprefix("torch."),
    }


def named(network: Network, options: Options) -> dict[str, Tensor]:
    """The tensors under the keys of a layout, contiguous; where nothing has to change they are the network's own."""
    layout = layout_named(options.layout)
    own = network.state_dict()
    tensors = {key.foreign: _outgoing(own[key.own], key, options) for key in layout.keys(network)}
    return {**tensors, **layout.extra_tensors(network.graph)}


def usable(state: StateDict) -> dict[str, Tensor]:
    """The tensors that can be weights, without what wrappers have put before all keys."""
    tensors = {key: t for key, t in state.tensors.items() if t.dtype in FLOATS or key.endswith(COUNTER)}
    start = len(common_wrapper(tuple(tensors)))
    return {key[start:]: tensor for key, tensor in tensors.items()}


def take(network: Network, state: StateDict, reading: Reading) -> Loaded:
    """Load the tensors into a network."""
    tensors = usable(state)
    found = detect(tensors) if reading.layout is None else layout_named(reading.layout)
    extras = found.extra_tensors(network.graph)
    layers = state.layers(len(network.layers))
    keys = found.keys(network, layers)
    problem = mismatch(keys, {key: tuple(t.shape) for key, t in tensors.items() if key not in extras})
    fitting = [key for key in keys if key.foreign in tensors and tensors[key.foreign].shape == key.shape]
    if (problem and not reading.partial) or (keys and not fitting):
        raise WeightsError(f"it does not fit {network.graph.source} ({found.name} keys): {problem}")
    if reading.assign:
        incoming = {key.own: _incoming(tensors[key.foreign], key, reading.bn_eps) for key in fitting}
        network.load_state_dict(incoming, strict=False, assign=True)
    else:
        own = network.state_dict()
        for key in fitting:  # one at a time: they may have to be converted
            own[key.own].copy_(_incoming(tensors[key.foreign], key, reading.bn_eps))
    network.header = state.header or network.header
    return Loaded(network.header, layers, sum(tensors[key.foreign].numel() for key in fitting if not key.is_counter))


class Open(Protocol):
    """How a file is opened: mapped, or with `whole` read at once."""

    def __call__(self, path: Path, *, whole: bool = ...) -> StateDict: ...


def reader(opened: Open) -> Read:
    """How files are read that `opened` opens."""

    def read(network: Network, path: Path, reading: Reading) -> Loaded:
        state = opened(path, whole=reading.assign)
        try:
            return take(network, state, reading)
        except DarknetError as error:
            raise WeightsError(f"{path}: {error}") from error

    return read


def runner(opened: Open) -> Run:
    """How files are run that `opened` opens: in a network that loads them."""

    def run(path: Path, network: Network, inputs: Sequence[Tensor], options: Options) -> list[list[Tensor]]:
        loaded = Network(network.graph, initialize=False).eval()
        take(loaded, opened(path), Reading(layout_named(options.layout).name, options.bn_eps))
        return heads(loaded, inputs)

    return run


def _outgoing(tensor: Tensor, key: Key, options: Options) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    if key.is_variance and options.bn_eps != EPS:
        tensor = tensor.double() - (options.bn_eps - EPS)
    stored = tensor.to(options.dtype).contiguous()
    if options.dtype != torch.float32 and stored.isinf().any() and not tensor.isinf().any():
        raise DarknetError(f"{key.own} has {float(tensor.abs().max()):g}, which is too large for {options.dtype}")
    return stored


def _incoming(tensor: Tensor, key: Key, bn_eps: float) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    if key.is_variance and bn_eps != EPS:
        tensor = tensor.double() + (bn_eps - EPS)
    return tensor.to(torch.float32)
