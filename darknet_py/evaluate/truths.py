"""The validation pictures of a .data file, and their label files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from darknet_py.boxes.formats import xyxy_from_cxcywh
from darknet_py.cfg import DataFile, read_pictures
from darknet_py.data.labels import MOST, LabelError, Labels, label_path, read_labels, unlabelled
from darknet_py.errors import CfgError, DarknetError, Location, os_reason
from darknet_py.files import exists
from darknet_py.pictures.opening import Size


def valid_paths(data: DataFile) -> list[str]:
    """The paths of the pictures that ``valid=`` of a .data file lists."""
    source = data.path("valid")
    if source is None:
        raise CfgError("there is no valid=, the list of pictures to look at", Location(data.source))
    return read_pictures(source)


@dataclass(frozen=True, eq=False)
class LabelTables:
    """The labels of pictures, or None where a label file cannot be read."""

    tables: tuple[Labels | None, ...]
    problems: tuple[str, ...]  # one line each


def read_all(paths: Sequence[str], classes: int, classes_of: Sequence[int] | None = None) -> LabelTables:
    """Read the label files of pictures; a picture without one has no objects.

    With `classes_of`, class n of the files becomes class `classes_of[n]`. Lines of zeros, which mean a class somewhere
    in the picture, are left out. Raises `DarknetError` if there is not a single label file.
    """
    table = None if classes_of is None else torch.tensor(classes_of, dtype=torch.int64)
    known = classes if table is None else len(table)
    tables: list[Labels | None] = []
    problems: list[str] = []
    missing: list[str] = []
    for picture, path in zip(paths, map(label_path, paths), strict=True):
        if not exists(path):
            missing.append(picture)
            tables.append(Labels.none())
            continue
        try:
            labels = read_labels(path, known, alone=MOST)
        except LabelError as error:
            problems += error.problems
            tables.append(None)
        except (CfgError, OSError) as error:
            problems.append(f"{path}: {os_reason(error)}" if isinstance(error, OSError) else str(error))
            tables.append(None)
        else:
            labels = labels[(labels.boxes[:, 2:] > 0).all(1) & (labels.label < known)]
            tables.append(labels if table is None else Labels(table[labels.label], labels.boxes))
    if missing and len(missing) == len(paths):
        raise DarknetError(
            f"none of the {len(paths)} pictures has a label file; the first would be {unlabelled(missing[0])}"
        )
    if missing:
        problems.append(
            f"{len(missing)} of {len(paths)} pictures have no label file, the first of them {unlabelled(missing[0])}"
        )
    return LabelTables(tuple(tables), tuple(problems))


def in_pixels(labels: Labels, size: Size) -> tuple[Tensor, Tensor, Tensor]:  # -> (N,), (N, 4), (N,)
    """Classes, left, top, right, bottom in a picture of that width and height, and scores of 1."""
    boxes = labels.boxes.double() * torch.tensor((*size, *size), dtype=torch.float64)
    return labels.label, xyxy_from_cxcywh(boxes), torch.ones(len(labels), dtype=torch.float64)
