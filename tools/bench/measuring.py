"""How the benches measure: works timed in turn, processes, memory."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[2]
Work = Callable[[], float]  # does something once and gives the seconds of the part that counts
STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")
MB = 1e6
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
T = TypeVar("T")


class BenchError(Exception):
    """Why something could not be measured, in one line."""


def say(what: str) -> None:
    """Tell on stderr what goes on, as some of it takes minutes."""
    print(f"{what} ...", file=sys.stderr, flush=True)


def find_cfg(name: Path | str, darknet: Path | None) -> Path:
    """The file itself, or the cfg of that name in a Darknet checkout or in this repository; raises `BenchError`."""
    name = Path(name)
    places = (name, *(base / "cfg" / name.name for base in (darknet, ROOT) if base))
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise BenchError(f"{name} is not here: --darknet names a checkout of Darknet")
    return found.resolve()


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
