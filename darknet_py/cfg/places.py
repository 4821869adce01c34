"""Finds the files that cfg files, .data files and lists name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from darknet_py import shipped
from darknet_py.cfg.section import Entry
from darknet_py.files import exists


def find_file(name: str, named_by: str) -> Path:
    """The path of a file that another file names.

    Darknet takes the name relative to the current folder. If it is not there, the folder of the naming file and that
    folder's parent are tried (`cfg/yolo9000.cfg` names `data/9k.tree`), then the same without quotes around the name
    and with / for Windows' backslash, and last the files that were installed or downloaded. A file that is not found is
    returned as Darknet would open it, so that the error shows the name as written.
    """
    return Path(find_listed(name, named_by))


def find_listed(name: str, named_by: str) -> str:
    """The same for a line of a long list, which stays as it is if it is a file."""
    return finder(named_by)(name)


def file_of(entry: Entry) -> Path:
    """The file of an entry: its value without blanks if that exists, otherwise as written."""
    found = find_listed(entry.value, entry.where.file)
    if entry.original != entry.value and not exists(found):
        found = find_listed(entry.original, entry.where.file)
    return Path(found)


def finder(named_by: str) -> Callable[[str], str]:
    """`find_listed` for many names in one file, with one look at its folder."""
    folders: list[str] = []

    def find(name: str) -> str:
        if exists(name):
            return name
        if not folders:
            folder = os.path.dirname(os.path.realpath(named_by))  # noqa: PTH120 - names stay strings, as lists are long
            folders.extend((folder, os.path.dirname(folder)))  # noqa: PTH120 - as above
        candidates = (place for spelling in _spellings(name) for place in (spelling, *_in(folders, spelling)))
        return next(filter(exists, candidates), None) or os.fspath(shipped.find(name))

    return find


def _in(folders: list[str], name: str) -> Iterator[str]:
    return (os.path.join(folder, name) for folder in folders)  # noqa: PTH118 - as above


def _spellings(name: str) -> Iterator[str]:
    yield name
    bare = name.strip("\"'").replace("\\", "/")
    if bare != name:
        yield bare
