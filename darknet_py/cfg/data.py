"""The small text files around a cfg: .data, .names and lists of paths."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from darknet_py.cfg.grammar import parse_data, read_text
from darknet_py.cfg.keys import integer
from darknet_py.cfg.section import Entry
from darknet_py.errors import CfgError, Location
from darknet_py.shipped import find, find_text

LIST_BYTES = 1 << 30  # a list of ten million pictures


@dataclass(frozen=True)
class DataFile:
    """A .data file: where names, lists and results are. Paths stay as they are written; `path` finds them."""

    source: str
    entries: tuple[Entry, ...] = field(repr=False)

    def get(self, key: str, default: str | None = None) -> str | None:
        """The value of `key`; where it is given twice, the first."""
        return next((entry.value for entry in self.entries if entry.key == key), default)

    def integer(self, key: str, default: int) -> int:
        """The value of `key` as atoi reads it; raises `CfgError` where it is no number."""
        entry = next((entry for entry in self.entries if entry.key == key), None)
        if entry is None:
            return default
        try:
            return integer(entry.value)
        except ValueError as error:
            raise CfgError(f"{entry}: {error} was expected", entry.where) from None

    def path(self, *keys: str) -> Path | None:
        """The file that the first of `keys` that is there names, or None where none is."""
        value = next((value for key in keys if (value := self.get(key))), None)
        return None if value is None else find_file(value, self.source)

    def names(self) -> tuple[str, ...]:
        """The class names: the lines of the file under `names`, or else `labels`; none where neither is there."""
        path = self.path("names", "labels")
        return () if path is None else read_names(path)


def read_data(path: str | Path) -> DataFile:
    """Read a .data file, or the one that comes under this name."""
    path = find_text(path, ".data")
    return DataFile(str(path), parse_data(read_text(path), str(path)))


def read_names(path: str | Path) -> tuple[str, ...]:
    """The lines of a .names file, or of the one that comes under this name; a class without a name keeps its place."""
    return tuple(line.rstrip() for line in _lines(find_text(path, ".names"), 64 << 20))


def read_list(path: str | Path) -> tuple[str, ...]:
    """The paths in a list file, one a line; empty lines are passed over."""
    found = tuple(line.strip() for line in _lines(path, LIST_BYTES) if line.strip())
    if not found:
        raise CfgError("the list is empty", Location(str(path)))
    return found


def find_file(name: str, named_by: str) -> Path:
    """Where a file is that another file names.

    Darknet takes the name relative to the folder the command runs in. Where it is not there, the folder of the file
    that names it counts, and that folder's parent (`cfg/yolo9000.cfg` names `data/9k.tree`), and last the files that
    come with the package or were downloaded. A file that is in none of them is given as Darknet would open it, so that
    the error says the name that was written.
    """
    path = Path(name)
    folder = Path(named_by).resolve().parent
    candidates = (path, folder / path, folder.parent / path)
    return next((candidate for candidate in candidates if os.path.exists(candidate)), None) or Path(find(path))  # noqa: PTH110 - never raises


def _lines(path: str | Path, limit: int) -> list[str]:
    *lines, last = read_text(path, limit).replace("\r\n", "\n").split("\n")
    return [*lines, last] if last else lines
