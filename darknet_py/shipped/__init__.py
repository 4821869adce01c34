"""Files by name: those that come with the package, and those that `darknet-py download` has fetched.

In the repository the first stand in `cfg/` and `weights/` at its top; an installed package has both folders here.
"""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Final

from darknet_py.errors import CfgError, DarknetError, Location
from darknet_py.files import cache_folder

_HERE: Final = Path(__file__).resolve().parent
ROOT: Final = _HERE if (_HERE / "cfg").is_dir() else _HERE.parents[1]


def find(path: str | Path, suffix: str = "") -> str | Path:
    """The file that is meant: `path` where there is one, or else the file of this name that came or was downloaded.

    With the suffix .cfg, `yolov2`, `yolov2.cfg` and `cfg/yolov2.cfg` are names of the same file. What is no name
    comes back as it is, so that the error says what was written.
    """
    if _is_file(path):
        return path
    *folder, name = PurePath(path).parts or ("",)
    places = (place for written, place in _places() if folder in ([], [written]))
    files = (place / called for place in places for called in (name, f"{name}{suffix}"))
    return next((file for file in files if os.path.isfile(file)), path)  # noqa: PTH113 - never raises


def find_text(path: str | Path, suffix: str) -> str | Path:
    """The same; raises `CfgError` where there is no such file, but names that are like this one."""
    found = find(path, suffix)
    if found is path and not os.path.exists(path) and (hint := near(path, suffix)):  # noqa: PTH110 - never raises
        raise CfgError(f"cannot be read: {os.strerror(errno.ENOENT)}{hint}", Location(str(path)))
    return found


def near(path: str | Path, suffix: str) -> str:
    """`; did you mean 'x'?` with the names of files of this suffix that are like that of `path`, or nothing."""
    *folder, name = PurePath(path).parts or ("",)
    names = {file.stem for _, place in _places() for file in place.glob(f"*{suffix}")}
    close = difflib.get_close_matches(name.removesuffix(suffix)[:60], sorted(names), n=3)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close and len(folder) < 2 else ""


def is_name(path: str | Path) -> bool:
    """Whether it is a name alone, such as `yolov2`: without a folder, without a suffix, and no file here."""
    name = str(path)
    return bool(name) and PurePath(name).name == name and "." not in name and not _is_file(path)


def _is_file(path: str | Path) -> bool:
    """Whether something is there that can be opened, or could be if it were a file: anything but a folder."""
    return os.path.exists(path) and not os.path.isdir(path)  # noqa: PTH110, PTH112 - never raise


def _places() -> Iterator[tuple[str, Path]]:
    """The folders with files that have names, and how a path names them."""
    yield from (("cfg", ROOT / "cfg"), ("weights", ROOT / "weights"))
    try:
        folder = cache_folder()
    except DarknetError:  # a user without a home
        return
    yield from (("", folder), ("cfg", folder / "cfg"), ("data", folder / "data"))
