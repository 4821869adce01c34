"""Draw a data set of coloured shapes, with labels and lists as Darknet reads them.

Usage::

    python -m tools.datasets.shapes [--folder FOLDER] [--train N] [--valid N] [--size WIDTHxHEIGHT] [--seed N] [--tree]

The classes are the shapes, whatever their colour. With --tree they are the nodes of a tree, the shapes and below each
of them its colours, and the training pictures are mixed as YOLO9000's: in most of them boxes say shape and colour, in
some only the shape, and some are pictures for a classifier, with a class but no box (a label line of zeros).
Validation pictures always have boxes with all that is known. Every picture depends on the seed and its number alone.

Lists hold paths as FOLDER is written, so the default ones work in the folder this was run in, as Darknet's do.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.random import Generator
from PIL import Image
from tqdm import tqdm

from darknet_py.errors import DarknetError, os_reason
from darknet_py.files import replacing
from tools.datasets.drawing import COLOURS, SHAPES, Shape, draw, draw_one
from tools.datasets.textures import Size

SHAPE_ONLY, CLASS_ONLY = 0.2, 0.2  # of the training pictures of a tree
QUALITY: Final = (70, 96)  # of the JPEG files
SIDE: Final = (32, 4096)
MOST_PICTURES: Final = 999_999


@dataclass(frozen=True)
class Classes:
    """What the classes are: the shapes, or with `tree` the shapes and then every shape in every colour."""

    tree: bool

    @property
    def stem(self) -> str:
        """What the files of this set of classes are called."""
        return "shapes9" if self.tree else "shapes"

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each class."""
        coloured = tuple(f"{colour} {shape}" for shape in SHAPES for colour in COLOURS)
        return SHAPES + (coloured if self.tree else ())

    @property
    def lines(self) -> tuple[str, ...]:
        """The .tree file: name and parent of each class."""
        parents = [kind for kind in range(len(SHAPES)) for _ in COLOURS] if self.tree else []
        rows = zip(self.names, [-1] * len(SHAPES) + parents, strict=True)
        return tuple(f"{name.replace(' ', '-')} {parent}" for name, parent in rows)

    def label(self, shape: Shape, *, coloured: bool) -> int:
        """The class of a shape, as exact as wanted and as the classes go."""
        leaf = len(SHAPES) + shape.kind * len(COLOURS) + shape.colour
        return leaf if self.tree and coloured else shape.kind


def main(argv: Sequence[str] | None = None) -> int:
    """Write the data set; gives the exit code."""
    args = parse(argv)
    classes = Classes(args.tree)
    folder = Path(args.folder or f"data/{classes.stem}")
    try:
        lists = {part: write(folder, part, getattr(args, part), args, classes) for part in ("train", "valid")}
        data = write_data(folder, lists, classes)
    except (DarknetError, OSError) as error:
        reason = f"{error.filename}: {os_reason(error)}" if isinstance(error, OSError) else error
        print(f"shapes: {reason}", file=sys.stderr)
        return 1
    print(f"{args.train + args.valid} pictures of {len(classes.names)} classes are in {folder}; {data} names the lists")
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.datasets.shapes", description="Draw a data set of coloured shapes with Darknet labels."
    )
    parser.add_argument("--folder", help="where it goes (default: data/shapes, or data/shapes9 with --tree)")
    parser.add_argument("--train", type=count, default=8000, metavar="N", help="pictures to train on (default: 8000)")
    parser.add_argument("--valid", type=count, default=500, metavar="N", help="pictures to measure on (default: 500)")
    parser.add_argument("--size", type=size, default=(224, 224), metavar="WxH", help="of a picture (default: 224x224)")
    parser.add_argument("--seed", type=count, default=1, metavar="N", help="another seed draws other pictures")
    parser.add_argument("--tree", action="store_true", help="classes are shapes and colours in a tree")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser.parse_args(argv)


def count(text: str) -> int:
    """A number of pictures, or a seed."""
    if not re.fullmatch("[0-9]{1,6}", text):
        raise argparse.ArgumentTypeError(f"a number from 0 to {MOST_PICTURES} was expected, not {text!r}")
    return int(text)


def size(text: str) -> Size:
    """Width and height."""
    match = re.fullmatch("([0-9]{1,6})x([0-9]{1,6})", text)
    sides = tuple(map(int, match.groups())) if match else (0, 0)
    if not SIDE[0] <= min(sides) <= max(sides) <= SIDE[1]:
        raise argparse.ArgumentTypeError(f"WIDTHxHEIGHT was expected, each {SIDE[0]} to {SIDE[1]}, not {text!r}")
    return sides[0], sides[1]


def write(folder: Path, part: str, number: int, args: argparse.Namespace, classes: Classes) -> Path:
    """Write the pictures, labels and list of a part of the data set; gives the list's path."""
    images, labels = folder / "images" / part, folder / "labels" / part
    check(images, labels)
    for place in (images, labels):
        place.mkdir(parents=True, exist_ok=True)
    paths = []
    for n in tqdm(range(1, number + 1), desc=part, unit="pictures", disable=args.quiet):
        rng = np.random.default_rng((args.seed, ("train", "valid").index(part), n))
        picture, lines = sample(rng, args.size, classes, mixed=classes.tree and part == "train")
        path = images / f"{n:06d}.jpg"
        picture.save(path, quality=int(rng.integers(*QUALITY)))
        (labels / f"{n:06d}.txt").write_text("".join(lines), encoding="utf-8", newline="\n")
        paths.append(f"{path.as_posix()}\n")
    return write_text(folder / f"{part}.txt", paths)


def check(images: Path, labels: Path) -> None:
    """Raise `DarknetError` where Darknet would look for the labels in another folder (fill_truth of data.c)."""
    found = images.as_posix().replace("images", "labels", 1).replace("JPEGImages", "labels", 1)
    if found != labels.as_posix() or "\n" in found:
        raise DarknetError(f"{images.parents[1]}: Darknet would look for labels in {found!r}; choose another folder")


def sample(rng: Generator, size: Size, classes: Classes, *, mixed: bool) -> tuple[Image.Image, Iterator[str]]:
    """A picture and the lines of its label file; `mixed` as YOLO9000 mixes its training pictures."""
    kind = rng.random() if mixed else 1
    if kind < CLASS_ONLY:
        picture, shape = draw_one(rng, size)
        return picture, iter([f"{classes.label(shape, coloured=True)} 0 0 0 0\n"])
    coloured = kind >= CLASS_ONLY + SHAPE_ONLY
    picture, shapes = draw(rng, size)
    return picture, (line(classes.label(shape, coloured=coloured), shape, size) for shape in shapes)


def line(label: int, shape: Shape, size: Size) -> str:
    """Class, middle, width and height as shares of the picture."""
    left, top, right, bottom = shape.box
    width, height = size
    numbers = ((left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height)
    return f"{label} {' '.join(f'{number:.6f}' for number in numbers)}\n"


def write_data(folder: Path, lists: dict[str, Path], classes: Classes) -> Path:
    """Write names, tree and the .data file that names them all."""
    names = write_text(folder / f"{classes.stem}.names", [f"{name}\n" for name in classes.names])
    if classes.tree:
        write_text(folder / f"{classes.stem}.tree", [f"{line}\n" for line in classes.lines])
    entries = {"classes": len(classes.names), "names": names, **lists, "backup": folder / "backup"}
    return write_text(folder / f"{classes.stem}.data", [f"{key}={value}\n" for key, value in entries.items()])


def write_text(path: Path, lines: Sequence[str]) -> Path:
    """Write a small file whole."""
    with replacing(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(lines)
    return path


if __name__ == "__main__":
    sys.exit(main())
