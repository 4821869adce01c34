"""Measure what darknet_py costs: reading cfgs, loading weights, memory, decoding, start.

What is compared is measured side by side. Weights are random numbers in a file of the right size. The cfgs of a
--darknet checkout come before those of this repository, and yolov3 is measured only with it.
"""

from __future__ import annotations

import shutil
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from darknet_py import cfg, weights
from darknet_py.convert import convert
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from tools.bench import limits
from tools.bench.decoding import decoding
from tools.bench.harness import Bench
from tools.bench.made import Setup
from tools.bench.measuring import MB, STATUS, command, give_back_memory, memory, output_of, sample, say, timed
from tools.bench.options import add_darknet, add_only
from tools.bench.peaks import forward_memory
from tools.bench.rows import Row, excess, milliseconds, ratio, spread

LONGEST = ("densenet201.cfg", "resnext152-32x4d.cfg")  # of Darknet's cfgs
LOAD = (
    "from darknet_py import Graph, Network, weights; "
    "weights.load(Network(Graph.read(sys.argv[1]), initialize=False), sys.argv[2])"
)
CONVERT = "from darknet_py.convert import convert; convert(*sys.argv[1:], check=False)"


def parsing(setup: Setup) -> Iterator[Row]:
    """Reading cfgs, after import; Graph.read parses too."""
    found = (setup.find(f"cfg/{name}") for name in ("yolov2.cfg", *LONGEST))
    for path in dict.fromkeys((*(path for path in found if path), *setup.cfgs)):
        limit = limits.PARSE_YOLOV2 if path.name == "yolov2.cfg" else limits.PARSE
        works = {"cfg.read": timed(partial(cfg.read, path)), "Graph.read": timed(partial(Graph.read, path))}
        for name, seconds in sample(works, setup.rounds or 15).items():
            yield milliseconds("parse", f"{name} {path.name}", seconds, limit)


def loading(setup: Setup) -> Iterator[Row]:
    """Loading weights of yolov2's size, against reading the same cached file into memory."""
    graph = setup.graph("yolov2.cfg")
    path = setup.weights(graph)
    used = Network(graph, initialize=False)

    def load_new() -> float:
        give_back_memory()  # what earlier rounds freed is not to come back as memory that is ready for use
        network = Network(graph, initialize=False)
        return timed(lambda: weights.load(network, path))()

    works = {
        "np.fromfile": timed(lambda: np.fromfile(path, np.float32)),
        "load, new network": load_new,
        "load, network used before": timed(lambda: weights.load(used, path)),
        "open().read()": timed(path.read_bytes),
    }
    if cat := shutil.which("cat"):
        works["cat"] = command(cat, str(path))
    found = sample(works, setup.rounds or 11)
    for name, seconds in found.items():
        yield milliseconds("load", name, seconds)
    for name, limit in (("load, new network", limits.LOAD), ("load, network used before", None)):
        yield ratio("load", name, "np.fromfile", found[name], found["np.fromfile"], limit)


def loading_memory(setup: Setup) -> Iterator[Row]:
    """Peak memory of a process that loads weights of yolov2's size, beyond one that has only imported torch."""
    if not STATUS.is_file():
        yield Row("load-memory", "peak of loading", None, note="needs /proc")
        return
    graph = setup.graph("yolov2.cfg")
    path = setup.weights(graph)
    show = f"print(open({str(STATUS)!r}).read())"
    idle, load = f"import torch; {show}", f"import sys, torch; {LOAD}; {show}"
    beyond = []
    for _ in range(setup.rounds or 3):
        before = memory("VmRSS", output_of(sys.executable, "-c", idle))
        after = memory("VmHWM", output_of(sys.executable, "-c", load, graph.source, str(path)))
        beyond.append((after - before) / MB)
    parameters = weights.expected_bytes(graph)[0] / MB
    yield spread("load-memory", "peak beyond idle torch", beyond, "MB")
    yield spread(
        "load-memory", "the same less parameters", [value - parameters for value in beyond], "MB", limits.LOAD_MEMORY
    )


def converting(setup: Setup) -> Iterator[Row]:
    """Weights of yolov2's size to safetensors and back, without the check, against copying the file and back."""
    graph = setup.graph("yolov2.cfg")
    path = setup.weights(graph)
    there, back = setup.folder / "there.safetensors", setup.folder / "back.weights"

    def convert_both() -> None:
        convert(graph.source, path, there, check=False)
        convert(graph.source, there, back, check=False)

    def copy_both() -> None:
        shutil.copyfile(path, there)
        shutil.copyfile(there, back)

    found = sample({"copy and back": timed(copy_both), "convert and back": timed(convert_both)}, setup.rounds or 5)
    for name, seconds in found.items():
        yield milliseconds("convert", name, seconds)
    yield ratio("convert", "convert", "copy", found["convert and back"], found["copy and back"], limits.CONVERT)
    if STATUS.is_file():
        show = f"print(open({str(STATUS)!r}).read())"
        before = memory("VmRSS", output_of(sys.executable, "-c", f"import torch; {show}"))
        after = memory("VmHWM", output_of(sys.executable, "-c", f"import sys, torch; {CONVERT}; {show}", *map(str, (
            graph.source, path, there))))  # fmt: skip
        parameters = weights.expected_bytes(graph)[0]
        yield spread(
            "convert",
            "peak beyond idle torch / parameters",
            [(after - before) / parameters],
            "x",
            limits.CONVERT_MEMORY,
        )


def starting(setup: Setup) -> Iterator[Row]:
    """Time of short commands beyond that of Python or of torch alone."""
    python = sys.executable
    program = (python, "-m", "darknet_py")
    empty, idle, summary = "python -c pass", "python -c 'import torch'", "summary yolov2.cfg"
    works = {
        empty: command(python, "-c", "pass"),
        "--help": command(*program, "--help"),
        "--version": command(*program, "--version"),
        "wrong argument": command(*program, "detector", "test", "--wrong", code=2),
        idle: command(python, "-c", "import torch"),
        summary: command(*program, "summary", setup.graph("yolov2.cfg").source),
    }
    found = sample(works, setup.rounds or 9)
    for name in (empty, idle):
        yield milliseconds("start", name, found[name])
    for name in ("--help", "--version", "wrong argument"):
        yield excess("start", f"{name}, beyond {empty}", empty, found[name], found[empty], limits.START)
    yield excess("start", f"{summary}, beyond {idle}", idle, found[summary], found[idle], limits.START_SUMMARY)


COSTS: Mapping[str, Callable[[Setup], Iterator[Row]]] = {
    "parse": parsing,
    "load": loading,
    "load-memory": loading_memory,
    "convert": converting,
    "memory": forward_memory,
    "decode": decoding,
    "start": starting,
}


class Costs(Bench):
    """What everything but the forward pass costs."""

    name = "costs"

    def add_options(self, parser: ArgumentParser) -> None:
        add_darknet(parser)
        parser.add_argument("--cfg", type=Path, nargs="+", default=[], metavar="FILE", help="more cfgs to parse")
        add_only(parser, COSTS)

    def measure(self, args: Namespace, folder: Path) -> Iterator[Row]:
        darknet = args.darknet.resolve() if args.darknet else None
        setup = Setup(darknet, [path.resolve() for path in args.cfg], folder, args.rounds)
        for cost in args.only:
            say(f"measuring {cost}")
            yield from COSTS[cost](setup)
