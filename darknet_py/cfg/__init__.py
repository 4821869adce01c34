"""Reads and writes Darknet's text files. Needs no torch."""

from __future__ import annotations

from pathlib import Path

from darknet_py.cfg.datafile import DataFile, read_data, read_list, read_listed, read_names, read_pictures
from darknet_py.cfg.grammar import parse
from darknet_py.cfg.places import file_of, find_file, find_listed
from darknet_py.cfg.section import Entry, Section
from darknet_py.cfg.writer import dumps
from darknet_py.files import read_text
from darknet_py.shipped import find_text

__all__ = [
    "DataFile", "Entry", "Section", "dumps", "file_of", "find_file", "find_listed", "parse", "read", "read_data",
    "read_list", "read_listed", "read_names", "read_pictures",
]  # fmt: skip


def read(path: str | Path) -> tuple[Section, ...]:
    """Read and parse a cfg file, or the installed one of this name."""
    path = find_text(path, ".cfg")
    return parse(read_text(path), str(path))
