"""Checks the pictures of a list and their labels as training and measuring read them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import current_process
from typing import Final, NamedTuple

import numpy as np
from torch.utils.data import DataLoader, Dataset

from darknet_py.data.labels import MOST, LabelError, label_path, read_labels, unlabelled
from darknet_py.errors import CfgError, ImageError, Location
from darknet_py.files import exists
from darknet_py.pictures.files import picture_file

A_CHUNK: Final = 256  # pictures
FEW: Final = 4096  # for fewer pictures other processes are not worth it
Listed = tuple[int, str]  # line in the list, and picture


class Finding(NamedTuple):
    """A mistake; many findings of one `kind` are only counted."""

    kind: str
    message: str
    where: Location
    is_error: bool


@dataclass(frozen=True)
class Boxes:
    """Checks label files for a detector."""

    classes: int = MOST
    alone: int | None = None
    most: int | None = None  # boxes per picture
    needed: bool = True  # whether every picture needs a label file

    def look(self, listed: Location, picture: str) -> Iterator[Finding]:
        path = label_path(picture)
        if not exists(path):
            missing = f"there is no label file {unlabelled(picture)}; a picture of nothing has an empty one"
            yield Finding("pictures without a label file", missing, listed, self.needed)
            return
        try:
            labels = read_labels(path, self.classes, alone=self.alone)
        except LabelError as error:
            yield from (_placed(problem, path) for problem in error.problems)
            return
        except CfgError as error:
            yield Finding("bad label files", _bare(error), error.where or Location(path), is_error=True)
            return
        beyond = np.flatnonzero((labels.boxes > 1).any(1).numpy())
        if len(beyond):
            text = f"box {beyond[0] + 1} has a value above 1: x y w h are shares of the picture"
            yield Finding("label files with values above 1", text, Location(path), is_error=False)
        if self.most is not None and len(labels) > self.most:
            text = f"{len(labels)} boxes; the network learns {self.most} of a picture, and the rest are left out"
            yield Finding("pictures with more boxes than the network learns", text, Location(path), is_error=False)


@dataclass(frozen=True)
class Classes:
    """Checks paths for a classifier."""

    labels: Sequence[str]

    def look(self, listed: Location, picture: str) -> Iterator[Finding]:
        found = [label for label in self.labels if label and label in picture]
        if not found and len(self.labels) > 1:
            text = f"{picture}: the path has none of the {len(self.labels)} names of classes in it"
            yield Finding("pictures without a class", text, listed, is_error=True)
        elif len(found) > 1:
            text = f"{picture}: the path has the names of {len(found)} classes in it: {', '.join(found[:3])}"
            yield Finding("pictures of several classes", text, listed, is_error=False)


Look = Boxes | Classes


def look_at(pictures: Sequence[Listed], source: str, look: Look, done: Callable[[], None]) -> Iterator[Finding]:
    """Open every picture, without decoding it, and read its labels; several processes share many pictures.

    `done` is called after every `A_CHUNK` pictures, and at the end of the list.
    """
    chunks = [pictures[at : at + A_CHUNK] for at in range(0, len(pictures), A_CHUNK)]
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    alone = workers == 1 or len(pictures) <= FEW or current_process().daemon  # a worker cannot start workers
    loader = DataLoader(
        _Chunks(chunks, source, look), batch_size=None, num_workers=0 if alone else workers, collate_fn=_as_it_is
    )
    for found in loader:
        yield from found
        done()


class _Chunks(Dataset[list[Finding]]):
    """The findings of a chunk of pictures."""

    def __init__(self, chunks: Sequence[Sequence[Listed]], source: str, look: Look) -> None:
        self.chunks, self.source, self.look = chunks, source, look

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, number: int) -> list[Finding]:
        return [found for line, picture in self.chunks[number] for found in self._of(line, picture)]

    def _of(self, line: int, picture: str) -> Iterator[Finding]:
        where = Location(self.source, line)
        try:
            with picture_file(picture, _quiet):
                pass
        except ImageError as error:
            yield Finding("pictures that cannot be read", str(error), where, is_error=True)
            return
        yield from self.look.look(where, picture)


def _as_it_is(found: list[Finding]) -> list[Finding]:
    return found


def _quiet(_text: str) -> None:
    """Ignore an EXIF orientation, which is not a mistake."""


def _bare(error: CfgError) -> str:
    return str(error).removeprefix(f"{error.where}: ")


def _placed(problem: str, path: str) -> Finding:
    """A line of `LabelError.problems` as a finding."""
    number, _, message = problem.removeprefix(f"{path}:").partition(": ")
    where = Location(path, int(number)) if number.isdecimal() else Location(path)
    return Finding(
        "bad lines in label files", message if where.line else problem.removeprefix(f"{path}: "), where, True
    )
