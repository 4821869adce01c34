"""Measure a step of training against a plain torch loop and, where there is one, the C program.

Usage::

    python -m tools.bench.train [--darknet DIR | --cfg FILE] [--size PIXELS] [--batch N] [--rounds N] [--threads N]
        [--workers N] [--amp] [--compile] [--binary DARKNET] [--json] [--check]

A step is forward, losses, backward and update of one batch, at 416 x 416 of yolov2.cfg unless said otherwise. The plain
loop is the one of torch.optim's documentation, with torch.optim.SGD and contiguous tensors; the network and the loss
are the same. Each way to train has a process of its own, since --tune-malloc changes all of it; all take the same
batch, one step in turn, round after round, after two that do not count. The ratios are those of each round. On a slow
machine there are fewer rounds, so that all ends within five minutes.

Then pictures come from the loader, with the time that steps waited for them. `--binary` is a program built from
Darknet, which does two steps and says itself how long they took. `--amp` and `--compile` add those ways to train.
`--check` exits with 1 where a limit does not hold. Other work on the machine spoils the numbers, so its load is stated;
what the processor worked on a step, over all threads, suffers less from it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from darknet_py.cfg import read_data
from darknet_py.data import DetectionData, Key, batches
from darknet_py.errors import CfgWarning, DarknetError
from darknet_py.graph import Graph
from darknet_py.loss.criterion import Criterion, Losses
from darknet_py.network import Network
from darknet_py.train import Stepper, rate_at, tune_malloc
from tools.bench.loader import make_pictures
from tools.bench.measuring import (
    ROOT,
    STATUS,
    BenchError,
    Line,
    environment,
    memory,
    milliseconds,
    ratio,
    spread,
    table,
)

WARM = 2  # steps that do not count
BUDGET = 180  # seconds after which no other round starts
TRUTHS, CLASSES = 4, 6  # boxes a picture, and their classes
BINARY_STEPS, BINARY_SECONDS = 2, 240
PRINTED = re.compile(r"^\s*\d+: .* rate, ([\d.]+) seconds", re.MULTILINE)
PARTS = ("forward", "loss", "backward", "update")


@dataclass(frozen=True)
class Job:
    """What is trained: a cfg text of one batch a step, where it is from, and with how many threads."""

    text: str
    source: str
    threads: int

    @classmethod
    def of(cls, cfg: Path, size: int, batch: int, threads: int) -> Job:
        """Of a cfg file, with another size and batch."""
        keys = {"batch": batch, "subdivisions": 1, "width": size, "height": size, "random": 0}
        text = cfg.read_text(encoding="utf-8")
        for name, value in keys.items():
            text = re.sub(rf"(?m)^[ \t]*{name}[ \t]*=.*$", f"{name}={value}", text)
        return cls(text, str(cfg.resolve()), threads)

    @property
    def graph(self) -> Graph:
        """The network's graph."""
        return Graph.parse(self.text, self.source)

    def network(self) -> Network:
        """A network with the weights that all ways to train start from."""
        return Network(self.graph, generator=torch.Generator().manual_seed(0))

    def batch(self, criterion: Criterion) -> tuple[Tensor, Tensor]:
        """Pictures of noise, and boxes in the first rows of the truth."""
        graph, rng = criterion.network.graph, torch.Generator().manual_seed(1)
        images = torch.rand(graph.net.batch, *graph.input_shape.dims, generator=rng)
        truth = torch.zeros(graph.net.batch, criterion.truth_size)
        rows = truth[:, : TRUTHS * 5].view(-1, TRUTHS, 5)
        rows[..., :4] = 0.2 + 0.6 * torch.rand(rows[..., :4].shape, generator=rng)
        rows[..., 4] = torch.randint(CLASSES, rows.shape[:2], generator=rng)
        return images, truth


class Plain:
    """A loop as it is usually written."""

    def __init__(self, network: Network) -> None:
        self.network, net = network, network.graph.net
        self.criterion = Criterion(network)
        self.optimizer = torch.optim.SGD(
            (
                {"params": [weight for weight in network.parameters() if weight.ndim > 1]},
                {"params": [weight for weight in network.parameters() if weight.ndim == 1], "weight_decay": 0.0},
            ),
            momentum=net.momentum, weight_decay=net.decay * net.batch,
        )  # fmt: skip
        network.train()

    def accumulate(self, images: Tensor, truth: Tensor) -> Losses:
        """Forward and backward."""
        self.network.seen += len(images)
        self.optimizer.zero_grad()
        losses: Losses = self.criterion(images, truth, self.network.seen)
        losses.objective.backward()
        return losses

    def update(self) -> None:
        """The optimizer's step, at the rate that the cfg says; gradients are sums over the batch."""
        net = self.network.graph.net
        rate = rate_at(net, self.network.seen // net.batch, torch.Generator())
        for group in self.optimizer.param_groups:
            group["lr"] = rate / net.batch
        self.optimizer.step()


Steps = Plain | Stepper
OURS: Final = "darknet_py"
TUNED: Final = "darknet_py --tune-malloc"
HALF: Final = "darknet_py --amp bf16"
COMPILED: Final = "darknet_py --compile"
PLAIN: Final = "plain torch loop"
LIMITS: Final = {OURS: 0.8, TUNED: 0.8}  # of the plain loop's time
WAYS: Final[Mapping[str, Callable[[Network], Steps]]] = {
    PLAIN: Plain,
    OURS: Stepper,
    TUNED: Stepper,
    HALF: partial(Stepper, amp=torch.bfloat16),
    COMPILED: partial(Stepper, compile=True),
}


class Timed:
    """A way to train, with the seconds of its parts; `loss` is a part of `forward`."""

    def __init__(self, way: str, job: Job) -> None:
        torch.set_num_threads(job.threads)
        if way == TUNED and not tune_malloc():
            raise BenchError("--tune-malloc takes Linux with glibc")
        self.steps = WAYS[way](job.network())
        self.marks: dict[str, float] = {}
        criterion = self.steps.criterion
        self.batch = job.batch(criterion)
        for loss in criterion.losses:
            loss.register_forward_pre_hook(lambda *_: self._mark("loss starts"))
            loss.register_forward_hook(lambda *_: self._mark("loss ends"))
        criterion.register_forward_hook(lambda *_: self._mark("forward ends"))

    def _mark(self, name: str) -> None:
        now = time.perf_counter()
        if name == "loss ends":
            self.marks["loss"] = self.marks.get("loss", 0.0) + now - self.marks["loss starts"]
        self.marks[name] = now

    def step(self, batch: tuple[Tensor, Tensor] | None = None) -> dict[str, float]:
        """One step, and the seconds of all of it, of its parts, and of the processor."""
        self.marks = {}
        start, used = time.perf_counter(), time.process_time()
        self.steps.accumulate(*(batch or self.batch))
        middle = time.perf_counter()
        self.steps.update()
        end = time.perf_counter()
        forward = self.marks["forward ends"]
        return {
            "step": end - start, "forward": forward - start, "loss": self.marks["loss"],
            "backward": middle - forward, "update": end - middle, "processor": time.process_time() - used,
        }  # fmt: skip

    def fed(self, data_file: str, workers: int, count: int) -> list[tuple[float, float]]:
        """The seconds of steps on pictures from a loader, with those that each waited for it."""
        graph = self.steps.network.graph
        size, rows = (graph.input_shape.w, graph.input_shape.h), graph.net.batch
        keys = [[Key(rows * turn + n, *size) for n in range(rows)] for turn in range(count + WARM)]
        made = batches(DetectionData.from_cfg(graph, read_data(data_file)), keys, workers)
        found = []
        for _ in keys:
            start = time.perf_counter()
            batch = next(made)
            waited = time.perf_counter() - start
            self.step(batch)
            found.append((time.perf_counter() - start, waited))
        return found[WARM:]

    def peak(self) -> float | None:
        """The most memory that the process had, in MB."""
        return memory("VmHWM") / 1e6 if STATUS.is_file() else None


def serve(way: str, job: Job, connection: Connection) -> None:
    """Answer calls of a `Timed`, in a process of its own; an error is answered as text."""
    warnings.simplefilter("ignore")
    try:
        timed = Timed(way, job)
        while (call := connection.recv()) is not None:
            connection.send(getattr(timed, call[0])(*call[1:]))
    except (BenchError, DarknetError, RuntimeError) as error:
        connection.send(f"{way}: {error}")


@contextmanager
def served(way: str, job: Job) -> Iterator[Callable[..., Any]]:
    """A process that trains in one way: what to call with the name of a method of `Timed` and its arguments."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(way, job, there))
    process.start()
    there.close()

    def ask(*call: object) -> Any:
        try:
            here.send(call)
            answer = here.recv()
        except (EOFError, BrokenPipeError) as error:
            raise BenchError(f"{way}: its process ended") from error
        if isinstance(answer, str):
            raise BenchError(answer)
        return answer

    try:
        yield ask
        here.send(None)
        process.join(10)
    finally:
        process.kill()
        process.join()


def compared(job: Job, ways: Sequence[str], rounds: int, workers: int, folder: Path) -> Iterator[Line]:
    """Steps in turn, their parts, and pictures from the loader."""
    with ExitStack() as stack:
        asks = {way: stack.enter_context(served(way, job)) for way in ways}
        found = _in_turn(asks, rounds)
        seconds = {way: [step["step"] for step in steps] for way, steps in found.items()}
        peaks = {way: ask("peak") for way, ask in asks.items()}
        yield from (milliseconds("step", way, times) for way, times in seconds.items())
        for way in ways[1:]:
            yield ratio("step", f"{way} / plain", seconds[way], seconds[PLAIN], LIMITS.get(way))
        for way in ways[1:]:
            mine, plain = ([step["processor"] for step in found[name]] for name in (way, PLAIN))
            yield ratio("processor", f"{way} / plain", mine, plain)
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
            print(f"step {turn + 1} of {WARM + rounds}: {way} ...", file=sys.stderr, flush=True)
            found[way].append(ask("step"))
    return {way: steps[WARM:] for way, steps in found.items()}


def _parts(way: str, steps: Sequence[Mapping[str, float]]) -> Iterator[Line]:
    for part in PARTS:
        shares = [100 * step[part] / step["step"] for step in steps]
        name = f"{part}, {way}" if part != "loss" else f"losses (within forward), {way}"
        yield milliseconds("part", name, [step[part] for step in steps])
        if part == "loss":
            yield spread("part", f"share of the losses, {way}", shares, "%")


def loaded(found: Sequence[tuple[float, float]], workers: int) -> Iterator[Line]:
    """How long steps take and wait with a loader."""
    yield milliseconds("loader", f"a step with {workers} workers", [step for step, _ in found])
    yield milliseconds("loader", "of it, waiting for pictures", [waited for _, waited in found])
    yield spread("loader", "share of waiting", [100 * waited / step for step, waited in found], "%")


def binary(program: Path, job: Job, folder: Path) -> Iterator[Line]:
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


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; gives the exit code."""
    args = _arguments(argv)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for the processes, as the commands have it
    cfg = args.cfg or ((args.darknet or ROOT) / "cfg/yolov2.cfg")
    ways = [PLAIN, OURS, TUNED, *([HALF] if args.amp else []), *([COMPILED] if args.compile else [])]
    torch.set_num_threads(args.threads)
    lines: list[Line] = []
    try:
        with tempfile.TemporaryDirectory(prefix="darknet-bench-") as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore", CfgWarning)
            job = Job.of(cfg, args.size, args.batch, args.threads)
            title = f"{cfg.name} {args.size}, batch {args.batch}"
            lines += compared(job, ways, args.rounds, args.workers, Path(folder))
            if args.binary:
                lines += binary(args.binary.resolve(), job, Path(folder))
    except (BenchError, DarknetError, OSError) as error:
        print(f"bench_train: {error}", file=sys.stderr)
        return 1
    about = {"network": title, **environment()}
    if args.json:
        print(json.dumps({"environment": about, "lines": [line.as_dict() for line in lines]}, indent=2))
    else:
        print("\n".join(f"{name}: {value}" for name, value in about.items()))
        print(table(lines))
    return 1 if args.check and any(line.holds is False for line in lines) else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure a step of training.")
    parser.add_argument("--darknet", type=Path, metavar="DIR", help="a checkout of Darknet, for its cfg/yolov2.cfg")
    parser.add_argument("--cfg", type=Path, metavar="FILE", help="another network")
    parser.add_argument("--size", type=int, default=416, metavar="PIXELS", help="width and height of the input")
    parser.add_argument("--batch", type=int, default=4, metavar="N", help="pictures a step")
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="steps of each way to train")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), metavar="N", help="of torch")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes that load pictures")
    parser.add_argument("--amp", action="store_true", help="train with --amp bf16 too")
    parser.add_argument("--compile", action="store_true", help="train with --compile too")
    parser.add_argument("--binary", type=Path, metavar="DARKNET", help="a program built from Darknet")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a limit does not hold")
    args = parser.parse_args(argv)
    if min(args.size, args.batch, args.rounds, args.threads) < 1 or args.workers < 0:
        parser.error("sizes, batches, rounds and threads start at 1, workers at 0")
    return args


if __name__ == "__main__":
    sys.exit(main())
