"""Writes the result files of the C program's `detector valid`, byte for byte if the numbers are the same."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torch import Tensor

from darknet_py.boxes.formats import cxcywh_from_xyxy
from darknet_py.errors import DarknetError
from darknet_py.files import replacing
from darknet_py.predict.detections import Detections

COCO_IDS: Final = (
    *range(1, 12),
    *range(13, 26),
    27,
    28,
    *range(31, 45),
    *range(46, 66),
    67,
    70,
    *range(72, 83),
    *range(84, 91),
)
IMAGENET_CLASSES: Final = 200  # of its detection task
_NUMBER: Final = re.compile(r"\s*\d{1,18}")


@dataclass(frozen=True)
class Target:
    """Where results go: a folder, and a name (None for the C program's)."""

    folder: Path
    name: str | None = None

    def file(self, default: str, suffix: str) -> Path:
        """The path of a result file; creates the folder."""
        name = f"{default if self.name is None else self.name}{suffix}"
        if Path(name).name != name:
            raise DarknetError(f"{name!r} is no name of a file; results= of the .data file is the folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / name


Row = tuple[int, str, Detections]  # position in the list, path, detections
Writer = Callable[[Iterable[Row], Target, Sequence[str], int], list[Path]]


def write_voc(rows: Iterable[Row], target: Target, names: Sequence[str], classes: int) -> list[Path]:
    """One file per class, one line per box: picture, score, left, top, right, bottom, counted from 1."""
    if len(names) < classes:
        raise DarknetError(f"there are {len(names)} names for {classes} classes, and every class has a file")
    names = names[:classes]
    twice = next((name for n, name in enumerate(names) if name in names[:n]), None) if classes < 1000 else None
    if twice is not None:
        raise DarknetError(f"two classes are named {twice!r}, and every class has a file")
    paths = [target.file("comp4_det_test_", f"{name}.txt") for name in names]
    lines = [io.StringIO() for _ in names]
    for _, path, found in rows:
        stem = Path(path).name.split(".")[0]
        for label, score, edges in zip(*_numbers(found, 1), strict=True):
            lines[label].write(f"{stem} {score:f} {edges[0]:f} {edges[1]:f} {edges[2]:f} {edges[3]:f}\n")
    for place, text in zip(paths, lines, strict=True):
        with replacing(place, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text.getvalue())
    return paths


def write_coco(rows: Iterable[Row], target: Target, _names: Sequence[str], classes: int) -> list[Path]:
    """A JSON list of boxes: left, top, width, height; the number of a picture is the last one in its name."""
    if classes > len(COCO_IDS):
        raise DarknetError(f"COCO has {len(COCO_IDS)} classes, and this network {classes}")
    path = target.file("coco_results", ".json")
    with replacing(path, "w", encoding="utf-8") as file:
        before = "[\n"
        for _, picture, found in rows:
            number = coco_number(picture)
            for label, score, (left, top, right, bottom) in zip(*_numbers(found, 0), strict=True):
                box = f"{left:f}, {top:f}, {right - left:f}, {bottom - top:f}"
                file.write(
                    f'{before}{{"image_id":{number}, "category_id":{COCO_IDS[label]}, "bbox":[{box}], '
                    f'"score":{score:f}}}'
                )
                before = ",\n"
        file.write("[\n]\n" if before == "[\n" else "\n]\n")
    return [path]


def write_imagenet(rows: Iterable[Row], target: Target, _names: Sequence[str], _classes: int) -> list[Path]:
    """One file, one line per box: the picture's position in the list, class from 1, score, left, top, right, bottom."""
    path = target.file("imagenet-detection", ".txt")
    with replacing(path, "w", encoding="utf-8") as file:
        for place, _, found in rows:
            for label, score, edges in zip(*_numbers(found, 0), strict=True):
                if label < IMAGENET_CLASSES:
                    numbers = f"{edges[0]:f} {edges[1]:f} {edges[2]:f} {edges[3]:f}"
                    file.write(f"{place + 1} {label + 1} {score:f} {numbers}\n")
    return [path]


WRITERS: Final[dict[str, Writer]] = {"voc": write_voc, "coco": write_coco, "imagenet": write_imagenet}


def coco_number(path: str) -> int:
    """The number of a COCO picture: the part of its name after the last _, or the whole name."""
    match = _NUMBER.match(Path(path).name.rpartition("_")[2])
    if match is None:
        raise DarknetError(f"{path}: with eval=coco the name of a picture has to end in a number")
    return int(match[0])


def check_pictures(kind: str | None, paths: Sequence[str]) -> None:
    """Raise `DarknetError` if COCO's results need numbers that the pictures of a list do not have in their names."""
    if kind == "coco":
        for path in paths:
            coco_number(path)


def _numbers(found: Detections, start: int) -> tuple[list[int], list[float], list[list[float]]]:
    """Classes, scores and edges, counted from `start`, in single precision as in C."""
    boxes = cxcywh_from_xyxy(found.boxes).float().double()
    low, high = boxes[:, :2] - boxes[:, 2:] / 2 + start, boxes[:, :2] + boxes[:, 2:] / 2 + start
    limit: Tensor = boxes.new_tensor(found.image_size)
    low, high = low.float().clamp(min=start), high.float().minimum(limit.float())
    edges = [[*a, *b] for a, b in zip(low.tolist(), high.tolist(), strict=True)]
    return found.labels.tolist(), found.scores.tolist(), edges
