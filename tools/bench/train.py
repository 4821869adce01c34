"""Measure a step of training against a plain torch loop and, where there is one, the C program.

A step is forward, losses, backward and update of one batch, at 416 x 416 of yolov2.cfg unless said otherwise. The plain
loop is the one of torch.optim's documentation, with torch.optim.SGD and contiguous tensors; the network and the loss
are the same. Each way to train has a process of its own, since --tune-malloc changes all of it; all take the same
batch, one step in turn, round after round, after two that do not count. On a slow machine there are fewer rounds, so
that all ends within five minutes.

Then pictures come from the loader, with the time that steps waited for them. --binary is a program built from Darknet,
which does two steps and says itself how long they took. --amp and --compile add those ways to train. What the processor
worked on a step, over all threads, suffers less from other work on the machine.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from tools.bench.harness import Bench
from tools.bench.loader import make_pictures
from tools.bench.measuring import BenchError, find_cfg, say
from tools.bench.options import add_darknet, natural, positive
from tools.bench.rows import Row, milliseconds, ratio, spread
from tools.bench.ways import CLASSES, COMPILED, HALF, LIMITS, OURS, PLAIN, TUNED, WARM, Job, served

BUDGET = 180  # seconds after which no other round starts
BINARY_STEPS, BINARY_SECONDS = 2, 240
PRINTED = re.compile(r"^\s*\d+: .* rate, ([\d.]+) seconds", re.MULTILINE)
PARTS = ("forward", "loss", "backward", "update")


def compared(job: Job, ways: Sequence[str], rounds: int, workers: int, folder: Path) -> Iterator[Row]:
    """Steps in turn, their parts, and pictures from the loader."""
    with ExitStack() as stack:
        asks = {way: stack.enter_context(served(way, job)) for way in ways}
        found = _in_turn(asks, rounds)
        seconds = {way: [step["step"] for step in steps] for way, steps in found.items()}
        peaks = {way: ask("peak") for way, ask in asks.items()}
        yield from (milliseconds("step", way, times) for way, times in seconds.items())
        for way in ways[1:]:
            yield ratio("step", way, "plain", seconds[way], seconds[PLAIN], LIMITS.get(way))
        for way in ways[1:]:
            mine, plain = ([step["processor"] for step in found[name]] for name in (way, PLAIN))
            yield ratio("processor", way, "plain", mine, plain)
        for way in (PLAIN, OURS):
            yield from _parts(way, found[way])
        yield from (spread("memory", f"peak, {way}", [peak], "MB") for way, peak in peaks.items() if peak)
        count = len(seconds[OURS])
        yield from loaded(asks[OURS]("fed", str(make_pictures(folder)), workers, count), workers)


def _in_turn(asks: Mapping[str, Callable[..., Any]], rounds: int) -> dict[str, list[dict[str, float]]]:
    """The steps of each way, without those to warm up."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in asks}
    start = time.perf_counter()
    for turn in range(WARM + rounds):
        if turn > WARM and time.perf_counter() - start > BUDGET:
            break
        for way, ask in asks.items():
            say(f"step {turn + 1} of {WARM + rounds}: {way}")
            found[way].append(ask("step"))
    return {way: steps[WARM:] for way, steps in found.items()}


def _parts(way: str, steps: Sequence[Mapping[str, float]]) -> Iterator[Row]:
    for part in PARTS:
        shares = [100 * step[part] / step["step"] for step in steps]
        name = f"{part}, {way}" if part != "loss" else f"losses (within forward), {way}"
        yield milliseconds("part", name, [step[part] for step in steps])
        if part == "loss":
            yield spread("part", f"share of the losses, {way}", shares, "%")


def loaded(found: Sequence[tuple[float, float]], workers: int) -> Iterator[Row]:
    """How long steps take and wait with a loader."""
    yield milliseconds("loader", f"a step with {workers} workers", [step for step, _ in found])
    yield milliseconds("loader", "of it, waiting for pictures", [waited for _, waited in found])
    yield spread("loader", "share of waiting", [100 * waited / step for step, waited in found], "%")


def binary(program: Path, job: Job, folder: Path) -> Iterator[Row]:
    """Seconds that a darknet program says its steps took."""
    place = folder / "binary"
    place.mkdir()
    data = make_pictures(place)
    pictures = (place / "train.list").resolve()
    data.write_text(f"classes={CLASSES}\ntrain={pictures}\nbackup={place}\n", encoding="utf-8")
    text = re.sub(r"(?m)^[ \t]*max_batches[ \t]*=.*$", f"max_batches={BINARY_STEPS}", job.text)
    (place / "net.cfg").write_text(text, encoding="utf-8")
    try:
        done = subprocess.run(  # noqa: S603
            (str(program), "detector", "train", str(data), str(place / "net.cfg")),
            cwd=place, env={**os.environ, "OMP_NUM_THREADS": str(job.threads)}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", check=False, timeout=BINARY_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{program}: {BINARY_STEPS} steps take longer than {BINARY_SECONDS} s") from error
    seconds = [float(text) for text in PRINTED.findall(done.stdout)]
    if not seconds:
        raise BenchError(f"{program}: it tells of no step: {done.stdout.strip()[-200:]}")
    yield milliseconds("step", f"{program.name}, the C program", seconds, note=f"{len(seconds)} steps")


class Train(Bench):
    """A step of training."""

    name = "train"
    rounds = 9
    threads = torch.get_num_threads()

    def add_options(self, parser: ArgumentParser) -> None:
        option = parser.add_argument
        add_darknet(parser)
        option("--cfg", type=Path, default=Path("yolov2.cfg"), metavar="FILE", help="a network (default: yolov2.cfg)")
        option("--size", type=positive, default=416, metavar="PIXELS", help="width and height of the input")
        option("--batch", type=positive, default=4, metavar="N", help="pictures a step")
        option("--workers", type=natural, default=2, metavar="N", help="processes that load pictures")
        option("--amp", action="store_true", help="train with --amp bf16 too")
        option("--compile", action="store_true", help="train with --compile too")
        option("--binary", type=Path, metavar="DARKNET", help="a program built from Darknet")

    def settings(self, args: Namespace) -> Mapping[str, Any]:
        return {"network": f"{args.cfg.name} {args.size}, batch {args.batch}"}

    def measure(self, args: Namespace, folder: Path) -> Iterator[Row]:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for the processes, as the commands have it
        ways = [PLAIN, OURS, TUNED, *([HALF] if args.amp else []), *([COMPILED] if args.compile else [])]
        job = Job.of(find_cfg(args.cfg, args.darknet), args.size, args.batch, args.threads)
        yield from compared(job, ways, args.rounds, args.workers, folder)
        if args.binary:
            yield from binary(args.binary.resolve(), job, folder)
