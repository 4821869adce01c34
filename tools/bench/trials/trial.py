"""How the bench of jobs measures: one job at three sizes, ours beside others, and how the times grow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import log
from pathlib import Path
from statistics import linear_regression, median
from typing import Any

from tools.bench.measuring import BenchError
from tools.bench.rows import Row, milliseconds, ratio

LEAST, MOST = 3, 9  # rounds, where there is time
SHARES = (0.1, 0.2, 0.7)  # of a job's time, for its sizes
Results = Mapping[str, Any]


@dataclass(frozen=True)
class Entrant:
    """One way to do a job; `rival` is the one of ours that it is compared with, and None for ours."""

    name: str
    work: Callable[..., object]
    rival: str | None = None
    prepare: Callable[[], object] | None = None  # makes what `work` is given; its time does not count
    note: str = ""

    def timed(self) -> tuple[float, object]:
        """The seconds of once, and what it gave."""
        given = () if self.prepare is None else (self.prepare(),)
        start = time.perf_counter()
        result = self.work(*given)
        return time.perf_counter() - start, result


@dataclass(frozen=True)
class Trial:
    """A job of one size; `agree` says in words how the results of a round compare."""

    size: str
    amount: float
    entrants: Sequence[Entrant]
    agree: Callable[[Results], str] | None = None
    absent: Mapping[str, str] = field(default_factory=dict)  # who could not come, and why


@dataclass(frozen=True)
class Setup:
    """What all jobs know: a folder for files, the numbers that sizes are multiplied with, and where cfgs are."""

    folder: Path
    scale: float = 1.0
    darknet: Path | None = None

    def amount(self, size: int, least: int = 1) -> int:
        """A size, scaled."""
        return max(least, round(size * self.scale))


Job = Callable[[Setup], Iterator[Trial]]
Built = tuple[list[Entrant], dict[str, str]]


def invited(name: str, build: Callable[[], Entrant | Sequence[Entrant]]) -> Built:
    """The entrants that `build` makes, or the reason for which it raises `BenchError`."""
    try:
        made = build()
    except BenchError as error:
        return [], {name: str(error)}
    return [made] if isinstance(made, Entrant) else list(made), {}


def rounds_of(trial: Trial, seconds: float, rounds: int | None) -> tuple[dict[str, list[float]], str]:
    """The seconds of each entrant, round after round in turn, and how the results of the first round compare.

    The first round warms up and does not count, unless there is no time for another. Without a number of `rounds`
    there are as many as fit into `seconds`.
    """
    found: dict[str, list[float]] = {entrant.name: [] for entrant in trial.entrants}
    start = time.monotonic()
    note, count = "", 0
    while True:
        results = {}
        for entrant in trial.entrants:
            spent, results[entrant.name] = entrant.timed()
            found[entrant.name].append(spent)
        note = trial.agree(results) if trial.agree and not count else note
        del results
        count += 1
        passed = time.monotonic() - start
        fits = passed * (count + 1) / count <= seconds and count <= MOST
        if not (fits if rounds is None else count <= rounds):
            return {name: values[1:] or values for name, values in found.items()}, note


def rows_of(job: str, trial: Trial, found: Mapping[str, Sequence[float]], note: str) -> Iterator[Row]:
    """Times, ratios, and who was not there."""
    for entrant in trial.entrants:
        seconds = found[entrant.name]
        few = f"{len(seconds)} round{'s' * (len(seconds) > 1)}" if len(seconds) < LEAST else ""
        notes = ", ".join(filter(None, (entrant.note, few)))
        yield milliseconds(job, f"{trial.size}, {entrant.name}", seconds, note=notes)
    for name, reason in trial.absent.items():
        yield Row(job, f"{trial.size}, {name}", None, note=reason)
    for entrant in trial.entrants:
        if entrant.rival is not None:
            ours = f"{trial.size}, {entrant.rival}"
            yield ratio(job, ours, entrant.name, found[entrant.rival], found[entrant.name])
    if note:
        yield Row(job, f"{trial.size}, results", None, note=note)


def growth(job: str, amounts: Sequence[float], medians: Mapping[str, Sequence[float]]) -> Iterator[Row]:
    """By which power of the size the times grow: fitted to all sizes, and least and most from one to the next."""
    points = [log(amount) for amount in amounts]
    for name, values in medians.items():
        if len(values) == len(set(points)) > 1:
            times = [log(value) for value in values]
            steps = [(b - a) / (y - x) for (a, b), (x, y) in zip(pairwise(times), pairwise(points), strict=True)]
            slope = linear_regression(points, times).slope
            yield Row(job, f"growth, {name}", slope, low=min(steps), high=max(steps))


def measured(name: str, job: Job, setup: Setup, seconds: float, rounds: int | None) -> Iterator[Row]:
    """All rows of a job, which takes about so many seconds."""
    end = time.monotonic() + seconds
    amounts: list[float] = []
    medians: dict[str, list[float]] = {}
    for place, trial in enumerate(job(setup)):
        share = SHARES[place] / sum(SHARES[place:])
        found, note = rounds_of(trial, share * (end - time.monotonic()), rounds)
        yield from rows_of(name, trial, found, note)
        amounts.append(trial.amount)
        for who, values in found.items():
            medians.setdefault(who, []).append(median(values))
    yield from growth(name, amounts, medians)
