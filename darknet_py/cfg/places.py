"""Where the files are that other files name: cfg files, .data files and lists."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from darknet_py import shipped
from darknet_py.cfg.section import Entry


def find_file(name: str, named_by: str) -> Path:
    """Where a file is that another file names.

    Darknet takes the name relative to the folder the command runs in. Where it is not there, the folder of the file
    that names it counts, and that folder's parent (`cfg/yolo9000.cfg` names `data/9k.tree`). A name that is in none
    of them is looked for once more without quotes around it and with / for Windows' backslash, and last among the files
    that come with the package or were downloaded. A file that is nowhere is given as Darknet would open it, so that the
    error says the name that was written.
    """
    return Path(find_listed(name, named_by))


def find_listed(name: str, named_by: str) -> str:
    """The same for a line of a long list: it stays as it is where that is a file already."""
    return finder(named_by)(name)


def file_of(entry: Entry) -> Path:
    """Where the file is that an entry names: the value without blanks if that exists, else the value as written."""
    found = find_listed(entry.value, entry.where.file)
    if entry.original != entry.value and not _exists(found):
        found = find_listed(entry.original, entry.where.file)
    return Path(found)


def finder(named_by: str) -> Callable[[str], str]:
    """`find_listed` for many names in one file, whose folder is looked up once."""
    folders: list[str] = []

    def find(name: str) -> str:
        if _exists(name):
            return name
        if not folders:
            folder = os.path.dirname(os.path.realpath(named_by))  # noqa: PTH120
            folders.extend((folder, os.path.dirname(folder)))  # noqa: PTH120
        candidates = (place for spelling in _spellings(name) for place in (spelling, *_in(folders, spelling)))
        return next(filter(_exists, candidates), None) or os.fspath(shipped.find(name))

    return find


def _in(folders: list[str], name: str) -> Iterator[str]:
    return (os.path.join(folder, name) for folder in folders)  # noqa: PTH118


def _spellings(name: str) -> Iterator[str]:
    yield name
    bare = name.strip("\"'").replace("\\", "/")
    if bare != name:
        yield bare


_exists = os.path.exists  # which never raises
