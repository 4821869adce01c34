"""Measure how fast networks are computed: our engines beside ONNX Runtime, OpenVINO, OpenCV and ncnn.

All compute the same: a network up to the inputs of its heads, with the same weights (random ones in range where
--weights gives none) and pictures. Each output is compared with the plain network's, and who does not agree does not
count. Then they take turns; times are milliseconds an image. Peers come with the extra `bench`; those that are not
installed say so.

On a CUDA device the peers are torch.compile and TensorRT, which are given up where they compile for longer than
--patience, and shares of the card's peak are given where it is known or --peak says it. --table prints the engines
alone, for many sizes, as markdown. OMP_WAIT_POLICY=PASSIVE in the environment suffers less from other work.
"""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch

from darknet_py.engine import Engine, fastest
from darknet_py.network.graph import Graph
from tools.bench.contest import options
from tools.bench.contest.cases import Case, Task, at_size, make_network
from tools.bench.contest.contest import PAUSE, Result, contest, rows_of
from tools.bench.contest.options import PEERS, kind
from tools.bench.engine_costs import engine_rows
from tools.bench.harness import Bench
from tools.bench.measuring import BenchError, find_cfg, say
from tools.bench.peers import cuda
from tools.bench.peers.runner import Build, Runner
from tools.bench.rows import Row, table

CFGS = (Path("yolov2.cfg"), Path("yolov3.cfg"))
BUILD_ROUNDS = 3


class Inference(Bench):
    """The forward pass."""

    name = "inference"
    threads = 2
    packages = ("onnxruntime", "openvino", "opencv-python-headless", "ncnn", "torch_tensorrt")

    def add_options(self, parser: ArgumentParser) -> None:
        options.add_options(parser)

    def complete(self, args: Namespace) -> None:
        options.complete(args)

    def measure(self, args: Namespace, folder: Path) -> Iterator[Row]:
        cuda.COMPILING.seconds = cuda.BUILDING.seconds = args.patience
        missing = find_cfgs(args)
        tasks = tasks_of(args)
        for result in compete(args, tasks, folder, args.seconds):
            yield from rows_of(result, args.peak or cuda.peak(result.task))
        if not args.table:
            yield from costs(args, tasks)
        yield from missing

    def settings(self, args: Namespace) -> Mapping[str, Any]:
        told: dict[str, Any] = {
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "not set"),
            "spinning threads": f"each engine's default; {1e3 * PAUSE:g} ms before every call let them go to sleep",
            "weights": ", ".join(map(str, args.weights)) or "random, in range",
        }
        if kind(args) == "cuda":
            told |= {"card": torch.cuda.get_device_name(args.device), "TF32": torch.backends.cudnn.allow_tf32}
        return told

    def show(self, args: Namespace, rows: Sequence[Row]) -> str:
        if not args.table:
            return table(rows)
        for row in rows:
            if row.value is None:
                print(f"{row.group}, {row.name}: {row.note}", file=sys.stderr)
        return markdown(tasks_of(args), rows, args.engines)


def engine(case: Case, name: str) -> Runner:
    """One of our own engines; in 16 bits those that do so by themselves, and plain with a network that is."""
    task = case.task
    half = None if name == "plain" else task.half
    if task.dtype != "fp32" and half is None and name != "plain":
        raise BenchError(f"computes no {task.dtype} on {task.device}")
    network, x = cuda.there(case, task.dtype if half is None else "fp32")
    made = Engine(network, name, half=half or False)
    if made.name != name:
        raise BenchError(f"leaves this network to {made.name}")
    return Runner(partial(made.heads, x), tolerance=cuda.tolerance(case))


def builders(args: Namespace) -> dict[str, Build]:
    """Everybody who was asked for."""
    ours: dict[str, Build] = {name: partial(engine, name=name) for name in args.engines}
    return ours | {name: PEERS[kind(args)][name] for name in args.peers}


def tasks_of(args: Namespace) -> list[Task]:
    """What to compute, all of one cfg after the other."""
    values = product(args.cfg, args.size, args.batch, args.dtype)
    return [Task(cfg, size, batch, dtype, args.device) for cfg, size, batch, dtype in values]


def compete(args: Namespace, tasks: Sequence[Task], folder: Path, seconds: float) -> Iterator[Result]:
    """One task after the other; each gets its share of the seconds that are left."""
    weights = dict(zip(args.cfg, args.weights, strict=False))
    end = time.monotonic() + seconds
    network, made_of = None, None
    for place, task in enumerate(tasks):
        left = end - time.monotonic()
        if left < 0 and args.rounds is None:
            yield Result(task, reasons=dict.fromkeys(builders(args), "left out: the --seconds are over"))
            continue
        say(f"measuring {task.name}")
        if network is None or task.cfg != made_of:
            network, made_of = make_network(Graph.read(task.cfg), weights.get(task.cfg)), task.cfg
        case = Case(task, at_size(network, *task.size), folder)
        yield contest(case, builders(args), left / (len(tasks) - place), args.rounds)


def find_cfgs(args: Namespace) -> list[Row]:
    """Let `args.cfg` be files that are here; gives a row for each of the default ones that is not.

    Raises `BenchError` for one that was asked for.
    """
    if args.cfg is not None:
        args.cfg = [find_cfg(name, args.darknet) for name in args.cfg]
        return []
    rows: list[Row] = []
    args.cfg = []
    for name in CFGS[:1] if args.table else CFGS:
        try:
            args.cfg.append(find_cfg(name, args.darknet))
        except BenchError as error:
            rows.append(Row(name.stem, "", None, note=str(error)))
    return rows


def costs(args: Namespace, tasks: Sequence[Task]) -> Iterator[Row]:
    """Building and memory of the engine that is used by default, or of the first one asked for."""
    name = fastest() if fastest() in args.engines else args.engines[0]
    for task in tasks:
        if task.is_plain and task.batch == 1:
            say(f"measuring how {name} is built for {task.cfg.stem}")
            yield from engine_rows(task.cfg, task.size, name, args.rounds or BUILD_ROUNDS)


def markdown(tasks: Sequence[Task], rows: Sequence[Row], engines: Sequence[str]) -> str:
    """Medians in milliseconds an image as a table: a row a size and batch, a column an engine."""
    found = {(row.group, row.name): row.value for row in rows}
    lines = ["| network | size | batch | " + " | ".join(engines) + " |", "|---|---|---|" + "---|" * len(engines)]
    for task in tasks:
        values = (found.get((task.name, name)) for name in engines)
        cells = ("-" if value is None else f"{value:.1f}" for value in values)
        lines.append("| " + " | ".join((task.cfg.stem, task.pixels, str(task.batch), *cells)) + " |")
    return "\n".join(lines)
