"""How a bench runs: it yields rows, which become a table and JSON, the same for all benches.

The JSON is an object with `schema`, `bench`, `date` (UTC), `options`, `machine`, `versions`, `settings` and `rows`. A
row has `group`, `name`, `unit`, `value` (the median of its `rounds`, null where nothing could be measured), `min`,
`low` and `high` (the quartiles), `max`, `peer` (what a ratio is to), `limit`, `holds` and `note`. Results of two days
are compared row by row: `bench`, `group` and `name` say what was measured.
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
import warnings
from abc import ABC, abstractmethod
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

import darknet_py
from darknet_py.errors import CfgWarning, DarknetError
from darknet_py.files import replacing
from tools.bench.measuring import BenchError
from tools.bench.rows import Row, table

SCHEMA = 1  # counts up when fields change their meaning
HOW = ("bench", "json", "check")  # arguments that do not change what is measured


class Bench(ABC):
    """What is measured, with which options. `rounds` and `threads` are defaults; None leaves them to the bench.

    `--help` shows the docstring of the class in a list of all benches, and that of its module for one bench.
    """

    name: ClassVar[str]
    rounds: ClassVar[int | None] = None
    threads: ClassVar[int | None] = None
    packages: ClassVar[tuple[str, ...]] = ()  # distributions whose versions count

    @abstractmethod
    def add_options(self, parser: ArgumentParser) -> None:
        """Those beyond the ones that every bench has."""

    def complete(self, args: Namespace) -> None:  # noqa: B027 - most have nothing to set
        """Set what was not given; raises `UsageError` for options that do not go together."""

    @abstractmethod
    def measure(self, args: Namespace, folder: Path) -> Iterable[Row]:
        """The rows; files may be made in the folder, which is dropped afterwards."""

    def settings(self, args: Namespace) -> Mapping[str, Any]:
        """What else the numbers depend on."""
        return {}

    def show(self, args: Namespace, rows: Sequence[Row]) -> str:
        """The rows as they are printed."""
        return table(rows)


def run(bench: Bench, args: Namespace) -> int:
    """Measure and print; gives the exit code."""
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    try:
        with tempfile.TemporaryDirectory(prefix="darknet-bench-") as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore", CfgWarning)
            rows = list(bench.measure(args, Path(folder)))
        tell(bench, args, rows)
    except (BenchError, DarknetError, OSError) as error:
        print(f"bench {bench.name}: {error}", file=sys.stderr)
        return 1
    return 1 if args.check and any(row.holds is False for row in rows) else 0


def tell(bench: Bench, args: Namespace, rows: Sequence[Row]) -> None:
    """Print the rows, or write them where --json says."""
    told = {"machine": machine(), "versions": versions(bench.packages), "settings": bench.settings(args)}
    report = {
        "schema": SCHEMA, "bench": bench.name, "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "options": {name: value for name, value in vars(args).items() if name not in HOW},
        **told, "rows": [row.as_dict() for row in rows],
    }  # fmt: skip
    text = json.dumps(report, indent=2, default=str)
    if args.json == "-":
        print(text)
        return
    if args.json is not None:
        with replacing(args.json, "w", encoding="utf-8") as file:
            file.write(f"{text}\n")
    print("\n".join(f"{name}: {value}" for part in told.values() for name, value in part.items()))
    print(bench.show(args, rows))


def machine() -> dict[str, Any]:
    """Where it was measured."""
    return {
        "cpu": _line_of("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "load average": _line_of("/proc/loadavg", "") or "unknown",
        "huge pages": _line_of("/sys/kernel/mm/transparent_hugepage/enabled", "") or "unknown",
    }


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of Python, of what we are made of, and of other distributions."""
    ours = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "darknet_py": darknet_py.__version__,
    }
    return ours | {name: _version(name) for name in packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _line_of(path: str, start: str) -> str | None:
    """What follows the start, and a colon, in the first line of a file that has it."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    line = next((line for line in lines if line.startswith(start)), "")
    return line.removeprefix(start).lstrip("\t :") or None
