"""A peer prepared for a case: a function that returns the outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tools.bench.contest.cases import Case
from tools.bench.measuring import BenchError


@dataclass(frozen=True)
class Runner:
    """Computes one case: `call` gives the outputs for the whole batch."""

    call: Callable[[], Sequence[Any]]
    note: str = ""
    tolerance: float = 1e-3  # how far outputs may be off, as a share of their range


Build = Callable[[Case], Runner]  # raises `BenchError` with the reason why not
REDUCED = 0.05  # tolerance for 16 bits


def needed(package: str) -> Any:
    """A package; raises `BenchError` where it is missing or, as one made for another torch, does not work."""
    try:
        return import_module(package)
    except ImportError as error:
        raise BenchError(f"{package} is not installed") from error
    except (RuntimeError, OSError, AttributeError) as error:
        raise BenchError(f"{package} does not work here: {str(error).partition(chr(10))[0]}") from error
