"""What would go wrong with a cfg, its weights and its .data file: all of it at once, and nothing is built."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from darknet_py import weights as weights_file
from darknet_py.cfg import Entry, Section, find_file, read, read_data, read_names
from darknet_py.cfg.keys import nearest
from darknet_py.errors import CfgError, CfgWarning, Location, WeightsError
from darknet_py.graph import INPUT, MAX_VALUES, Graph, connect, read_layer
from darknet_py.layers.base import Layer, Shape
from darknet_py.layers.convolutional import Convolutional
from darknet_py.layers.detection import Detection
from darknet_py.layers.region import DEFAULT_ANCHOR, Region
from darknet_py.layers.softmax import Softmax
from darknet_py.layers.yolo import Yolo
from darknet_py.net import Net
from darknet_py.tree import WordTree, read_map

T = TypeVar("T")
GRID_STRIDE: Final = 32  # pixels a cell of the coarsest grid in every YOLO
HAVE_LOSS: Final = ("cost", "logistic", "softmax")  # they have a use even where nothing takes their output
DATA_FILES: Final = {  # whether detection and classification need it
    "names": True, "labels": True, "tree": True, "map": True,
    "train": False, "valid": False, "leaves": False, "backup": False,
}  # fmt: skip
DATA_KEYS: Final = (*DATA_FILES, "classes", "eval", "results", "top", "prefix", "difficult", "outfile", "test")


@dataclass(frozen=True)
class Problem:
    """One finding; an error stops the network from being built or makes its results wrong."""

    message: str
    where: Location | None
    is_error: bool

    @property
    def severity(self) -> str:
        return "error" if self.is_error else "warning"

    def __str__(self) -> str:
        """One line, as compilers write it: file:line: severity: message."""
        return f"{self.where}: {self.severity}: {self.message}" if self.where else f"{self.severity}: {self.message}"

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values; `line` is None where the whole file is meant."""
        file, line = self.where or (None, None)
        return {"severity": self.severity, "file": file, "line": line or None, "message": self.message}


def check(cfg: str | Path, weights: str | Path | None = None, data: str | Path | None = None) -> list[Problem]:
    """Everything wrong with these files, by file and line; empty where all is well.

    Files that cannot be read are findings too; nothing is raised for them.
    """
    problems = _Problems()
    outline = None
    with problems.caught():
        outline = _Outline(read(cfg), problems)
    graph = None
    if outline is not None:
        graph = outline.graph(str(cfg))
        _check_training(outline, problems)
        _check_heads(outline, problems)
        _check_named_files(outline, problems)
    if outline is not None and graph is not None:
        _check_input_size(outline, graph, problems)
        if outline.whole:
            _check_uses(graph, problems)
    if weights is not None and graph is not None and outline is not None:
        _check_weights(weights, graph, problems, whole=outline.whole)
    if data is not None:
        _check_data(data, outline, problems)
    return problems.in_order(str(cfg), str(data), str(weights))


class _Problems:
    """Collects problems, each once."""

    def __init__(self) -> None:
        self.found: dict[Problem, None] = {}

    def error(self, message: str, where: Location | None) -> None:
        self.found[Problem(message, where, is_error=True)] = None

    def warning(self, message: str, where: Location | None) -> None:
        self.found[Problem(message, where, is_error=False)] = None

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
        """Collect the error that ends a block too; `where` is the place of one that does not know its own."""
        try:
            with self.warned():
                yield
        except CfgError as error:
            self.error(_bare(error, error.where), error.where or where)
        except WeightsError as error:
            self.error(_bare(error, where), where)

    def salvaged(self, make: Callable[[Section], T], section: Section) -> T | None:
        """What `make` makes of a section without the keys that it cannot read; each of them is an error."""
        while True:
            try:
                with self.warned():
                    return make(section)
            except CfgError as error:
                bad = next((entry.key for entry in section.entries if entry.where == error.where), None)
                self.error(_bare(error, error.where), error.where)
                if bad is None:
                    return None
                kept = tuple(entry for entry in section.entries if entry.key != bad)
                make = _quiet_about(make, section.where)
                section = replace(section, entries=kept)

    def in_order(self, *files: str) -> list[Problem]:
        """Sorted by file, in this order, and line."""

        def place(problem: Problem) -> tuple[int, int]:
            file, line = problem.where or Location("")
            return files.index(file) if file in files else len(files), line

        return sorted(self.found, key=place)


def _bare(error: Exception, where: Location | None) -> str:
    """The message without the place that stands before it."""
    return str(error).removeprefix(f"{where}: ")
