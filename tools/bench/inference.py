"""Measure how fast networks are computed: our engines beside ONNX Runtime, OpenVINO, OpenCV and ncnn.

Usage::

    python -m tools.bench.inference [--darknet DIR] [--cfg FILE ...] [--weights FILE ...] [--size SIZE ...]
        [--batch N ...] [--threads N] [--engines NAME ...] [--peers NAME ...] [--rounds N] [--seconds S]
        [--patience S] [--device DEVICE] [--dtype TYPE ...] [--half] [--peak TFLOPS] [--table] [--json [FILE]] [--check]

All compute the same: a network up to the inputs of its heads, with the same weights (random ones in range where
--weights gives none) and pictures. Each output is compared with the plain network's, and who does not agree does not
count. Then they take turns, round after round; ratios are those of each round. A line gives the median and the
quartiles, of milliseconds an image. Peers come with the extra `bench`; those that are not installed say so.

On a CUDA device the peers are torch.compile and TensorRT, which are given up where they compile for longer than
--patience, and shares of the card's peak are given where it is known or --peak says it. --table prints the engines
alone, for many sizes, as markdown. `--check` exits with 1 where a limit does not hold. Other work on the machine spoils
the numbers, so its load is stated too; OMP_WAIT_POLICY=PASSIVE in the environment spoils them less then.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch

from darknet_py.engine import Engine, fastest
from darknet_py.errors import CfgWarning, DarknetError
from darknet_py.files import replacing
from darknet_py.graph import Graph
from tools.bench import engine_costs
from tools.bench.contest.cases import Case, Task, at_size, find_cfg, make_network
from tools.bench.contest.contest import PAUSE, Result, contest, lines_of, markdown
from tools.bench.contest.options import PEERS, kind, parse
from tools.bench.measuring import BenchError, Line, environment, table
from tools.bench.peers import cuda as peers_cuda
from tools.bench.peers.cpu import MODULES, Build, Runner

CFGS = (Path("yolov2.cfg"), Path("yolov3.cfg"))
BUILD_ROUNDS = 3


def engine(case: Case, name: str) -> Runner:
    """One of our own engines; in 16 bits those that do so by themselves, and plain with a network that is."""
    task = case.task
    half = None if name == "plain" else task.half
    if task.dtype != "fp32" and half is None and name != "plain":
        raise BenchError(f"computes no {task.dtype} on {task.device}")
    network, x = peers_cuda.there(case, task.dtype if half is None else "fp32")
    made = Engine(network, name, half=half or False)
    if made.name != name:
        raise BenchError(f"leaves this network to {made.name}")
    return Runner(partial(made.heads, x), tolerance=peers_cuda.tolerance(case))


def builders(args: argparse.Namespace) -> dict[str, Build]:
    """Everybody who was asked for."""
    ours: dict[str, Build] = {name: partial(engine, name=name) for name in args.engines}
    return ours | {name: PEERS[kind(args)][name] for name in args.peers}


def tasks_of(args: argparse.Namespace) -> list[Task]:
    """What to compute, all of one cfg after the other."""
    values = product(args.cfg, args.size, args.batch, args.dtype)
    return [Task(cfg, size, batch, dtype, args.device) for cfg, size, batch, dtype in values]


def compete(args: argparse.Namespace, tasks: Sequence[Task], folder: Path, seconds: float) -> Iterator[Result]:
    """One task after the other; each gets its share of the seconds that are left."""
    weights = dict(zip(args.cfg, args.weights, strict=False))
    end = time.monotonic() + seconds
    network, made_of = None, None
    for place, task in enumerate(tasks):
        left = end - time.monotonic()
        if left < 0 and args.rounds is None:
            yield Result(task, reasons=dict.fromkeys(builders(args), "left out: the --seconds are over"))
            continue
        print(f"measuring {task.name} ...", file=sys.stderr, flush=True)
        if network is None or task.cfg != made_of:
            network, made_of = make_network(Graph.read(task.cfg), weights.get(task.cfg)), task.cfg
        case = Case(task, at_size(network, *task.size), folder)
        yield contest(case, builders(args), left / (len(tasks) - place), args.rounds)


def find_cfgs(args: argparse.Namespace) -> list[Line]:
    """Let `args.cfg` be files that are here; gives a line for each of the default ones that is not.

    Raises `BenchError` for one that was asked for.
    """
    if args.cfg is not None:
        args.cfg = [find_cfg(name, args.darknet) for name in args.cfg]
        return []
    lines: list[Line] = []
    args.cfg = []
    for name in CFGS[:1] if args.table else CFGS:
        try:
            args.cfg.append(find_cfg(name, args.darknet))
        except BenchError as error:
            lines.append(Line(name.stem, "", None, note=str(error)))
    return lines


def costs(args: argparse.Namespace, tasks: Sequence[Task]) -> Iterator[Line]:
    """Building and memory of the engine that is used by default, or of the first one asked for."""
    name = fastest() if fastest() in args.engines else args.engines[0]
    for task in tasks:
        if task.is_plain and task.batch == 1:
            print(f"measuring how {name} is built for {task.cfg.stem} ...", file=sys.stderr, flush=True)
            yield from engine_costs.lines(task.cfg, task.size, name, args.rounds or BUILD_ROUNDS)


def surroundings(args: argparse.Namespace) -> dict[str, Any]:
    """What the numbers depend on."""
    loaded = {name: sys.modules[name].__version__ for name in MODULES if name in sys.modules}
    told: dict[str, Any] = {
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "not set"),
        "spinning threads": f"each engine's default; {1e3 * PAUSE:g} ms before every call let them go to sleep",
        "weights": ", ".join(map(str, args.weights)) or "random, in range",
    }
    if kind(args) == "cuda":
        told |= {"card": torch.cuda.get_device_name(args.device), "TF32": torch.backends.cudnn.allow_tf32}
    return environment() | loaded | told


def report(args: argparse.Namespace, results: Sequence[Result], lines: Sequence[Line]) -> None:
    """Print what was found, and write it where --json says."""
    told = surroundings(args)
    text = json.dumps({"environment": told, "lines": [line.as_dict() for line in lines]}, indent=2)
    if args.json == "-":
        print(text)
        return
    if args.json is not None:
        with replacing(args.json) as file:
            file.write(text.encode())
    print("\n".join(f"{name}: {value}" for name, value in told.items()))
    if not args.table:
        print(table(lines))
        return
    print(markdown(results, args.engines))
    for result in results:
        for name, reason in result.reasons.items():
            print(f"{result.task.name}, {name}: {reason}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; gives the exit code."""
    args = parse(argv)
    torch.set_num_threads(args.threads)
    peers_cuda.COMPILING.seconds = peers_cuda.BUILDING.seconds = args.patience
    try:
        with tempfile.TemporaryDirectory(prefix="darknet-bench-") as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore", CfgWarning)
            missing = find_cfgs(args)
            tasks = tasks_of(args)
            results = list(compete(args, tasks, Path(folder), args.seconds))
            lines = [line for result in results for line in lines_of(result, args.peak or peers_cuda.peak(result.task))]
            lines += [] if args.table else costs(args, tasks)
            report(args, results, lines + missing)
    except (BenchError, DarknetError, OSError) as error:
        print(f"bench_inference: {error}", file=sys.stderr)
        return 1
    return 1 if args.check and any(line.holds is False for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
