"""The outputs of `detector test` and the like: their places, lines of detections, and a JSON list of all results."""

from __future__ import annotations

import json
import math
import os
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from darknet_py.predict.detections import Detections
    from darknet_py.predict.detector import Detector

Give = Callable[[int, str, "Detections"], None]


@dataclass(frozen=True)
class Places:
    """The places of drawings and the files beside them, a `folder` or a `file`, and of the list of results."""

    file: Path
    folder: Path | None
    draws: bool
    results: Path | None = None

    @classmethod
    def of(cls, args: Namespace, pictures: int) -> Places:
        """The places for a number of pictures; raises `DarknetError` or `OSError` if they cannot be written."""
        from darknet_py.files import check_folder, check_writable, clear_parts
        from darknet_py.pictures.files import format_of

        out: str | None = args.out
        results = None
        if out and out.lower().endswith(".json") and not Path(out).is_dir():
            check_writable(out)
            results, out = Path(out), None
        draws = results is None and not (args.json and out is None)
        path = Path(out or "predictions")
        in_folder = pictures > 1 or (out is not None and (out.endswith(("/", os.sep)) or path.is_dir()))
        is_device = path.exists() and not (path.is_file() or path.is_dir())
        file = path if path.suffix or in_folder or is_device else path.with_suffix(".png")
        if draws and not in_folder:
            format_of(file)
        for folder in {path if in_folder else file.parent, (results or file).parent}:
            clear_parts(folder)  # left by a killed run
        if draws or args.save_labels or args.crop:
            (check_folder if in_folder else check_writable)(path if in_folder else file)
        return cls(file, path if in_folder else None, draws, results)


@contextmanager
def result_file(path: Path | None) -> Iterator[Give]:
    """A JSON list with one object per picture, in the form of AlexeyAB's `-out`; the file appears when it is complete.

    Yields a function that takes the number, path and detections of a picture; without a `path` it does nothing.
    """
    if path is None:
        yield lambda _number, _name, _found: None
        return
    from darknet_py.files import replacing

    with replacing(path, "w", encoding="ascii") as file:
        start = "[\n"

        def give(number: int, name: str, found: Detections) -> None:
            nonlocal start
            file.write(start + json.dumps({"frame_id": number, "filename": name, "objects": _objects(found)}))
            start = ",\n"

        yield give
        file.write("\n]\n" if start == ",\n" else "[]\n")


def _objects(found: Detections) -> list[dict[str, object]]:
    return [
        {
            "class_id": row["class_id"],
            "name": row["name"],
            "relative_coordinates": {key: round(value, 6) for key, value in row["relative_coordinates"].items()},
            "confidence": round(row["confidence"], 6),
        }
        for row in found.to_dicts()
    ]


def drawing(image: Tensor, found: Detections, detector: Detector, *, boxes: bool) -> Image:
    """A picture (3, H, W) with or without its boxes."""
    from darknet_py.pictures.draw import draw_detections

    end = len(found) if boxes else 0
    return draw_detections(
        image, found.boxes[:end], found.labels[:end], found.scores[:end], detector.names, classes=detector.classes
    )


def detection_lines(found: Detections, *, boxes: bool) -> Iterator[str]:
    """Darknet's lines: name and score, and with `boxes` the edges in pixels as in AlexeyAB's -ext_output."""
    for name, score, box in zip(found.names, found.scores.tolist(), found.boxes.tolist(), strict=True):
        yield f"{name}: {score * 100:.0f}%{_placed(*box) if boxes else ''}"


def _placed(left: float, top: float, right: float, bottom: float) -> str:
    sides = {"left_x": left, "top_y": top, "width": right - left, "height": bottom - top}
    return "\t(" + "   ".join(f"{name}: {_rounded(value):4.0f}" for name, value in sides.items()) + ")"


def _rounded(value: float) -> float:
    """The nearest integer as C's round: halves away from zero, and -0 keeps its sign."""
    return math.copysign(math.floor(abs(value) + 0.5), value) if math.isfinite(value) else value
