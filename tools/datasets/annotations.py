"""Shared by the converters of annotations: places of labels, and safe writing of files."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from darknet_py import DarknetError
from darknet_py.files import replacing

PICTURES = ("images", "JPEGImages")  # folders for which labels/ stands beside them


class Output:
    """Writes text files, and counts what went wrong; with `force`, over files that have something else in them."""

    def __init__(self, *, force: bool) -> None:
        self.force, self.written, self.problems = force, 0, 0

    def write(self, path: Path, text: str) -> None:
        """Write a file that is new; raises `DarknetError` where another is there, unless it says the same."""
        data = text.encode("utf-8", "surrogateescape")
        if not self.force and path.exists():
            if path.stat().st_size == len(data) and path.read_bytes() == data:
                return
            raise DarknetError(f"{path} is there and says something else; --force writes over it")
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(data)
        self.written += 1

    def complain(self, message: object) -> None:
        """A line on stderr, above the progress bar, about one thing that cannot be used."""
        self.problems += 1
        tqdm.write(" ".join(str(message).splitlines()), file=sys.stderr)


def label_file(picture: Path) -> Path:
    """Where the labels of a picture go: into labels/ in place of the last images/ or JPEGImages/, or beside it."""
    parts = list(picture.parts)
    at = next((at for at in range(len(parts) - 2, -1, -1) if parts[at] in PICTURES), None)
    if at is not None:
        parts[at] = "labels"
    return Path(*parts).with_suffix(".txt")


def numbers(values: Sequence[object], what: str) -> list[float]:
    """Values as finite numbers; raises `DarknetError`."""
    try:
        found = [float(value) for value in values]  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        found = [math.nan]
    if not all(map(math.isfinite, found)):
        raise DarknetError(f"{what}: numbers were expected, not {', '.join(str(value)[:20] for value in values)}")
    return found
