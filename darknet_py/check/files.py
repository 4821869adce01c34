"""Checks the files that belong to a cfg: .data, names, trees, maps and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from darknet_py import weights as weights_file
from darknet_py.cfg import DataFile, Entry, Section, file_of, read_data, read_names
from darknet_py.cfg.keys import nearest
from darknet_py.check.outline import Outline
from darknet_py.check.problems import Problems
from darknet_py.errors import Location
from darknet_py.network.graph import Graph
from darknet_py.tree.wordtree import WordTree, read_map

NEEDED: Final = ("names", "labels", "tree", "map")
FOR_TRAINING: Final = {"train": "training", "valid": "validation", "leaves": "validation", "backup": "training"}
KNOWN: Final = (*NEEDED, *FOR_TRAINING, "classes", "eval", "results", "top", "prefix", "difficult", "outfile", "test")


def check_named_files(outline: Outline, problems: Problems) -> None:
    """The trees and maps that a cfg names."""
    for index, layer in enumerate(outline.layers):
        for key in ("tree", "map"):
            entry = outline.sections[index + 1].find(key)
            if entry is not None and hasattr(layer, key):
                _check_file(entry, outline.classes_of(index), problems, exact=True)


def check_data(path: str | Path, outline: Outline | None, problems: Problems) -> DataFile | None:
    """Check a .data file, the files it names, and whether they fit the network; returns it if it can be read."""
    section = Section("data", (), Location(str(path)))
    stated, data = None, None
    with problems.caught():
        data = read_data(path)
        section = Section("data", data.entries, section.where)
        stated = data.integer("classes", -1)
    if not section.entries:
        return data
    _check_data_keys(section, problems)
    made = None if outline is None else outline.classes
    entry = section.find("classes")
    if entry is None or stated is None:
        stated = None if made is None else made[0]
    elif made is not None and stated != made[0]:
        problems.error(f"classes={stated}, but the network has {made[0]} ({made[1]})", entry.where)
    for key in (*NEEDED, *FOR_TRAINING):
        entry = section.find(key)
        if entry is not None:
            _check_file(entry, stated, problems, exact=key == "tree" or (outline is not None and outline.detects))
    return data


def check_weights(path: str | Path, graph: Graph, problems: Problems, *, whole: bool) -> None:
    """Check the size of a weights file and its values; for a graph that is not `whole`, only the header."""
    where = Location(str(Path(path)))
    with problems.caught(where):
        weights_file.verify(graph, path, weights_file.Reading(partial=not whole))
        if whole:
            _check_values(path, where, graph, problems)


def _check_data_keys(section: Section, problems: Problems) -> None:
    for entry in section.entries:
        first = section.find(entry.key) or entry
        if first is not entry:
            problems.warning(f"{entry} is ignored: {entry.key!r} was given in line {first.where.line}", entry.where)
        elif entry.key not in KNOWN and (meant := nearest(entry.key, KNOWN)):
            problems.warning(f"nothing reads {entry.key!r}{meant}", entry.where)
    if not (section.find("names") or section.find("labels")):
        problems.warning("there is no names=: classes go by their numbers", section.where)


def _check_file(entry: Entry, classes: int | None, problems: Problems, *, exact: bool) -> None:
    """Check that the file of an entry exists and fits the classes; without `exact` it may have more."""
    path = _find(entry)
    if path is None:
        if entry.key in NEEDED:
            problems.error(f"{entry.key}={entry.original}: it does not exist", entry.where)
        elif entry.key != "backup":  # training creates it
            problems.warning(
                f"{entry.key}={entry.original}: it does not exist; {FOR_TRAINING[entry.key]} needs it", entry.where
            )
        return
    count = None
    with problems.caught():
        count = _count(entry.key, path)
    if count is None or classes is None:
        return
    if entry.key == "map":
        if count > classes:
            problems.error(f"{path} names class {count - 1}, but there are {classes}, counted from 0", entry.where)
    elif count < classes or (exact and count > classes):
        problems.error(f"{path} has {count} entries, but there are {classes} classes", entry.where)


def _find(entry: Entry) -> Path | None:
    try:
        path = file_of(entry)
        return path if path.exists() else None
    except OSError:  # an inaccessible folder, a name that is too long
        return None


def _count(key: str, path: Path) -> int | None:
    """The number of classes in a file, or the number that its largest class implies."""
    if key == "tree":
        return len(WordTree.read(path).names)
    if key == "map":
        return max(read_map(path)) + 1
    if key in ("names", "labels"):
        names = read_names(path)
        return next((n for n in range(len(names), 0, -1) if names[n - 1]), 0)  # empty lines at the end do not count
    return None


def _check_values(path: str | Path, where: Location, graph: Graph, problems: Problems) -> None:
    bad = weights_file.not_finite(graph, path)
    if bad:
        (name, _), others = bad[0], len({layer for _, layer in bad}) - 1
        more = f", and in {others} more layers" if others else ""
        problems.warning(f"NaN or infinity in {name}{more}", where)
