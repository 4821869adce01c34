"""Finds all mistakes in a cfg, its weights and its .data file at once, without building the network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from darknet_py.cfg import DataFile, read
from darknet_py.cfg.dialects import chosen, named
from darknet_py.check.files import check_data, check_named_files, check_weights
from darknet_py.check.graph import check_advice, check_heads, check_input_size, check_memory, check_training, check_uses
from darknet_py.check.lists import check_lists
from darknet_py.check.outline import Outline
from darknet_py.check.problems import Problem, Problems
from darknet_py.files import exists
from darknet_py.shipped import find
from darknet_py.weights import find as find_weights

if TYPE_CHECKING:
    from darknet_py.evaluate.reader import Progress

__all__ = ["Problem", "check"]


def check(
    cfg: str | Path,
    weights: str | Path | None = None,
    data: str | Path | None = None,
    *,
    dialect: str | None = None,
    progress: Progress | None = None,
) -> list[Problem]:
    """Everything wrong with these files, by file and line; empty if nothing is.

    A file that cannot be read is a finding too, not an exception. The lists of `data` are read with all their pictures
    and labels; `progress` is called with the pictures done and in all. A cfg in a dialect that is not built has no
    other findings; `dialect` names the one to read it in, as for `Graph.read`.
    """
    cfg, data = find(cfg, ".cfg"), None if data is None else find(data, ".data")
    weights = None if weights is None else find_weights(weights)
    problems = Problems()
    outline = None
    asked = named(dialect)
    with problems.caught():
        sections = read(cfg)
        outline = Outline(sections, problems, asked or chosen(sections))
    listed = None if data is None else check_data(data, outline, problems)
    if outline is not None:
        _check_outline(outline, str(cfg), weights, problems, trains=listed is not None and _has_list(listed))
    if listed is not None:
        check_lists(listed, outline, problems, progress)
    return problems.in_order(str(cfg), str(data), str(weights))


def _has_list(data: DataFile) -> bool:
    """Whether a .data file names an existing list to train with."""
    path = data.path("train")
    return path is not None and exists(path)


def _check_outline(
    outline: Outline, source: str, weights: str | Path | None, problems: Problems, *, trains: bool
) -> None:
    check_training(outline, problems)
    check_heads(outline, problems)
    check_named_files(outline, problems)
    graph = outline.graph(source)
    if graph is None:
        return
    check_input_size(outline, graph, problems)
    check_memory(graph, problems)
    if outline.whole:
        check_uses(graph, problems)
        check_advice(graph, problems, trains=trains)
    if weights is not None:
        check_weights(weights, graph, problems, whole=outline.whole)
