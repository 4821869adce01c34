"""Reads the small text files around a cfg: .data, .names and lists of paths."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from darknet_py.cfg.grammar import parse_data
from darknet_py.cfg.keys import integer, warn
from darknet_py.cfg.places import file_of, finder
from darknet_py.cfg.section import Entry
from darknet_py.errors import CfgError, Location
from darknet_py.files import legible, read_text
from darknet_py.shipped import find_text

LIST_BYTES = 1 << 30  # a list of ten million pictures


@dataclass(frozen=True)
class DataFile:
    """A .data file, which says where names, lists and results are. Paths stay as written; `path` finds them."""

    source: str
    entries: tuple[Entry, ...] = field(repr=False)

    def get(self, key: str, default: str | None = None) -> str | None:
        """The value of `key`; the first if it is given twice."""
        return next((entry.value for entry in self.entries if entry.key == key), default)

    def integer(self, key: str, default: int) -> int:
        """The value of `key` as atoi reads it; raises `CfgError` if it is not a number."""
        entry = next((entry for entry in self.entries if entry.key == key), None)
        if entry is None:
            return default
        try:
            return integer(entry.value, lambda problem: warn(f"{entry.key}: {problem}", entry.where))
        except ValueError as error:
            raise CfgError(f"{entry}: {error} was expected", entry.where) from None

    def path(self, *keys: str) -> Path | None:
        """The file or folder that the first given one of `keys` names, or None if none is given."""
        named = (entry for key in keys for entry in self.entries if entry.key == key)
        entry = next(named, None)
        return None if entry is None else file_of(entry)

    def names(self) -> tuple[str, ...]:
        """The names of classes: the lines of the file under `names`, or else `labels`; empty if neither is given.

        They are for display; `read_names` returns them byte for byte.
        """
        path = self.path("names", "labels")
        return () if path is None else tuple(map(legible, read_names(path)))


def read_data(path: str | Path) -> DataFile:
    """Read a .data file, or the installed one of this name."""
    path = find_text(path, ".data")
    return DataFile(str(path), parse_data(read_text(path), str(path)))


def read_names(path: str | Path) -> tuple[str, ...]:
    """The lines of a .names file, or of the installed one of this name; an empty name keeps its place."""
    return tuple(line.rstrip() for line in _lines(find_text(path, ".names"), 64 << 20))


def read_list(path: str | Path) -> tuple[str, ...]:
    """The paths in a list file, one per line; empty lines are skipped."""
    return tuple(name for _, name in _numbered(path))


def read_pictures(path: str | Path) -> list[str]:
    """The paths of the pictures in a list; a picture that is not found stays as it is written.

    Every command reads lists in this way: see `find_file`.
    """
    return [picture for _, picture in read_listed(path)]


def read_listed(path: str | Path) -> list[tuple[int, str]]:
    """The same, with the line of each picture, counted from 1."""
    find = finder(str(path))
    return [(number, find(name)) for number, name in _numbered(path)]


def _numbered(path: str | Path) -> list[tuple[int, str]]:
    lines = enumerate(_lines(path, LIST_BYTES), 1)
    found = [(number, name) for number, line in lines if (name := line.strip())]
    if not found:
        raise CfgError("the list is empty", Location(str(path)))
    return found


def _lines(path: str | Path, limit: int) -> list[str]:
    *lines, last = read_text(path, limit).split("\n")
    return [*lines, last] if last else lines
