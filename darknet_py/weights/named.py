"""Files of named tensors, ``.pt`` and ``.safetensors``: some tensors and a note of text."""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import torch
from torch import Tensor

from darknet_py.errors import WeightsError, shown
from darknet_py.layers.parts.batchnorm import EPS
from darknet_py.network.graph import Graph
from darknet_py.network.header import Header
from darknet_py.network.module import Network
from darknet_py.weights.fit import WAYS, class_layers, described
from darknet_py.weights.projects import COUNTER, COUNTERS, Key, Layout, detect, layout_named, unwrapped
from darknet_py.weights.reading import Loaded, Reading

FLOATS: Final = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
NAME: Final = 60  # letters of a key to show
LONGEST: Final = 4096  # letters of a key
MOST: Final = 100_000  # tensors of a file
CHUNK: Final = 2 << 20  # values to check at a time


@dataclass(frozen=True)
class StateDict:
    """A file of named tensors, mapped into memory if possible, so that unused ones are not read."""

    tensors: Mapping[str, Tensor]
    note: Mapping[str, str]  # the note of `convert.named.note_of`, or what others have written there
    kind: str = "PyTorch state dict"

    def __post_init__(self) -> None:
        if len(self.tensors) > MOST:
            raise WeightsError(f"it has {len(self.tensors)} tensors; more than {MOST} are no network's")
        longest = max(self.tensors, key=len, default="")
        if len(longest) > LONGEST:
            raise WeightsError(f"a key has {len(longest)} letters; more than {LONGEST} are no name: {name_of(longest)}")

    @property
    def header(self) -> Header | None:
        """The header of the weights file that the values came from, if the note has it."""
        try:
            major, minor, revision = map(int, self.note["version"].split("."))
            return Header.unpack(Header(major, minor, revision, int(self.note["seen"])).pack())
        except (KeyError, ValueError, struct.error, WeightsError):
            return None

    def _held(self, most: int) -> int:
        """The number of layers of the network that the file was made from; `most` if it does not say."""
        told = self.note.get("layers", "")
        return min(int(told), most) if re.fullmatch(r"[1-9]\d{0,5}", told) else most

    @cached_property
    def usable(self) -> dict[str, Tensor]:
        """The tensors that can be weights, without the prefixes of wrappers in their keys."""
        tensors = {key: t for key, t in self.tensors.items() if t.dtype in FLOATS and not key.endswith(COUNTERS)}
        tensors |= {key: t for key, t in self.tensors.items() if key.endswith(COUNTER)}
        return unwrapped(tensors)

    def verify(self, graph: Graph, reading: Reading) -> Loaded:
        """What `load` would do, with only the shapes of the network."""
        return self._plan(outline(graph), reading)[1]

    def load(self, network: Network, reading: Reading) -> Loaded:
        """Load the tensors into a network."""
        keys, loaded = self._plan(network, reading)
        if reading.assign:
            incoming = {key.own: _incoming(self.usable[key.foreign], key, reading.bn_eps) for key in keys}
            network.load_state_dict(incoming, strict=False, assign=True)
        else:
            own = network.state_dict()
            for key in keys:  # one at a time, because they may have to be converted
                own[key.own].copy_(_incoming(self.usable[key.foreign], key, reading.bn_eps))
        network.header = loaded.header
        return loaded

    def not_finite(self, graph: Graph) -> list[tuple[str, int]]:
        """The tensors with NaN or infinity."""
        keys = detect(self.usable).keys(outline(graph))
        return [(shown(key.foreign, NAME), key.layer) for key in keys if not _finite(self.usable.get(key.foreign))]

    def layout_for(self, reading: Reading) -> Layout:
        """The layout of the file's keys."""
        return detect(self.usable) if reading.layout is None else layout_named(reading.layout)

    def _plan(self, network: Network, reading: Reading) -> tuple[list[Key], Loaded]:
        """The tensors to load, and the result of loading them."""
        graph, tensors, found = network.graph, self.usable, self.layout_for(reading)
        count = len(graph.nodes)
        layers = min(self._held(count) + reading.start, count if reading.cutoff is None else reading.cutoff)
        keys = found.keys(network, reading.start, layers)
        extras = found.extra_tensors(graph)
        shapes = {key: tuple(t.shape) for key, t in tensors.items() if key not in extras}
        if reading.cutoff is not None:  # the file may have more
            shapes = {key.foreign: shapes[key.foreign] for key in keys if key.foreign in shapes}
        fitting = [key for key in keys if shapes.get(key.foreign) == key.shape]
        left: tuple[str, ...] = ()
        problem = mismatch(keys, shapes)
        if problem and reading.partial == "matching":
            fitting, left = _whole_layers(graph, keys, shapes)
        if (problem and not reading.partial) or (keys and not fitting):
            cause = _other_classes(graph, keys, shapes)
            raise WeightsError(f"it does not fit {graph.source} ({found.name} keys): {problem}{cause}")
        header = self.header or network.header
        stored = sum(not key.is_counter for key in found.keys(network))
        taken = [key for key in fitting if not key.is_counter]
        values = sum(tensors[key.foreign].numel() for key in taken)
        whole = len(taken) == stored
        return fitting, Loaded(
            replace(header, seen=0) if left else header, layers, values, self._held(count), whole, left
        )


def outline(graph: Graph) -> Network:
    """The network's tensors without memory: their names and shapes."""
    return Network(graph, initialize=False, device="meta")


def name_of(key: str) -> str:
    """A key of a file, shortened and escaped for a message or a table."""
    return shown(key, NAME)


def mismatch(keys: Iterable[Key], shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What does not match between the needed tensors and those of a file, in one line; empty if all match."""
    keys = tuple(keys)
    known = {key.foreign for key in keys}
    missing = [f"{key.foreign} {key.shape}" for key in keys if key.foreign not in shapes and not key.is_counter]
    strange = [f"{name_of(name)} {shape}" for name, shape in shapes.items() if name not in known]
    wrong = [f"{key.foreign} is {shapes[key.foreign]}, not {key.shape}" for key in _of_other_shape(keys, shapes)]
    groups = {"missing": missing, "of another shape": wrong, "not expected": strange}
    return "; ".join(f"{len(found)} {what}: {_some(found)}" for what, found in groups.items() if found)


def _of_other_shape(keys: Iterable[Key], shapes: Mapping[str, tuple[int, ...]]) -> list[Key]:
    return [key for key in keys if not key.is_counter and shapes.get(key.foreign, key.shape) != key.shape]


def _some(items: Sequence[str], most: int = 4) -> str:
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def _whole_layers(
    graph: Graph, keys: Collection[Key], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[list[Key], tuple[str, ...]]:
    """The tensors of the layers that fit completely, and the other layers, each with the reason."""
    left: dict[int, str] = {}
    groups: dict[int, list[Key]] = defaultdict(list)
    for key in keys:
        groups[key.layer].append(key)
        if key.foreign not in shapes and not key.is_counter:
            left[key.layer] = f"{graph.nodes[key.layer]} (not in the file)"
    for key in _of_other_shape(keys, shapes):
        there, here = shapes[key.foreign], key.shape
        reason = f"{there[0]} filters there, {here[0]} here" if there[1:] == here[1:] else f"{there} there, {here} here"
        left.setdefault(key.layer, f"{graph.nodes[key.layer]} ({reason})")
    fitting = [key for layer, group in groups.items() if layer not in left for key in group]
    return [key for key in fitting if key.foreign in shapes], tuple(left[layer] for layer in sorted(left))


def _other_classes(graph: Graph, keys: Collection[Key], shapes: Mapping[str, tuple[int, ...]]) -> str:
    """A hint if only the layers that depend on the classes do not fit."""
    wrong = _of_other_shape(keys, shapes)
    stored = [node.index for node in graph.nodes if node.blobs]
    last = [*class_layers(graph)] or stored[-1:]
    if not wrong or {key.layer for key in wrong} - {*last}:
        return ""
    counts = {key.layer: shapes[key.foreign][0] for key in wrong if shapes[key.foreign][1:] == key.shape[1:]}
    return f"; it would fit with {described(graph, counts)}; {WAYS}" if counts else ""


def _incoming(tensor: Tensor, key: Key, bn_eps: float) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    if key.is_variance and bn_eps != EPS:
        tensor = tensor.double() + (bn_eps - EPS)
    return tensor.to(torch.float32)


def _finite(tensor: Tensor | None) -> bool:
    return tensor is None or all(bool(part.isfinite().all()) for part in tensor.reshape(-1).split(CHUNK))
