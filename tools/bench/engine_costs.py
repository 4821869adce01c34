"""The costs of an engine besides its speed: the time to build it, and memory."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from darknet_py.engine import Engine
from darknet_py.errors import CfgWarning
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from tools.bench import limits
from tools.bench.measuring import CLEAR, MB, STATUS, in_process, memory
from tools.bench.rows import Row, spread

OTHER_SIDE = 320
SMALL = "[net]\nwidth=32\nheight=32\nchannels=3\n" + "".join(
    f"[convolutional]\nfilters=64\nsize={size}\npad=1\nbatch_normalize=1\nactivation=leaky\n" for size in (3, 3, 1)
)


@dataclass(frozen=True)
class Costs:
    """Of one engine in a process of its own; memory in bytes, None without /proc."""

    first: float  # seconds of the first call, with the engine's making
    usual: float  # seconds of a later one
    parameters: int
    live: int  # what has to live at a time in a forward pass
    growth: int | None  # the most that the process had beyond the start, network and all
    held: int | None  # what it had beyond the start after that
    both: int | None  # and after another, smaller size of input


def costs_of(cfg: Path, size: tuple[int, int], name: str, threads: int) -> Costs:
    """Measure one engine, batch 1; to be called in a process of its own."""
    torch.set_num_threads(threads)
    warnings.simplefilter("ignore", CfgWarning)
    graph = Graph.read(cfg).resized(*size)
    F.conv2d(torch.rand(1, 3, 32, 32), torch.rand(8, 3, 3, 3))  # what the first convolution sets up stays out,
    Engine(Network(Graph.parse(SMALL)).eval(), name).heads(torch.rand(1, 3, 32, 32))  # and the code of the engine
    before = _resident("VmRSS")
    if before is not None:
        CLEAR.write_text("5", encoding="ascii")  # VmHWM starts again from here
    network = Network(graph, generator=torch.Generator().manual_seed(0)).eval()
    x = torch.rand(1, *graph.input_shape.dims)
    start = time.perf_counter()
    engine = Engine(network, name)
    engine.heads(x)
    first = time.perf_counter() - start
    usual = statistics.median(_seconds(engine, x) for _ in range(3))
    growth, held = _resident("VmHWM", before), _resident("VmRSS", before)
    engine.heads(torch.rand(1, x.shape[1], OTHER_SIDE, OTHER_SIDE))
    both = _resident("VmRSS", before)
    parameters = sum(tensor.nbytes for tensor in network.state_dict().values())
    return Costs(first, usual, parameters, 4 * graph.largest_live_set, growth, held, both)


def _resident(key: str, before: int | None = 0) -> int | None:
    return memory(key) - before if CLEAR.exists() and before is not None else None


def _seconds(engine: Engine, x: torch.Tensor) -> float:
    start = time.perf_counter()
    engine.heads(x)
    return time.perf_counter() - start


def engine_rows(cfg: Path, size: tuple[int, int], name: str, rounds: int) -> Iterator[Row]:
    """Building and memory of an engine, each round in a new process."""
    found = [in_process(costs_of, cfg, size, name, torch.get_num_threads()) for _ in range(rounds)]
    title = f"{cfg.stem} {size[0]}x{size[1]}"
    builds = [costs.first - costs.usual for costs in found]
    limit = limits.BUILD.get(cfg.stem)
    yield spread(title, f"building {name}", builds, "s", limit, "first call less a usual one; kernel compiled before")
    yield from memory_rows(title, name, found)


def memory_rows(title: str, name: str, found: list[Costs]) -> Iterator[Row]:
    """Peak memory as a multiple of the parameters."""
    row = partial(spread, title, unit="x")
    rows = [(c.parameters, c.live, c.growth, c.held, c.both) for c in found]
    known = [(one, live, most, held, both) for one, live, most, held, both in rows if most and held and both]
    if not known:
        yield Row(title, f"memory of {name}", None, note=f"needs {STATUS} and {CLEAR}")
        return
    one, live, _, held, _ = known[0]
    note = f"{one / MB:.0f} MB of parameters, {live / MB:.0f} MB live at a time; {held / MB:.0f} MB are kept"
    peaks = [(most - live) / one for _, live, most, _, _ in known]
    yield row(f"(peak of {name} - live) / parameters", peaks, limit=limits.ENGINE_MEMORY, note=note)
    added = [(both - held) / one for _, _, _, held, both in known]
    yield row(f"a second size of {name} / parameters", added, limit=limits.SECOND_SIZE_MEMORY)
