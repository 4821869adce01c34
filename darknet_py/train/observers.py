"""Observers, which a run calls with updates, measurements and files; `History` remembers the losses."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from darknet_py.errors import DarknetError

if TYPE_CHECKING:
    from darknet_py.evaluate import Scores

POINTS: Final = 1 << 14  # points that a history keeps; of longer runs every second, fourth, ... update


@dataclass(frozen=True)
class Update:
    """One update of the weights."""

    batch: int  # updates so far, including this one
    loss: float  # per picture
    average: float  # .9 of the previous average plus .1 of the loss
    rate: float
    seconds: float  # without waiting for pictures
    loaded: float  # seconds of waiting for pictures
    pictures: int  # of this update
    seen: int  # pictures in all
    listed: int  # pictures in the list
    size: tuple[int, int]  # width and height of the input
    resized: bool  # whether the size was drawn anew for this update
    lines: tuple[str, ...] = ()  # Darknet's lines of the layers with a loss, mini-batch by mini-batch

    @property
    def epoch(self) -> float:
        """How many times the list was gone through."""
        return self.seen / self.listed

    @property
    def pictures_a_second(self) -> float:
        return self.pictures / max(self.seconds + self.loaded, 1e-9)

    def to_dict(self) -> dict[str, Any]:
        """All numbers, ready for JSON."""
        return {**vars(self), "epoch": self.epoch, "size": list(self.size), "lines": list(self.lines)}


class Observer:
    """Called by a run; derived classes override what they want to know."""

    def started(self, batch: int, end: int | None) -> None:
        """The run starts or continues after `batch` updates, and ends at `end`, if it has an end."""

    def updated(self, update: Update) -> None:
        """The weights have been updated."""

    def measured(self, batch: int, scores: Scores) -> None:
        """The network has been measured on the validation list."""

    def saved(self, path: Path) -> None:
        """Weights have been saved."""

    def failed(self, message: str) -> None:
        """Something went wrong that does not end the run."""

    def finished(self) -> None:
        """The run is over, at its end, by a signal or by an error."""


class Observers(Observer):
    """Several observers, called in order; `on_update` is called for updates."""

    def __init__(self, observers: Sequence[Observer], on_update: Callable[[Update], None] | None = None) -> None:
        self.observers, self.on_update = observers, on_update

    def started(self, batch: int, end: int | None) -> None:
        for observer in self.observers:
            observer.started(batch, end)

    def updated(self, update: Update) -> None:
        for observer in self.observers:
            observer.updated(update)
        if self.on_update is not None:
            self.on_update(update)

    def measured(self, batch: int, scores: Scores) -> None:
        for observer in self.observers:
            observer.measured(batch, scores)

    def saved(self, path: Path) -> None:
        for observer in self.observers:
            observer.saved(path)

    def failed(self, message: str) -> None:
        for observer in self.observers:
            observer.failed(message)

    def finished(self) -> None:
        for observer in self.observers:
            observer.finished()


class History(Observer):
    """The losses and the mean average precisions of a run so far."""

    def __init__(self) -> None:
        self.every = 1  # batches between two points
        self._losses = array("d")  # batch, loss, average, rate
        self._scores = array("d")  # batch, mean average precision at an IoU of .5

    def __len__(self) -> int:
        """How many points there are."""
        return len(self._losses) // 4 + len(self._scores) // 2

    @property
    def losses(self) -> torch.Tensor:  # (n, 4) of float64
        """Batch, loss, average and rate of the updates."""
        return _table(self._losses, 4)

    @property
    def scores(self) -> torch.Tensor:  # (n, 2) of float64
        """Batch and mean average precision (IoU .5, area under the curve) of each measurement."""
        return _table(self._scores, 2)

    def updated(self, update: Update) -> None:
        if update.batch % self.every == 0:
            self._losses.extend((update.batch, update.loss, update.average, update.rate))
            if len(self._losses) // 4 >= POINTS:
                self.every *= 2
                kept = self.losses
                self._losses = array("d", kept[kept[:, 0] % self.every == 0].flatten().tolist())

    def measured(self, batch: int, scores: Scores) -> None:
        self._scores.extend((batch, scores.mean_average_precision()))

    def state_dict(self) -> dict[str, Any]:
        """The history as plain tensors and numbers."""
        return {"every": self.every, "losses": self.losses, "scores": self.scores}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a `state_dict`; raises `DarknetError` if it is not one of a history."""
        try:
            self.every = max(int(state["every"]), 1)
            self._losses = array("d", state["losses"].view(-1, 4).flatten().tolist())
            self._scores = array("d", state["scores"].view(-1, 2).flatten().tolist())
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise DarknetError(f"this is no history of a run: {error}") from error


def _table(values: array[float], columns: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).view(-1, columns)
