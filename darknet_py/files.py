"""Writing files so that nothing is lost: beside the old one, then renamed over it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def replacing(path: str | Path, mode: str = "wb", **options: Any) -> Iterator[IO[Any]]:
    """Open a new file that takes the place of `path` when the block ends without an error.

    Until then an old file stays as it is, and after an error no trace of the new one is left. A path that is no
    regular file (a pipe, /dev/stdout) is written straight.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        with path.open(mode, **options) as file:
            yield file
        return
    path = path.resolve()  # a link stays a link
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:32]}.", suffix=".part", dir=path.parent)
    except OSError as error:
        error.filename = str(path)  # not that of a temporary file nobody asked for
        raise
    try:
        with os.fdopen(handle, mode, **options) as file:
            yield file
        Path(name).chmod(permissions(path))
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def permissions(path: Path) -> int:
    """Those of the old file, or what a new file would get."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
