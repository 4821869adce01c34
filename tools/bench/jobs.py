"""Measure the work around a network beside what one would take for it otherwise, and how the times grow.

Usage::

    python -m tools.bench.jobs [--darknet DIR] [--only JOB ...] [--scale X] [--seconds S] [--rounds N] [--threads N]
        [--json [FILE]]

Jobs are parsing cfgs, loading and converting weights, decoding, NMS, k-means of boxes and average precision, each at
three sizes. Others are torchvision, pycocotools, scikit-learn and OpenCV of the extra `bench`; those that are not
installed say so. All of a size take turns, round after round; ratios are those of each round. Where results can be
compared, they are, and where they differ, it is said. A line gives the median and the quartiles; a growth of 1 is
that of the size, 2 that of its square. `--darknet` is a checkout of Darknet, whose cfgs are parsed then. Other work on
the machine spoils the numbers, so its load is stated too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from darknet_py.errors import DarknetError
from darknet_py.files import replacing
from tools.bench.measuring import BenchError, Line, environment, table
from tools.bench.peers.cpu import needed
from tools.bench.trials import boxes as trials_boxes
from tools.bench.trials import files as trials_files
from tools.bench.trials import sets as trials_sets
from tools.bench.trials.trial import Job, Setup, measured

JOBS: Mapping[str, Job] = {
    "parse": trials_files.parsing,
    "load": trials_files.loading,
    "convert": trials_files.converting,
    "decode": trials_boxes.decoding,
    "nms": trials_boxes.suppressing,
    "nms-one-class": partial(trials_boxes.suppressing, classes=1),
    "k-means": trials_sets.clustering,
    "precision": trials_sets.scoring,
}
OTHERS = ("torchvision", "pycocotools", "scikit-learn", "opencv-python-headless", "safetensors")


def measure(args: argparse.Namespace) -> Iterator[Line]:
    """The lines of the jobs that were asked for; a job leaves the time that it does not need to those after it."""
    end = time.monotonic() + args.seconds
    with tempfile.TemporaryDirectory(prefix="darknet-bench-") as folder, limited(args.threads):
        setup = Setup(Path(folder), args.scale, args.darknet)
        for place, name in enumerate(args.only):
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            left = (end - time.monotonic()) / (len(args.only) - place)
            yield from measured(name, JOBS[name], setup, left, args.rounds)


def limited(threads: int | None) -> contextlib.AbstractContextManager[object]:
    """Give everybody so many threads; scikit-learn is told by a package that comes with it."""
    if threads is None:
        return contextlib.nullcontext()
    torch.set_num_threads(threads)
    try:
        return needed("threadpoolctl").threadpool_limits(threads)
    except BenchError:
        return contextlib.nullcontext()


def versions() -> Iterator[tuple[str, str]]:
    """Of the others."""
    for name in OTHERS:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "not installed"


def report(args: argparse.Namespace, lines: Sequence[Line]) -> None:
    """Print what was found, and write it where --json says."""
    told: dict[str, Any] = environment() | dict(versions())
    text = json.dumps({"environment": told, "lines": [line.as_dict() for line in lines]}, indent=2)
    if args.json == "-":
        print(text)
        return
    if args.json is not None:
        with replacing(args.json) as file:
            file.write(text.encode())
    print("\n".join(f"{name}: {value}" for name, value in told.items()))
    print(table(lines))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; gives the exit code."""
    parser = argparse.ArgumentParser(description="Measure the work around a network beside other packages.")
    option = parser.add_argument
    option("--darknet", type=Path, metavar="DIR", help="a checkout of Darknet, for its cfg/")
    option("--only", choices=JOBS, nargs="+", default=list(JOBS), help="the jobs to measure")
    option("--scale", type=float, default=1, metavar="X", help="multiply all sizes but those of cfgs (default: 1)")
    option("--seconds", type=float, default=220, help="how long the jobs may take together, about (default: 220)")
    option("--rounds", type=int, metavar="N", help="rounds of each size (default: what --seconds allows)")
    option("--threads", type=int, metavar="N", help="of everybody (default: what each takes)")
    option("--json", nargs="?", const="-", metavar="FILE", help="print JSON, or write it beside the table")
    args = parser.parse_args(argv)
    if (args.rounds is not None and args.rounds < 1) or (args.threads is not None and args.threads < 1):
        parser.error("rounds and threads start at 1")
    if not 0 < args.scale <= 100:
        parser.error("--scale is above 0, and 100 at the most")
    try:
        report(args, list(measure(args)))
    except (BenchError, DarknetError, OSError) as error:
        print(f"bench_tools: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
