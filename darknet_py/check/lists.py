"""Checks the lists of a .data file, and the pictures in them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from itertools import accumulate, repeat
from typing import TYPE_CHECKING, Final

from darknet_py.cfg import DataFile, read_listed, read_names
from darknet_py.check.outline import Outline
from darknet_py.check.pictures import A_CHUNK, Boxes, Classes, Listed, Look, look_at
from darknet_py.check.problems import Problems
from darknet_py.data.boxes import BOX_HEADS, box_head
from darknet_py.errors import CfgError, Location
from darknet_py.files import exists
from darknet_py.layers.base import Layer

if TYPE_CHECKING:
    from darknet_py.evaluate.reader import Progress

LISTS: Final = ("train", "valid")
SHOWN: Final = 5  # findings of one kind per list


def check_lists(data: DataFile, outline: Outline | None, problems: Problems, progress: Progress | None = None) -> None:
    """The pictures and labels of ``train=`` and ``valid=``, and pictures that are in both or twice in one."""
    lists = {key: found for key in LISTS if (found := _read(data, key, problems)) is not None}
    total = sum(len(pictures) for _, pictures in lists.values())
    done = accumulate(repeat(A_CHUNK))

    def more() -> None:
        if progress is not None:
            progress(min(next(done), total), total)

    for key, (source, pictures) in lists.items():
        _check_repeats(source, pictures, problems)
        _check_pictures(source, pictures, _look(data, outline, problems, needed=key == "train"), problems, more)
    if len(lists) == len(LISTS):
        _check_overlap(lists["train"], lists["valid"], problems)


def _read(data: DataFile, key: str, problems: Problems) -> tuple[str, list[Listed]] | None:
    """The list that a key names and its pictures; None if there is none."""
    path = data.path(key)
    if path is not None and exists(path):
        with problems.caught():
            return str(path), read_listed(path)
    return None


def _check_pictures(
    source: str, pictures: list[Listed], look: Look, problems: Problems, more: Callable[[], None]
) -> None:
    """Every picture of a list; of many findings of a kind the first, and how many there are."""
    counts: Counter[str] = Counter()
    for found in look_at(pictures, source, look, more):
        counts[found.kind] += 1
        if counts[found.kind] <= SHOWN:
            (problems.error if found.is_error else problems.warning)(found.message, found.where)
    for kind, count in counts.items():
        if count > SHOWN:
            problems.warning(f"and {count - SHOWN:,} more {kind}", Location(source))


def _look(data: DataFile, outline: Outline | None, problems: Problems, *, needed: bool) -> Look:
    """What training makes of a picture, as far as the cfg and the .data file say."""
    layer = None if outline is None else _head(outline)
    if outline is not None and layer is None and outline.classes is not None:
        labels = data.path("labels", "names")
        with problems.caught():
            return Classes(() if labels is None else read_names(labels)[: outline.classes[0]])
    if layer is not None:
        try:
            head = box_head(layer)
        except CfgError:  # which is a finding already, or concerns training alone
            return Boxes(needed=needed)
        return Boxes(head.classes, head.alone, head.most, needed)
    return Boxes(needed=needed)


def _head(outline: Outline) -> Layer | None:
    """The last layer that learns boxes."""
    known = zip(reversed(outline.layers), reversed(outline.sure), strict=True)
    return next((layer for layer, sure in known if sure and layer is not None and layer in BOX_HEADS), None)


def _check_repeats(source: str, pictures: list[Listed], problems: Problems) -> None:
    first: dict[str, int] = {}
    again = [(line, first[path]) for line, path in pictures if first.setdefault(path, line) != line]
    _report(again, f"of {source} already", source, problems)


def _check_overlap(train: tuple[str, list[Listed]], valid: tuple[str, list[Listed]], problems: Problems) -> None:
    """Pictures that are learnt and measured."""
    if _absolute(train[0]) == _absolute(valid[0]):
        problems.warning("train= and valid= are this one list", Location(valid[0]))
        return
    learnt = {_absolute(path): line for line, path in train[1]}
    both = [(line, learnt[place]) for line, path in valid[1] if (place := _absolute(path)) in learnt]
    _report(both, f"of {train[0]}, to be learnt", valid[0], problems)


def _report(pairs: list[tuple[int, int]], where: str, source: str, problems: Problems) -> None:
    """The first of pictures that are in a line and in another one, and how many there are."""
    if pairs:
        line, other = pairs[0]
        more = f"; so it is with {len(pairs) - 1:,} lines more" if len(pairs) > 1 else ""
        problems.warning(f"this picture is in line {other} {where}{more}", Location(source, line))


_absolute: Final = os.path.abspath  # resolve() asks the disk for every folder
