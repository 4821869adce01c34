"""Darknet's text files. Needs no torch."""

from __future__ import annotations

from pathlib import Path

from darknet_py.cfg.data import DataFile, find_file, read_data, read_list, read_names
from darknet_py.cfg.grammar import parse, read_text
from darknet_py.cfg.section import Entry, Section
from darknet_py.cfg.writer import dumps

__all__ = [
    "DataFile", "Entry", "Section", "dumps", "find_file", "parse", "read", "read_data", "read_list", "read_names",
]  # fmt: skip


def read(path: str | Path) -> tuple[Section, ...]:
    """Read and parse a cfg file."""
    return parse(read_text(path), str(path))
