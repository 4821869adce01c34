"""The training loop: samples and sizes, updates, and when to save, to measure and to end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from darknet_py.data import PictureData, batches
from darknet_py.errors import DarknetError
from darknet_py.loss.criterion import Losses
from darknet_py.network.module import Network
from darknet_py.train.checkpoint import Checkpoint, Saver, base_name
from darknet_py.train.distributed import ALONE, World
from darknet_py.train.environment import set_up
from darknet_py.train.finite import blame_output, blame_weights, check_start, diverged
from darknet_py.train.measuring import measure_until
from darknet_py.train.observers import History, Observer, Observers, Update
from darknet_py.train.plan import Plan
from darknet_py.train.settings import TrainSettings
from darknet_py.train.step import Stepper


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    batch: int  # updates in all
    updates: int  # updates of this run
    average: float  # the smoothed loss
    stopped: bool  # whether `stop` ended it
    complete: bool  # whether max_batches was reached
    saved: Path | None  # the last weights


def train(
    network: Network,
    data: PictureData,
    settings: TrainSettings | None = None,
    *,
    resumed: Checkpoint | None = None,
    history: History | None = None,
    observers: Sequence[Observer] = (),
    on_update: Callable[[Update], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    world: World = ALONE,
) -> Result:
    """Train a network on its device until the cfg's max_batches.

    It continues from `network.seen`, or with `resumed` exactly where that run was. It saves and ends after an update
    for which `stop` returns true. Every process of a distributed run calls this; only the first saves and calls
    `observers` and `on_update`. Raises `DarknetError` if the network cannot be trained, and as soon as a loss or the
    weights are not finite; the last saved file is still good then.
    """
    settings, history = settings or TrainSettings(), History() if history is None else history
    run = _Run(network, data, settings, world, history)
    if world.is_first:
        run.observers = Observers((history, *observers), on_update)
    with set_up(deterministic=settings.deterministic), run.saver.alone() if run.saver else nullcontext():
        try:
            run.restore(resumed)
            return run.go(stop)
        finally:
            run.stepper.close()
            run.observers.finished()


class _Run:
    """A run in progress."""

    def __init__(
        self, network: Network, data: PictureData, settings: TrainSettings, world: World, history: History
    ) -> None:
        self.network, self.data, self.settings, self.world, self.history = network, data, settings, world, history
        self.stepper = Stepper(
            network,
            amp=settings.amp,
            compile=settings.compile,
            channels_last=settings.channels_last,
            world=world,
            seed=settings.seed,
        )
        self.average, self.observers = math.nan, Observers(())
        self.saver: Saver | None = None
        if world.is_first and settings.folder is not None:
            self.saver = Saver(settings.folder, settings.name or base_name(network.graph), settings.manner.final)
        self.rows = self.stepper.share.count * self.stepper.share.rows * world.size  # pictures per update

    def restore(self, checkpoint: Checkpoint | None) -> None:
        """Restore the state of a run, and plan the rest of it."""
        if checkpoint is not None:
            checkpoint.restore(self.network)
            self.stepper.load_state_dict(checkpoint.values["stepper"])
            self.average = checkpoint.values["average"]
            self.history.load_state_dict(checkpoint.values["history"])
            if self.saver is not None:
                self.saver.last = checkpoint.path
        check_start(self.network)
        self.plan = Plan.of(self.settings, self.network.graph, self.stepper.batch, resumed=checkpoint is not None)

    def go(self, stop: Callable[[], bool]) -> Result:
        """Run all batches."""
        if self.saver is not None:
            self.saver.prepare()
        self.observers.started(self.stepper.batch, self.plan.last)
        stopped = False
        keys = self.plan.keys(self.stepper.share, self.rows, self.network.seen)
        pins = self.network.device.type == "cuda"
        with closing(batches(self.data, keys, self.settings.workers, pin_memory=pins)) as samples:
            while not stopped and self.stepper.batch < self.plan.end:
                update, stopped = self._update(samples, stop)
                self.observers.updated(update)
                if self.plan.measures(update.batch) and self.world.is_first:
                    stopped = self._measure(update.batch, stop) or stopped
                self._save(update, ending=stopped or update.batch == self.plan.end)
        self._fit(*self.plan.own_size)
        batch, saved = self.stepper.batch, self.saver.last if self.saver else None
        if batch < self.plan.max_batches:
            return Result(batch, batch - self.plan.start, self.average, stopped, complete=False, saved=saved)
        return Result(batch, batch - self.plan.start, self.average, stopped=False, complete=True, saved=self._end())

    def _update(self, samples: Iterator[tuple[Tensor, Tensor]], stop: Callable[[], bool]) -> tuple[Update, bool]:
        """Run one batch; returns its update, and whether a process wants to stop."""
        batch, seen, start, waited = self.stepper.batch, self.network.seen, time.perf_counter(), 0.0
        size, resized = self.plan.size(batch), self.plan.resizes(batch)
        if resized:
            self._fit(*size)
        found: list[Losses] = []
        for _ in range(self.stepper.share.count):
            asked = time.perf_counter()
            images, truth = next(samples)
            waited += time.perf_counter() - asked
            losses = self.stepper.accumulate(images, truth)
            found.append(replace(losses, objective=losses.objective.detach()))  # frees its graph
        cost, stopped, lines = self._fetch(found, stop())
        if not math.isfinite(cost):
            raise self._blame(batch, seen, found)
        self.stepper.update()
        loss = cost / self.rows
        self.average = 0.9 * (loss if math.isnan(self.average) else self.average) + 0.1 * loss
        update = Update(
            batch=self.stepper.batch,
            loss=loss,
            average=self.average,
            rate=self.stepper.rate,
            seconds=time.perf_counter() - start - waited,
            loaded=waited,
            pictures=self.rows,
            seen=self.network.seen,
            listed=len(self.data.paths),
            size=size,
            resized=resized,
            lines=lines,
        )
        return update, stopped

    def _fetch(self, found: Sequence[Losses], stop: bool) -> tuple[float, bool, tuple[str, ...]]:
        """The cost of the batch, whether to stop, and the lines of this process; waits for the device once."""
        own = torch.stack([losses.cost for losses in found])
        common = self.world.total(torch.stack((own.sum(), torch.full_like(own[0], float(stop)))))
        statistics = [values for losses in found for values in losses.statistics]
        cost, stopped, *rest = torch.cat((common, *(values.to(common) for values in statistics))).tolist()
        parts = iter(rest)
        lines: list[str] = []
        for losses in found:
            rows = [list(islice(parts, values.numel())) for values in losses.statistics]
            lines += self.stepper.criterion.lines(rows)
        return cost, stopped > 0, tuple(lines)

    def _fit(self, width: int, height: int) -> None:
        """Resize the network, unless it takes any input size as it is."""
        if not self.network.input_shape.is_image:
            return
        old, new = self.network.graph.nodes, self.network.graph.resized(width, height).nodes
        if any(before.layer is not after.layer for before, after in zip(old, new, strict=True)):
            self.network.resize(width, height)
            self.network.to(self.network.device)

    def _measure(self, batch: int, stop: Callable[[], bool]) -> bool:
        """Measure the network at the cfg's size; returns whether `stop` cut that short."""
        size = self.network.input_shape.w, self.network.input_shape.h
        self._fit(*self.plan.own_size)
        try:
            scores = measure_until(stop, self.network, self.settings)
        except DarknetError as error:
            self.observers.failed(f"not measured: {error}")
            return False
        finally:
            self._fit(*size)
        if scores is None:
            return self.world.size == 1  # the other processes learn of it with the next batch
        self.observers.measured(batch, scores)
        return False

    def _save(self, update: Update, *, ending: bool) -> None:
        """Save what is due after an update; errors are fatal only at the end of the run."""
        number, backs_up = self.plan.number(update), ending or self.plan.backs_up(update.batch)
        if self.saver is None or (number is None and not backs_up):
            return
        self._check_weights()
        try:
            if number is not None:
                self.observers.saved(self.saver.numbered(self.network, number))
            if backs_up:
                self.observers.saved(self.saver.backup(self.network, self._state()))
        except DarknetError as error:
            if ending:
                raise
            self.observers.failed(f"{error}; training goes on")

    def _end(self) -> Path | None:
        """Save the weights of a complete run."""
        if self.saver is None:
            return None
        self._check_weights()
        self.observers.saved(self.saver.final(self.network))
        return self.saver.last

    def _state(self) -> dict[str, Any]:
        return {
            "stepper": self.stepper.state_dict(), "average": self.average, "history": self.history.state_dict(),
            "seed": self.settings.seed,
        }  # fmt: skip

    def _check_weights(self) -> None:
        if (cause := blame_weights(self.network)) is not None:
            raise diverged(f"after batch {self.stepper.batch}", cause, self.saver.last if self.saver else None)

    def _blame(self, batch: int, seen: int, found: Sequence[Losses]) -> DarknetError:
        """The error about a loss that is not finite, with its cause."""
        kept = self.saver.last if self.saver else None
        bad = [place for place, losses in enumerate(found) if not math.isfinite(losses.cost)]
        cause = blame_weights(self.network)
        if cause is None and bad:
            keys = self.plan.mini_batch(batch, self.stepper.share, bad[0], seen)
            images, _ = next(batches(self.data, [keys]))  # the same pictures as before: they follow from the keys
            cause = blame_output(self.network, images, self.settings.amp)
        return diverged(f"in batch {batch + 1}", cause or "in another process", kept)
