"""Findings, and how they are collected."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from darknet_py.cfg import Section
from darknet_py.errors import MESSAGE, CfgError, CfgWarning, Location, WeightsError, shown

T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """One finding; an error stops the network from being built or makes its results wrong."""

    message: str
    where: Location | None
    is_error: bool

    @property
    def severity(self) -> str:
        """`error` or `warning`."""
        return "error" if self.is_error else "warning"

    def __str__(self) -> str:
        """One line, as compilers write it: file:line: severity: message."""
        text = f"{self.severity}: {self.message}"
        return shown(f"{self.where}: {text}" if self.where else text, MESSAGE)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values; `line` is None where the whole file is meant."""
        file, line = self.where or (None, None)
        return {"severity": self.severity, "file": file, "line": line or None, "message": self.message}


class Problems:
    """Collects problems, each once."""

    def __init__(self) -> None:
        self.found: dict[Problem, None] = {}

    def error(self, message: str, where: Location | None) -> None:
        self.found[Problem(shown(message, MESSAGE), where, is_error=True)] = None

    def warning(self, message: str, where: Location | None) -> None:
        self.found[Problem(shown(message, MESSAGE), where, is_error=False)] = None

    @contextmanager
    def warned(self) -> Iterator[None]:
        """Collect the warnings that a block gives."""
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always", CfgWarning)
            try:
                yield
            finally:
                for message in (warning.message for warning in given):
                    if isinstance(message, CfgWarning):
                        self.warning(_bare(message, message.where), message.where)

    @contextmanager
    def caught(self, where: Location | None = None) -> Iterator[None]:
        """Collect warnings and the error that ends a block; `where` is the place of one that does not say its own."""
        try:
            with self.warned():
                yield
        except CfgError as error:
            self.error(_bare(error, error.where), error.where or where)
        except WeightsError as error:
            self.error(_bare(error, where), where)

    def salvaged(self, make: Callable[[Section], T], section: Section) -> tuple[T | None, bool]:
        """What `make` makes of a section without the keys that it cannot read, and whether there were none of them."""
        bad: set[str] = set()
        while True:
            kept = replace(section, entries=tuple(entry for entry in section.entries if entry.key not in bad))
            try:
                with self.warned():
                    return make(kept), not bad
            except CfgError as error:
                key = next((entry.key for entry in kept.entries if entry.where == error.where), None)
                if key is not None or not bad:  # else it misses what was left out
                    self.error(_bare(error, error.where), error.where)
                if key is None:
                    return None, False
                bad.add(key)

    def in_order(self, *files: str) -> list[Problem]:
        """Sorted by file, in this order, and line."""

        def place(problem: Problem) -> tuple[int, str, int]:
            file, line = problem.where or Location("")
            return files.index(file) if file in files else len(files), file, line

        return sorted(self.found, key=place)


def _bare(error: Exception, where: Location | None) -> str:
    """The message without the place that stands before it."""
    return str(error).removeprefix(f"{where}: ")
