"""Finds files by name: those that come with the package, and those that `darknet-py download` fetched.

In the repository the former are in the top-level folders `cfg/` and `weights/`; an installed package has both here.
"""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Final

from darknet_py.errors import CfgError, DarknetError, Location
from darknet_py.files import cache_folder, exists, is_file, is_folder

_HERE: Final = Path(__file__).resolve().parent
ROOT: Final = _HERE if (_HERE / "cfg").is_dir() else _HERE.parents[1]


def find(path: str | Path, suffix: str = "") -> str | Path:
    """The file that `path` means: a file there, or else the one of this name that was installed or downloaded.

    For the suffix .cfg, `yolov2`, `yolov2.cfg` and `cfg/yolov2.cfg` name the same file. An unknown name is returned
    unchanged, so that the error shows it as it was written.
    """
    if _is_file(path):
        return path
    *folder, name = PurePath(path).parts or ("",)
    places = (place for written, place in _places() if folder in ([], [written]))
    files = (place / called for place in places for called in (name, f"{name}{suffix}"))
    return next((file for file in files if is_file(file)), path)


def find_text(path: str | Path, suffix: str) -> str | Path:
    """The same; raises `CfgError` if there is no such file but there are similar names."""
    found = find(path, suffix)
    if found is path and not exists(path) and (hint := near(path, suffix)):
        raise CfgError(f"cannot be read: {os.strerror(errno.ENOENT)}{hint}", Location(str(path)))
    return found


def near(path: str | Path, suffix: str) -> str:
    """`; did you mean 'x'?` with similar names of files with this suffix, or nothing."""
    *folder, name = PurePath(path).parts or ("",)
    names = {file.stem for _, place in _places() for file in place.glob(f"*{suffix}")}
    close = difflib.get_close_matches(name.removesuffix(suffix)[:60], sorted(names), n=3)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close and len(folder) < 2 else ""


def is_name(path: str | Path) -> bool:
    """Whether this is only a name, such as `yolov2`: without folder and suffix, and not a file."""
    name = str(path)
    return bool(name) and PurePath(name).name == name and "." not in name and not _is_file(path)


def _is_file(path: str | Path) -> bool:
    """Whether the path exists and is not a folder."""
    return exists(path) and not is_folder(path)


def _places() -> Iterator[tuple[str, Path]]:
    """The folders whose files have names, and the prefix of each in a path."""
    yield from (("cfg", ROOT / "cfg"), ("weights", ROOT / "weights"))
    try:
        folder = cache_folder()
    except DarknetError:  # a user without a home
        return
    yield from (("", folder), ("cfg", folder / "cfg"), ("data", folder / "data"))
