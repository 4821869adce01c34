"""The validation pictures of a .data file, and their label files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from darknet_py.boxes.formats import xyxy_from_cxcywh
from darknet_py.cfg import DataFile, read_pictures
from darknet_py.data.labels import MOST, LabelError, label_path, read_labels, unlabelled
from darknet_py.errors import CfgError, DarknetError, Location, os_reason
from darknet_py.pictures.opening import Size


def valid_paths(data: DataFile) -> list[str]:
    """The paths of the pictures that ``valid=`` of a .data file lists."""
    source = data.path("valid")
    if source is None:
        raise CfgError("there is no valid=, the list of pictures to look at", Location(data.source))
    return read_pictures(source)


@dataclass(frozen=True, eq=False)
class LabelTables:
    """The label files of pictures: one table (N, 5) of class, x, y, w, h each, or None if it cannot be read."""

    tables: tuple[Tensor | None, ...]
    problems: tuple[str, ...]  # one line each


def read_all(paths: Sequence[str], classes: int, classes_of: Sequence[int] | None = None) -> LabelTables:
    """Read the label files of pictures; a picture without one has no objects.

    With `classes_of`, class n of the files becomes class `classes_of[n]`. Lines of zeros, which mean a class somewhere
    in the picture, are left out. Raises `DarknetError` if there is not a single label file.
    """
    table = None if classes_of is None else torch.tensor(classes_of, dtype=torch.int64)
    known = classes if table is None else len(table)
    tables: list[Tensor | None] = []
    problems: list[str] = []
    missing: list[str] = []
    for picture, path in zip(paths, map(label_path, paths), strict=True):
        if not os.path.exists(path):  # noqa: PTH110 - never raises
            missing.append(picture)
            tables.append(torch.empty(0, 5, dtype=torch.float32))
            continue
        try:
            rows = read_labels(path, known, alone=MOST)
        except LabelError as error:
            problems += error.problems
            tables.append(None)
        except (CfgError, OSError) as error:
            problems.append(f"{path}: {os_reason(error)}" if isinstance(error, OSError) else str(error))
            tables.append(None)
        else:
            rows = rows[(rows[:, 3:] > 0).all(1) & (rows[:, 0] < known)]
            if table is not None:
                rows[:, 0] = table[rows[:, 0].long()].to(rows.dtype)
            tables.append(rows)
    if missing and len(missing) == len(paths):
        raise DarknetError(
            f"none of the {len(paths)} pictures has a label file; the first would be {unlabelled(missing[0])}"
        )
    if missing:
        problems.append(
            f"{len(missing)} of {len(paths)} pictures have no label file, the first of them {unlabelled(missing[0])}"
        )
    return LabelTables(tuple(tables), tuple(problems))


def in_pixels(rows: Tensor, size: Size) -> tuple[Tensor, Tensor, Tensor]:  # (N, 5) -> (N,), (N, 4), (N,)
    """Classes, left, top, right, bottom in a picture of that width and height, and scores of 1."""
    boxes = rows[:, 1:].double() * torch.tensor((*size, *size), dtype=torch.float64)
    return rows[:, 0].long(), xyxy_from_cxcywh(boxes), torch.ones(len(rows), dtype=torch.float64)
