"""`detector test`, `detect` and `yolo test`."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darknet_py.cli.options import (
    Verb,
    count,
    data_arguments,
    decoding_arguments,
    device_arguments,
    engine_argument,
    image_arguments,
    load_model,
    option,
    switch,
    thresh_argument,
)
from darknet_py.cli.output import complain
from darknet_py.cli.paths import image_paths, progress, sources
from darknet_py.cli.results import Give, Places, detection_lines, drawing, result_file
from darknet_py.errors import ImageError, NamesError

if TYPE_CHECKING:
    from darknet_py.cfg import DataFile
    from darknet_py.predict.detections import Detections
    from darknet_py.predict.detector import Detector
    from darknet_py.predict.stream import Picture

COCO = "cfg/coco.data"
VOC_NAMES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


def _arguments(parser: ArgumentParser, *, data: bool, thresh: float, nms: float) -> None:
    if data:
        parser.add_argument("data", metavar="DATA", help="the .data file, which names the classes")
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument("weights", metavar="WEIGHTS")
    image_arguments(parser)
    thresh_argument(parser, thresh)
    decoding_arguments(parser, nms=nms)
    text = "where to draw: a picture, or a folder (default: predictions); or FILE.json for a list of all results"
    option(parser, "out", str, None, text)
    option(parser, "batch", count, None, "pictures that are computed together")
    device_arguments(parser)
    data_arguments(parser)
    engine_argument(parser)
    switch(parser, "json", "print one JSON object per picture; draws only with -out")
    switch(parser, "save-labels", "write class, centre and size of each box beside the drawn picture", "save_labels")
    switch(parser, "crop", "write each box as a picture of its own beside the drawn picture")
    switch(parser, "ext_output", "print where the boxes are, in pixels")
    switch(parser, "dontdraw_bbox", "write the pictures without boxes")


def _test(args: Namespace) -> int:
    from darknet_py.cfg import read_data

    return _run(args, read_data(args.data))


def _detect(args: Namespace) -> int:
    from darknet_py.cfg import find_file, read_data

    return _run(args, read_data(find_file(COCO, args.cfg)), "detect")


def _yolo(args: Namespace) -> int:
    return _run(args, VOC_NAMES, "yolo test")


def _run(args: Namespace, names: Sequence[str] | DataFile, verb: str = "") -> int:
    paths = image_paths(args)
    places = Places.of(args, len(paths or ()))
    try:
        model = load_model(args, names)
    except NamesError as error:
        if not verb:
            raise
        raise NamesError(
            f"{error}; {verb!r} has names of its own: use 'detector test DATA' with those of {args.cfg}"
        ) from None
    from darknet_py.boxes.suppress import Nms
    from darknet_py.predict.decode import Settings

    detector = replace(model.detector, as_printed=not args.json)
    batch = 1 if paths is None else args.batch or model.batch
    asked, settings = sources(paths, as_json=args.json), Settings(args.thresh, args.hier)
    pictures = detector.detect_each(asked, settings, Nms("class", args.nms), batch, eager=paths is not None)
    with result_file(places.results) as record:
        output = _Output(args, detector, places, paths or (), record)
        return 1 if sum(not output.give(picture) for picture in progress(pictures, paths, quiet=args.json)) else 0


class _Output:
    """Prints and writes detections."""

    def __init__(self, args: Namespace, detector: Detector, places: Places, paths: Sequence[str], record: Give) -> None:
        self.args, self.detector, self.places, self.record = args, detector, places, record
        self.count = 0
        self.taken = {Path(path).parent.resolve() / Path(path).name for path in paths}  # never overwrite the inputs
        self.copies: Counter[Path] = Counter()

    def give(self, picture: Picture[Detections]) -> bool:
        """Print and write one result; False if the picture could not be used."""
        path = str(picture.source)
        self.count += 1
        if picture.image is None or isinstance(picture.found, ImageError):
            complain(picture.found)
            if self.args.json:
                print(json.dumps({"filename": path, "error": str(picture.found)}), flush=True)
            return False
        if self.args.json:
            width, height = picture.found.image_size
            record: dict[str, Any] = {"filename": path, "width": width, "height": height}
            record.update(objects=picture.found.to_dicts(), seconds=picture.seconds)
            print(json.dumps(record), flush=True)
        else:
            print(f"{path}: Predicted in {picture.seconds:f} seconds.", flush=True)
            for line in detection_lines(picture.found, boxes=self.args.ext_output):
                print(line, flush=True)
        self.record(self.count, path, picture.found)
        self.write(path, picture.image, picture.found)
        return True

    def write(self, path: str, image: Any, found: Detections) -> None:
        """Draw the boxes, and write labels and crops if asked for."""
        if not (self.places.draws or self.args.save_labels or self.args.crop):
            return
        from darknet_py.files import replacing
        from darknet_py.pictures.files import save, to_pil

        target = self.target(path)
        if self.places.draws:
            save(drawing(image[:3], found, self.detector, boxes=not self.args.dontdraw_bbox), target)
        if self.args.save_labels:
            with replacing(target.with_suffix(".txt"), "w", encoding="utf-8") as file:
                file.writelines(_label_lines(found))
        if self.args.crop:
            for n, (box, name) in enumerate(zip(found.boxes.tolist(), found.names, strict=True)):
                left, top, right, bottom = _inside(box, found.image_size)
                if right > left and bottom > top:
                    part = to_pil(image[:, top:bottom, left:right])
                    save(part, self.free(target.with_name(f"{target.stem}_{n}_{_plain(name)}.png")))

    def target(self, path: str) -> Path:
        """The path of the drawn picture."""
        folder = self.places.folder
        if folder is None:
            return self.places.file
        folder.mkdir(parents=True, exist_ok=True)
        return self.free(folder / f"{Path(path).stem}.png")

    def free(self, path: Path) -> Path:
        """This path, or one with a number at its end if this run has used it already."""
        path = free = path.parent.resolve() / path.name
        while free in self.taken:
            self.copies[path] += 1
            free = path.with_name(f"{path.stem}_{self.copies[path] + 1}{path.suffix}")
        self.taken.add(free)
        return free


def _label_lines(found: Detections) -> Iterator[str]:
    for row in found.to_dicts():
        numbers = " ".join(f"{value:.6f}" for value in row["relative_coordinates"].values())
        yield f"{row['class_id']} {numbers}\n"


def _inside(box: Sequence[float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    left, top, right, bottom = (round(min(max(0, value), end)) for value, end in zip(box, (*size, *size), strict=True))
    return left, top, right, bottom


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)[:80]


def _verb(text: str, run: Any, *, data: bool, thresh: float, nms: float) -> Verb:
    return Verb(text, lambda parser: _arguments(parser, data=data, thresh=thresh, nms=nms), run)


VERBS = {
    "detector test": _verb("find and draw boxes in pictures", _test, data=True, thresh=0.5, nms=0.45),
    "detect": _verb(
        f"find and draw boxes in pictures, with the names of {COCO}", _detect, data=False, thresh=0.5, nms=0.45
    ),
    "yolo test": _verb(
        "find and draw boxes in pictures with the first YOLO, trained on VOC", _yolo, data=False, thresh=0.2, nms=0.4
    ),
}
