"""Fuzzing of cfgs: a small network for every section, changed in sections, keys, values and bytes; then it is run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Final

import torch

from darknet_py import weights
from darknet_py.cfg.keys import fields_of
from darknet_py.check import check
from darknet_py.layers import REGISTRY
from darknet_py.layers.parts.activations import ACTIVATIONS
from darknet_py.network import Network, summary
from darknet_py.network.graph import Graph
from darknet_py.network.net import Net
from tools.fuzz.changes import changed, number, one_of, word
from tools.fuzz.judge import AnswerError, Kind, Sample, check_message, tried
from tools.fuzz.networks import BODIES, NET, STEPS

SEEDS: Final = tuple(NET + more + body for body in BODIES for more in ("", STEPS))
VALUES: Final = (*ACTIVATIONS, "sse", "L1", "masked", "smooth", "steps", "poly", "step", "exp", "random", "sigmoid")
KEYS: Final = sorted({*fields_of(Net), *(name for layer in REGISTRY.values() for name in fields_of(layer))})
FOREIGN: Final = ("scale_x_y=1.1", "group_id=1", "groups=2", "mosaic=1", "nms_kind=greedynms", "activation=mish")
SMALL: Final = 1 << 18  # values of a network that is run
OPERATIONS: Final = 1 << 24

Lines = list[str]


def make(rng: Random) -> Sample:
    """A network's text, changed."""
    lines = rng.choice(SEEDS).split("\n")
    for _ in range(one_of(rng, (0, 1, 2, 3, 6), (1, 4, 4, 3, 2))):
        rng.choice(EDITS)(lines, rng)
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    if rng.random() < 0.35:
        data = changed(data, rng, [seed.encode() for seed in SEEDS])
    return Sample(".cfg", data)


def read(path: Path) -> None:
    """Parse, check, summarize; and run what is small."""
    problems = check(path)
    for problem in problems:
        check_message(problem)
    graph = tried(Graph.read, path)
    if graph is None:
        if not any(problem.is_error for problem in problems):
            raise AnswerError("check finds no error in what cannot be read")
        return
    summary.table(graph)
    summary.as_dict(graph)
    weights.expected_bytes(graph)
    tried(Graph.from_sections, graph.sections, str(path), strict=True)
    if is_small(graph):
        network = tried(Network, graph)
        if network is not None:
            run(network.eval())


def is_small(graph: Graph) -> bool:
    """Whether the network can be run in a moment, as far as its graph says."""
    values = sum(node.shape.size + sum(blob.size for blob in node.blobs) for node in graph.nodes)
    steps = graph.net.time_steps if graph.recurrent else 1
    operations = sum(node.operations for node in graph.nodes)
    return (values + graph.input_shape.size) * steps < SMALL and operations * steps < OPERATIONS


def run(network: Network) -> None:
    """Compute every layer; raises `AnswerError` where a shape is not the one that the graph states."""
    graph = network.graph
    batch = 2 * (graph.net.time_steps if graph.recurrent else 1)
    x = torch.rand(batch, *graph.input_shape.dims, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    with torch.inference_mode():
        outputs = network.tap(x, range(len(graph.nodes)))
    for node in graph.nodes:
        if tuple(outputs[node.index].shape) != (batch, *node.shape.dims):
            raise AnswerError(f"{node} gives {tuple(outputs[node.index].shape)}, and its graph says {node.shape.dims}")
        if outputs[node.index].dtype != torch.float32:
            raise AnswerError(f"{node} gives {outputs[node.index].dtype}")
    if not math.isfinite(graph.stride):
        raise AnswerError(f"a stride of {graph.stride}")


def _entries(lines: Lines) -> list[int]:
    return [place for place, line in enumerate(lines) if "=" in line] or [0]


def _value(lines: Lines, rng: Random) -> None:
    place = rng.choice(_entries(lines))
    lines[place] = f"{lines[place].partition('=')[0]}={number(rng)}"


def _part(lines: Lines, rng: Random) -> None:
    """One of several values with commas between them."""
    place = rng.choice(_entries(lines))
    name, _, value = lines[place].partition("=")
    parts = value.split(",")
    parts[rng.randrange(len(parts))] = number(rng)
    lines[place] = f"{name}={','.join(parts * one_of(rng, (1, 1, 1, 2, 40)))}"


def _word(lines: Lines, rng: Random) -> None:
    place = rng.choice(_entries(lines))
    lines[place] = f"{lines[place].partition('=')[0]}={one_of(rng, VALUES)}"


def _entry(lines: Lines, rng: Random) -> None:
    text = f"{rng.choice(KEYS)}={number(rng)}" if rng.random() < 0.8 else rng.choice(FOREIGN)
    lines.insert(rng.randint(1, len(lines)), text)


def _remove(lines: Lines, rng: Random) -> None:
    if len(lines) > 1:
        del lines[rng.randrange(len(lines))]


def _repeat(lines: Lines, rng: Random) -> None:
    start = rng.randrange(len(lines))
    part = lines[start : start + one_of(rng, (1, 3, 8))]
    lines[start:start] = part * one_of(rng, (1, 2, 20, 400), (8, 4, 1, 0.2))


def _sections(lines: Lines) -> list[int]:
    return [place for place, line in enumerate(lines) if line.startswith("[")] or [0]


def _rename(lines: Lines, rng: Random) -> None:
    lines[rng.choice(_sections(lines))] = f"[{rng.choice(list(REGISTRY))}]"


def _add(lines: Lines, rng: Random) -> None:
    """A section with some of its keys."""
    name = rng.choice(list(REGISTRY))
    keys = rng.sample(list(fields_of(REGISTRY[name])), rng.randint(0, 3))
    place = one_of(rng, [*_sections(lines)[1:], len(lines)])
    lines[place:place] = [f"[{name}]", *(f"{key}={number(rng)}" for key in keys)]


def _junk(lines: Lines, rng: Random) -> None:
    place = rng.randrange(len(lines))
    at = rng.randint(0, len(lines[place]))
    lines[place] = lines[place][:at] + word(rng).decode("utf-8", "replace") + lines[place][at:]


def _swap(lines: Lines, rng: Random) -> None:
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]


EDITS: Final[Sequence[Callable[[Lines, Random], None]]] = (
    _value, _value, _value, _part, _word, _entry, _entry, _remove, _repeat, _rename, _add, _add, _junk, _swap,
)  # fmt: skip
KIND: Final = Kind("cfgs", make, read)
