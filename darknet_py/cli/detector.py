"""`detector test`, `detect` and `yolo test`."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darknet_py.cli.common import (
    Verb,
    asked_paths,
    complain,
    count,
    device_arguments,
    device_of,
    expand,
    fraction,
    image_arguments,
    option,
    switch,
)  # fmt: skip

if TYPE_CHECKING:
    from darknet_py.detect import Detections, Picture

COCO = "cfg/coco.data"
VOC_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def _arguments(parser: ArgumentParser, *, data: bool, thresh: float, nms: float) -> None:
    if data:
        parser.add_argument("data", metavar="DATA", help="the .data file, which names the classes")
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument("weights", metavar="WEIGHTS")
    image_arguments(parser)
    option(parser, "thresh", fraction, thresh, f"least score (default: {thresh})")
    option(parser, "hier", fraction, 0.5, "how sure a tree has to be to go into a finer class (default: 0.5)")
    option(parser, "nms", fraction, nms, f"overlap above which the lower box goes; 0 keeps all (default: {nms})")
    option(parser, "out", str, None, "where to draw: a picture, or a folder for several (default: predictions)")
    option(parser, "batch", count, None, "pictures that go through the network together")
    device_arguments(parser)
    switch(parser, "json", "print one JSON object a picture; draws only with -out")
    switch(parser, "save-labels", "write class, centre and size of each box beside the drawn picture")
    switch(parser, "crop", "write each box as a picture of its own beside the drawn picture")


def _test(args: Namespace) -> int:
    from darknet_py.cfg import read_data  # noqa: PLC0415

    return _run(args, read_data(args.data).names())


def _detect(args: Namespace) -> int:
    from darknet_py.cfg import find_file, read_data  # noqa: PLC0415

    return _run(args, read_data(find_file(COCO, args.cfg)).names())


def _yolo(args: Namespace) -> int:
    return _run(args, VOC_NAMES)


def _run(args: Namespace, names: Sequence[str]) -> int:
    from darknet_py.decode import Settings  # noqa: PLC0415
    from darknet_py.model import load  # noqa: PLC0415

    paths = expand(args.images) if args.images else None
    model = load(
        args.cfg, args.weights, names=names, device=device_of(args), strict=args.strict, partial=args.partial
    )  # fmt: skip
    detector, settings = model.detector, Settings(args.thresh, args.hier)
    output = _Output(args, model.detector.classes, several=paths is not None and len(paths) > 1)
    sources: Iterable[str] = asked_paths() if paths is None else _progress(paths, quiet=args.json)
    batch = (args.batch or model.batch) if output.several else 1
    failures = 0
    for picture in detector.detect_each(sources, settings, args.nms, batch):
        failures += not output.give(picture)
    return 1 if failures else 0


def _progress(paths: list[str], *, quiet: bool) -> Iterator[str]:
    from tqdm import tqdm  # noqa: PLC0415

    hidden = True if quiet or len(paths) < 2 else None  # None: where stderr is no terminal
    yield from tqdm(paths, unit="picture", disable=hidden)


@dataclass
class _Output:
    """Prints and writes what was found."""

    args: Namespace
    classes: int
    several: bool

    def __post_init__(self) -> None:
        self.used: set[Path] = set()

    def give(self, picture: Picture) -> bool:
        """Print and write one result; False where the picture could not be used."""
        from darknet_py.detect import Detections  # noqa: PLC0415

        path = str(picture.source)
        if picture.image is None or not isinstance(picture.found, Detections):
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
            print(f"{path}: Predicted in {picture.seconds:f} seconds.")
            for name, score in _darknet_order(picture.found):
                print(f"{name}: {score * 100:.0f}%", flush=True)
        self.write(path, picture.image, picture.found)
        return True

    def write(self, path: str, image: Any, found: Detections) -> None:
        """Draw the boxes, and write labels and crops where asked for."""
        wants_files = self.args.save_labels or self.args.crop
        if self.args.json and not (self.args.out or wants_files):
            return
        from darknet_py.draw import draw_detections  # noqa: PLC0415
        from darknet_py.files import replacing  # noqa: PLC0415
        from darknet_py.image import save, to_pil  # noqa: PLC0415

        target = self.target(path)
        if not self.args.json or self.args.out:
            drawn = draw_detections(
                image, found.boxes, found.labels, found.scores, found.names, classes=self.classes
            )  # fmt: skip
            save(drawn, target)
        if self.args.save_labels:
            with replacing(target.with_suffix(".txt"), "w", encoding="utf-8") as file:
                file.writelines(_label_lines(found))
        if self.args.crop:
            for n, (box, name) in enumerate(zip(found.boxes.tolist(), found.names, strict=True)):
                left, top, right, bottom = _inside(box, found.image_size)
                if right > left and bottom > top:
                    part = to_pil(image[:, top:bottom, left:right])
                    save(part, target.with_name(f"{target.stem}_{n}_{_plain(name)}.png"))

    def target(self, path: str) -> Path:
        """Where the drawn picture goes; among several no two get the same place."""
        out = Path(self.args.out or "predictions")
        if not self.several:
            return out if out.suffix else out.with_suffix(".png")
        out.mkdir(parents=True, exist_ok=True)
        stem, n = Path(path).stem, 1
        target = out / f"{stem}.png"
        while target in self.used:
            n += 1
            target = out / f"{stem}_{n}.png"
        self.used.add(target)
        return target


def _darknet_order(found: Detections) -> list[tuple[str, float]]:
    """Names and scores in the order the C program prints them.

    do_nms_sort sorts the boxes by one class after the other, so the last class comes first; the classes of one box
    stay together and rise.
    """
    boxes: dict[tuple[float, ...], list[tuple[int, float, str]]] = {}
    rows = zip(found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), found.names, strict=True)
    for box, label, score, name in rows:
        boxes.setdefault(tuple(box), []).append((label, score, name))
    ordered = sorted(boxes.values(), key=lambda rows: sorted(rows, reverse=True), reverse=True)
    return [(name, score) for rows in ordered for _, score, name in sorted(rows)]


def _label_lines(found: Detections) -> Iterator[str]:
    for row in found.to_dicts():
        numbers = " ".join(f"{value:.6f}" for value in row["relative_coordinates"].values())
        yield f"{row['class_id']} {numbers}\n"


def _inside(box: Sequence[float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    left, top, right, bottom = (round(value) for value in box)
    return max(left, 0), max(top, 0), min(right, size[0]), min(bottom, size[1])


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)[:80]


def _verb(text: str, run: Any, *, data: bool, thresh: float, nms: float) -> Verb:
    return Verb(text, lambda parser: _arguments(parser, data=data, thresh=thresh, nms=nms), run)


VERBS = {
    "detector test": _verb("find and draw boxes in pictures", _test, data=True, thresh=0.5, nms=0.45),
    "detect": _verb(f"the same with {COCO}", _detect, data=False, thresh=0.5, nms=0.45),
    "yolo test": _verb("the same for the first YOLO, trained on VOC", _yolo, data=False, thresh=0.2, nms=0.4),
}
