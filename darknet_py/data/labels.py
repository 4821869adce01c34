"""Darknet's label files: finding that of a picture, and reading it.

A line is an object: its class, and x, y, w, h of its box, centre and size as fractions of the picture. Zeros for the
box mean that the class is somewhere in the picture. An empty file means a picture without objects.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from darknet_py.errors import CfgError, Location
from darknet_py.files import exists, read_text

Rows: TypeAlias = "npt.NDArray[np.float64]"
Flags: TypeAlias = "npt.NDArray[np.bool_]"

MAX_BYTES: Final = 64 << 20  # a million lines of five long numbers
A_PART: Final = 1 << 16  # letters
LINES: Final = 10_000  # at a time
FARTHEST: Final = 2.0  # larger values are taken for pixels
MOST: Final = 2**24  # classes that a float32 can count
SHOWN: Final = 10  # problems of one file that are listed
# data.c: the first occurrence of each, in this order.
_REPLACED: Final = (
    ("images", "labels"),
    ("JPEGImages", "labels"),
    ("raw", "labels"),
    (".jpg", ".txt"),
    (".png", ".txt"),
    (".JPG", ".txt"),
    (".JPEG", ".txt"),
)
_FOLDERS: Final = re.compile(r"(^|[/\\])(?:images|JPEGImages|raw)(?=[/\\])")


class LabelError(CfgError):
    """A label file that cannot be used; `problems` has one line per mistake."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__(problems[0])


@dataclass(frozen=True, eq=False)
class Labels:
    """The objects on a picture."""

    label: Tensor  # (N,) int64
    boxes: Tensor  # (N, 4) float32: x, y, w, h as shares of the picture; zeros where only the class is known

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, which: Tensor) -> Labels:
        """Some of them, by their numbers (K,) or a mask (N,)."""
        return Labels(self.label[which], self.boxes[which])

    @property
    def placed(self) -> Tensor:  # (N,) bool
        """Which have a box."""
        return (self.boxes[:, :2] != 0).any(1)

    @classmethod
    def none(cls) -> Labels:
        """Those of a picture of nothing."""
        return cls(torch.empty(0, dtype=torch.int64), torch.empty(0, 4, dtype=torch.float32))


def label_path(picture: str) -> str:
    """Where the labels of a picture are: for images/x.jpg in labels/x.txt.

    Darknet replaces the first images, JPEGImages, raw and suffix anywhere in the path. If there is no such file, the
    last folder of one of those names counts (Darknet looks for drawing.jpg in dlabelsing.txt), and then images/x.txt,
    beside the picture.
    """
    places = label_places(picture)
    as_darknet = next(places)
    if exists(as_darknet):
        return as_darknet
    return next(filter(exists, places), as_darknet)


def label_places(picture: str) -> Iterator[str]:
    """The paths where the labels of a picture are looked for, Darknet's first."""
    as_darknet = picture
    for old, new in _REPLACED:
        as_darknet = as_darknet.replace(old, new, 1)
    yield _with_txt(as_darknet)
    *_, last = [None, *_FOLDERS.finditer(picture)]
    if last is not None:
        yield _with_txt(f"{picture[: last.end(1)]}labels{picture[last.end() :]}")
    yield _with_txt(picture)


def unlabelled(picture: str) -> str:
    """A message about a picture without a label file."""
    return " or ".join(dict.fromkeys((next(label_places(picture)), _with_txt(picture))))


def read_labels(path: str | Path, classes: int = MOST, *, alone: int | None = None) -> Labels:
    """Read a label file.

    The class of a box is below `classes`, that of a line of zeros below `alone`, which is `classes` if None; with 0 no
    such line is allowed. Raises `LabelError` if a line is not five numbers or one of them is impossible, and `CfgError`
    if the file cannot be read at all.
    """
    allowed = Allowed(classes, classes if alone is None else alone)
    text = read_text(path, MAX_BYTES)
    parts = [np.empty((0, 5), np.float64)]
    for part in _parts(text):
        rows = _rows(part)
        if rows is None or not allowed.fit(rows).all():
            raise LabelError(*_problems(text.split("\n"), allowed, str(path)))
        parts.append(rows)
    table = np.concatenate(parts)
    return Labels(torch.from_numpy(table[:, 0].astype(np.int64)), torch.from_numpy(table[:, 1:].astype(np.float32)))


def _rows(part: str) -> Rows | None:
    """The five numbers of every line, or None if a line is something else."""
    try:  # numpy is fast, except for a few lines, and accepts fewer ways to write a number
        rows = _by_lines(part) if len(part) < A_PART else np.loadtxt(StringIO(part), comments=None, ndmin=2)
    except ValueError:
        rows = _by_lines(part)
    return rows if rows is not None and rows.shape[1] == 5 else None


def _parts(text: str) -> Iterator[str]:
    """A text in pieces of whole lines without blank pieces: numpy needs much memory per piece."""
    at = 0
    while at < len(text):
        end = text.find("\n", at + A_PART) + 1 or len(text)
        if part := text[at:end].strip():
            yield part
        at = end


def _by_lines(text: str) -> Rows | None:
    found = [_five(line) for line in text.split("\n") if line.strip()]
    return None if None in found else np.array(found, np.float64).reshape(-1, 5)


def _five(line: str) -> list[float] | None:
    """The five numbers of a line, or None if it is something else."""
    try:
        numbers = list(map(float, line.split()))
    except ValueError:
        return None
    return numbers if len(numbers) == 5 else None


@dataclass(frozen=True)
class Allowed:
    """Which labels are allowed."""

    classes: int
    alone: int  # classes that lines of zeros may have; 0 for none

    def fit(self, rows: Rows) -> Flags:
        """Which rows can be used."""
        return self._known(rows) & self._possible(rows) & self._placed(rows)

    def fault(self, words: list[str]) -> str | None:
        """Why a line cannot be used, or None."""
        expected = "class x y w h were expected, five numbers"
        if len(words) != 5:
            return f"{expected}, but there are {len(words)}"
        try:
            row = np.array([[float(word) for word in words]])
        except ValueError:
            return f"{expected}, not {' '.join(words)[:60]!r}"
        if not self._known(row).all():
            return f"the class is {words[0][:20]}, and has to be an integer from 0 to {int(self._classes(row)[0]) - 1}"
        if not self._possible(row).all():
            return f"x y w h have to be shares of the picture, from 0 to 1, not {' '.join(words[1:])[:60]}"
        if not self._placed(row).all():
            return "zeros for a box, that is a class without a place, can be learnt only by a [region] with a tree"
        return None

    def _known(self, rows: Rows) -> Flags:
        label = rows[:, 0]
        return (label >= 0) & (label < self._classes(rows)) & (label == np.floor(label))

    def _classes(self, rows: Rows) -> Rows:
        return np.where(_has_box(rows) | (not self.alone), self.classes, self.alone)

    def _possible(self, rows: Rows) -> Flags:
        return np.logical_and.reduce((rows[:, 1:] >= (-FARTHEST, -FARTHEST, 0, 0)) & (rows[:, 1:] <= FARTHEST), 1)

    def _placed(self, rows: Rows) -> Flags:
        return _has_box(rows) | (self.alone > 0)


def _has_box(rows: Rows) -> Flags:
    return (rows[:, 1] != 0) | (rows[:, 2] != 0)


def _with_txt(path: str) -> str:
    root, suffix = os.path.splitext(path)  # noqa: PTH122 - paths stay strings, as lists are long
    return path if suffix == ".txt" else f"{root}.txt"


def _problems(lines: list[str], allowed: Allowed, source: str) -> list[str]:
    """The mistakes, one text per line of the file, up to `SHOWN`."""
    bad: list[int] = []
    for start in range(0, len(lines), LINES):
        filled = [number for number, line in enumerate(lines[start : start + LINES], start) if line.strip()]
        rows = np.array([_five(lines[number]) or [np.nan] * 5 for number in filled], np.float64).reshape(-1, 5)
        bad += np.array(filled, int)[~allowed.fit(rows)].tolist()
    found = [f"{Location(source, number + 1)}: {allowed.fault(lines[number].split())}" for number in bad[:SHOWN]]
    return [*found, f"{source}: and {len(bad) - SHOWN} lines more"] if len(bad) > SHOWN else found
