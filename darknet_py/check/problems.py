"""Findings, and a collector of them."""

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
    """One finding; an error prevents building the network or makes its results wrong."""

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
        """The same as plain values; `line` is None for a whole file."""
        file, line = self.where or (None, None)
        return {"severity": self.severity, "file": file, "line": line or None, "message": self.message}


class Problems:
    """Collects findings, each once."""

    def __init__(self) -> None:
        self.found: dict[Problem, None] = {}

    def error(self, message: str, where: Location | None) -> None:
        self.found[Problem(shown(message, MESSAGE), where, is_error=True)] = None

    def warning(self, message: str, where: Location | None) -> None:
        self.found[Problem(shown(message, MESSAGE), where, is_error=False)] = None

    @contextmanager
    def warned(self) -> Iterator[None]:
        """Collect the warnings of a block."""
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
        """Collect warnings and the error that ends a block; `where` is for those without a place of their own."""
        try:
            with self.warned():
                yield
        except CfgError as error:
            self.error(_bare(error, error.where), error.where or where)
        except WeightsError as error:
            self.error(_bare(error, where), where)

    def salvaged(self, make: Callable[[Section], T], section: Section) -> tuple[T | None, bool]:
        """The result of `make` for a section without the keys that it cannot read, and whether all could be read."""
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
        """The findings sorted by file, in the given order, and by line."""

        def place(problem: Problem) -> tuple[int, str, int]:
            file, line = problem.where or Location("")
            return files.index(file) if file in files else len(files), file, line

        return sorted(self.found, key=place)


def _bare(error: Exception, where: Location | None) -> str:
    """The message without the place before it."""
    return str(error).removeprefix(f"{where}: ")
