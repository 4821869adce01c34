"""Times the contestants of a case in turn and compares them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from darknet_py.engine import ENGINES, fastest
from darknet_py.errors import DarknetError
from tools.bench import limits
from tools.bench.contest.cases import Case, Task
from tools.bench.measuring import BenchError
from tools.bench.peers.runner import Build, Runner
from tools.bench.rows import Row, milliseconds, ratio, spread

PAUSE = 0.05  # seconds
MIN_ROUNDS, MAX_ROUNDS = 3, 15
WARM_UPS = {"cpu": 0, "cuda": 3}  # beside the call that is checked


@dataclass
class Result:
    """What came out: of those that computed the task, and of those that did not."""

    task: Task
    operations: int = 0  # of the whole batch
    seconds: dict[str, list[float]] = field(default_factory=dict)  # for the whole batch, round by round
    differences: dict[str, float] = field(default_factory=dict)  # from the plain network, as shares of the range
    notes: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)  # why there are no seconds

    @property
    def judged(self) -> str | None:
        """The engine that is compared with the others: the one that is used by default, or else the first."""
        task = self.task
        usual = fastest(task.kind, half=task.half or False)
        return next((name for name in (usual, *ENGINES[1:], ENGINES[0]) if name in self.seconds), None)

    def limit(self, other: str) -> float | None:
        """What the ratio to another may be."""
        task = self.task
        if task.cfg.stem not in limits.NETWORKS or task.size != limits.SIZE or task.kind != "cpu":
            return None
        return limits.PEERS.get(task.dtype, {}).get(other, {}).get(task.batch)


def contest(case: Case, builds: Mapping[str, Build], seconds: float, rounds: int | None = None) -> Result:
    """Let everybody compute the case in turn, for about so many seconds with what comes before, or so many rounds."""
    result, runners = Result(case.task, case.operations), {}
    clock = TIMERS[case.task.kind]
    start = time.perf_counter()
    for name, build in builds.items():
        try:
            runner = build(case)
            result.differences[name] = checked(case, runner)
        except Exception as error:  # noqa: BLE001  # a peer that cannot is no reason to stop
            result.reasons[name] = _reason(error)
        else:
            runners[name], result.notes[name], result.seconds[name] = runner, runner.note, []
    number = 0
    while runners and not _enough(number, time.perf_counter() - start, seconds, rounds):
        for name in list(runners) if number % 2 else reversed(runners):  # nobody always follows the same one
            result.seconds[name].append(clock(runners[name].call))
        number += 1
    return result


def _enough(done: int, spent: float, seconds: float, wanted: int | None) -> bool:
    """Whether to stop after so many rounds: the next one might take too long.

    There are three at least; only where that takes twice the seconds, as on a busy machine, is one enough.
    """
    if wanted is not None or not done:
        return done == wanted
    if done < MIN_ROUNDS:
        return spent > 2 * seconds
    return done >= MAX_ROUNDS or spent * (done + 1) / done > seconds


def checked(case: Case, runner: Runner) -> float:
    """How far off a first output is, as a share of the range; raises `BenchError` where that is too far.

    That warms up too; CUDA graphs need some calls more.
    """
    difference = case.difference(runner.call())
    for _ in range(WARM_UPS[case.task.kind]):
        runner.call()
    if difference <= runner.tolerance:
        return difference
    raise BenchError(f"does not agree: it differs by {difference:.1e} of the output's range")


def _reason(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0][:200]
    return text if isinstance(error, (BenchError, DarknetError)) else f"{type(error).__name__}: {text}"


def on_cpu(call: Callable[[], Any]) -> float:
    """The seconds of a call, after a pause.

    Threads of OpenMP and of thread pools go on spinning for some milliseconds after they have computed, so as to be
    quick when more comes, and would take the cores of whoever comes next. OMP_WAIT_POLICY=PASSIVE cures that too, but
    then OpenMP's threads sleep between two layers: ncnn takes a tenth longer. So the policy stays as the user has it.
    Where other work takes the cores PASSIVE is better: threads that spin for one that has none wait for long.
    """
    time.sleep(PAUSE)
    start = time.perf_counter()
    outputs = call()
    seconds = time.perf_counter() - start
    del outputs
    return seconds


def on_cuda(call: Callable[[], Any]) -> float:
    """The seconds between two marks in the device's own queue, around a call."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    outputs = call()
    end.record()
    end.synchronize()
    del outputs
    return start.elapsed_time(end) / 1e3


TIMERS: Mapping[str, Callable[[Callable[[], Any]], float]] = {"cpu": on_cpu, "cuda": on_cuda}


def rows_of(result: Result, peak: float | None = None) -> Iterator[Row]:
    """Milliseconds an image, then ratios of the engine that counts to each of the others.

    With the `peak` of the device in TFLOPS, how much of it everybody takes.
    """
    rounds = [float(len(times)) for times in result.seconds.values()][:1]
    yield from (spread(result.task.name, "rounds", [number], "") for number in rounds)
    for name, times in result.seconds.items():
        difference = result.differences[name]
        note = ", ".join(filter(None, (f"differs by {difference:.1e}" if difference else "", result.notes[name])))
        yield milliseconds(result.task.name, name, [value / result.task.batch for value in times], note=note)
    for name, reason in result.reasons.items():
        yield Row(result.task.name, name, None, note=reason)
    judged = result.judged
    for name, times in result.seconds.items():
        if judged is not None and name != judged:
            yield ratio(result.task.name, judged, name, result.seconds[judged], times, result.limit(name))
    if judged is not None and result.task.is_plain:
        millionths = [1e6 * result.differences[judged]]
        yield spread(result.task.name, f"{judged} from plain, of the range", millionths, "ppm", limits.FROM_PLAIN)
    if peak is not None:
        for name, times in result.seconds.items():
            shares = [100 * result.operations / value / (peak * 1e12) for value in times]
            yield spread(result.task.name, f"{name}, of the card's peak", shares, "%")
