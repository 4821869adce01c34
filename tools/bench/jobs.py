"""Measure the work around a network beside what one would take for it otherwise, and how the times grow.

Jobs are parsing cfgs, loading and converting weights, decoding, NMS, k-means of boxes and average precision, each at
three sizes. Others are torchvision, pycocotools, scikit-learn and OpenCV of the extra `bench`; those that are not
installed say so. All of a size take turns. Where results can be compared, they are, and where they differ, it is said.
A growth of 1 is that of the size, 2 that of its square. With --darknet the cfgs of that checkout are parsed.
"""

from __future__ import annotations

import contextlib
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from tools.bench.harness import Bench
from tools.bench.measuring import BenchError, say
from tools.bench.options import add_darknet, add_only
from tools.bench.peers.runner import needed
from tools.bench.rows import Row
from tools.bench.trials import boxes, files, sets
from tools.bench.trials.trial import Job, Setup, measured

JOBS: Mapping[str, Job] = {
    "parse": files.parsing,
    "load": files.loading,
    "convert": files.converting,
    "decode": boxes.decoding,
    "nms": boxes.suppressing,
    "nms-one-class": partial(boxes.suppressing, classes=1),
    "k-means": sets.clustering,
    "precision": sets.scoring,
}


class Jobs(Bench):
    """The work around a network."""

    name = "jobs"
    packages = ("torchvision", "pycocotools", "scikit-learn", "opencv-python-headless", "safetensors")

    def add_options(self, parser: ArgumentParser) -> None:
        option = parser.add_argument
        add_darknet(parser)
        add_only(parser, JOBS)
        option("--scale", type=scale, default=1, metavar="X", help="multiply all sizes but those of cfgs (default: 1)")
        option("--seconds", type=float, default=220, help="how long the jobs may take together (default: 220)")

    def measure(self, args: Namespace, folder: Path) -> Iterator[Row]:
        """A job leaves the time that it does not need to those after it."""
        end = time.monotonic() + args.seconds
        with limited(args.threads):
            setup = Setup(folder, args.scale, args.darknet)
            for place, name in enumerate(args.only):
                say(f"measuring {name}")
                left = (end - time.monotonic()) / (len(args.only) - place)
                yield from measured(name, JOBS[name], setup, left, args.rounds)


def scale(text: str) -> float:
    """A factor."""
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value <= 100:
        raise ArgumentTypeError(f"a number above 0, and 100 at the most, was expected, not {text!r}")
    return value


def limited(threads: int | None) -> contextlib.AbstractContextManager[object]:
    """Give scikit-learn so many threads too; a package that comes with it does."""
    if threads is None:
        return contextlib.nullcontext()
    try:
        return needed("threadpoolctl").threadpool_limits(threads)
    except BenchError:
        return contextlib.nullcontext()
