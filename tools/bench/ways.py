"""Ways to train a network, each in its own process, which does steps on request."""

from __future__ import annotations

import multiprocessing
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from darknet_py.cfg import read_data
from darknet_py.data import DetectionData, Key, batches
from darknet_py.errors import DarknetError
from darknet_py.loss.criterion import Criterion, Losses
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.train import Stepper, rate_at, tune_malloc
from tools.bench import limits
from tools.bench.measuring import MB, STATUS, BenchError, memory

WARM = 2  # steps that do not count
TRUTHS, CLASSES = 4, 6  # boxes a picture, and their classes


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
LIMITS: Final = {OURS: limits.STEP, TUNED: limits.STEP}
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
        return memory("VmHWM") / MB if STATUS.is_file() else None


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
