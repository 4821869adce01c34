"""How the benches measure: works timed in turn, processes, medians, and the lines of its table."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from operator import sub, truediv
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

import darknet_py

ROOT = Path(__file__).resolve().parents[2]
Work = Callable[[], float]  # does something once and gives the seconds of the part that counts
STATUS = Path("/proc/self/status")
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
T = TypeVar("T")


class BenchError(Exception):
    """Why something could not be measured, in one line."""


@dataclass(frozen=True)
class Line:
    """A measured cost: half of the rounds lie between `low` and `high`; `value` None is not measured."""

    cost: str
    name: str
    value: float | None
    unit: str = ""
    low: float = 0.0
    high: float = 0.0
    limit: float | None = None
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the value is within its limit; None without a limit or a value."""
        return None if self.limit is None or self.value is None else self.value <= self.limit

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "holds": self.holds}


def sample(works: Mapping[str, Work], rounds: int) -> dict[str, list[float]]:
    """The seconds of each work, round by round in turn, after one round that does not count."""
    for work in works.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            seconds[name].append(work())
    return seconds


def timed(function: Callable[[], object]) -> Work:
    """A work all of which counts, but for dropping what it gives."""

    def work() -> float:
        start = time.perf_counter()
        result = function()
        seconds = time.perf_counter() - start
        del result
        return seconds

    return work


def output_of(*arguments: str) -> str:
    """What a process prints."""
    return _run(arguments, 0, subprocess.PIPE).stdout


def command(*arguments: str, code: int = 0) -> Work:
    """A work that runs a process, which has to end with that exit code; what it prints is thrown away."""
    return timed(lambda: _run(arguments, code, subprocess.DEVNULL))


def _run(arguments: Sequence[str], code: int, stdout: int) -> subprocess.CompletedProcess[str]:
    # Bytecode is kept, as where the package is installed: the first round writes it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(  # noqa: S603
        arguments, cwd=ROOT, env=environment, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != code:
        raise BenchError(f"{' '.join(arguments)}: exit code {done.returncode}: {done.stderr.strip()[-200:]}")
    return done


def in_process(function: Callable[..., T], *arguments: object) -> T:
    """Call a function of a module in a new process, so that no memory of this one counts."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def memory(key: str, status: str | None = None) -> int:
    """VmRSS or VmHWM in bytes, of this process or in the text of a /proc/PID/status."""
    text = STATUS.read_text(encoding="utf-8") if status is None else status
    return 1024 * int(text.partition(f"{key}:")[2].split()[0])


def give_back_memory() -> None:
    """Hand free memory back to the system, where the C library can."""
    gc.collect()
    if LIBC is not None and hasattr(LIBC, "malloc_trim"):
        LIBC.malloc_trim(0)


def spread(
    cost: str, name: str, values: Sequence[float], unit: str, limit: float | None = None, note: str = ""
) -> Line:  # fmt: skip
    """Median and quartiles."""
    low, middle, high = statistics.quantiles([*values, *values], method="inclusive")
    return Line(cost, name, middle, unit, low, high, limit, note)


def milliseconds(cost: str, name: str, seconds: Sequence[float], limit: float | None = None, note: str = "") -> Line:
    """Median and quartiles of seconds, in milliseconds."""
    return spread(cost, name, [1e3 * value for value in seconds], "ms", limit, note)


def ratio(
    cost: str, name: str, a: Sequence[float], b: Sequence[float], limit: float | None = None, *, percent: bool = False
) -> Line:
    """Median and quartiles of the rounds' ratios."""
    unit, factor = ("%", 100.0) if percent else ("x", 1.0)
    return spread(cost, name, [factor * value for value in map(truediv, a, b)], unit, limit)


def excess(cost: str, name: str, a: Sequence[float], b: Sequence[float], limit: float | None = None) -> Line:
    """Median and quartiles of the rounds' differences, in milliseconds."""
    return milliseconds(cost, name, list(map(sub, a, b)), limit)


def table(lines: Sequence[Line]) -> str:
    """The lines in columns."""
    rows = [("cost", "", "median", "quartiles", "limit", "holds"), *map(_row, lines)]
    widths = [max(len(row[n]) for row in rows) for n in range(6)]
    notes = ["", *(f"  {line.note}" if line.note else "" for line in lines)]
    return "\n".join(
        f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[2:], widths[2:], strict=True))
        + note
        for row, note in zip(rows, notes, strict=True)
    )


def _row(line: Line) -> tuple[str, ...]:
    if line.value is None:
        return line.cost, line.name, "-", "", "", ""
    limit = "" if line.limit is None else f"{line.limit:g} {line.unit}"
    holds = {None: "", True: "yes", False: "NO"}[line.holds]
    value, quartiles = f"{line.value:.2f} {line.unit}", f"{line.low:.2f} - {line.high:.2f}"
    return line.cost, line.name, value, quartiles, limit, holds


def environment() -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "cpu": _line_of("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "load average": _line_of("/proc/loadavg", "") or "unknown",
        "huge pages": _line_of("/sys/kernel/mm/transparent_hugepage/enabled", "") or "unknown",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "darknet_py": darknet_py.__version__,
    }


def _line_of(path: str, start: str) -> str | None:
    """What follows the start, and a colon, in the first line of a file that has it."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    line = next((line for line in lines if line.startswith(start)), "")
    return line.removeprefix(start).lstrip("\t :") or None
