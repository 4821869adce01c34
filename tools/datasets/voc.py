"""Turn the annotations of Pascal VOC into Darknet's labels and lists, with the numbers of its scripts/voc_label.py.

Usage::

    python -m tools.datasets.voc VOCdevkit [--years 2007 2012] [--sets train val test] [--names FILE] [--difficult]
        [--out FOLDER] [--force]

Labels go into VOCdevkit/VOC2007/labels/ and so on, where Darknet looks for those of pictures in JPEGImages/. Lists go
into the current folder, or FOLDER: 2007_train.txt, 2007_val.txt, 2007_test.txt, 2012_train.txt, 2012_val.txt,
train.txt with all train and val, train.all.txt with test too. Objects that are difficult are left out, as Darknet does.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from tqdm import tqdm

from darknet_py import DarknetError
from darknet_py.cfg import read_names
from darknet_py.errors import os_reason
from darknet_py.files import read_text
from tools.datasets.annotations import Output, numbers

MAX_BYTES = 16 << 20
SETS = ("train", "val", "test")
NAMES = Path(__file__).parents[2] / "cfg" / "voc.names"


class NoDocumentType(ET.TreeBuilder):
    """Builds a tree of elements, and of nothing that a document type declares."""

    def doctype(self, _name: str, _public: str, _system: str) -> None:
        raise DarknetError("it has a document type, which annotations have not")


def read_xml(path: Path) -> ET.Element:
    """The root of an annotation; raises `DarknetError` for a file that is none, or is too large."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DarknetError(f"larger than {MAX_BYTES} bytes; is this an annotation?")
    try:
        parser = ET.XMLParser(target=NoDocumentType())  # noqa: S314 - that target refuses what could be a bomb
        parser.feed(data)
        return parser.close()
    except (ET.ParseError, LookupError, ValueError) as error:
        raise DarknetError(f"this is no XML: {error}") from None


def labels(root: ET.Element, names: Sequence[str], unknown: Counter[str], *, difficult: bool) -> Iterator[str]:
    """The lines of a label file; names that are no classes are counted in `unknown`."""
    width, height = numbers([text(root, "size/width"), text(root, "size/height")], "size")
    if min(width, height) < 1:
        raise DarknetError(f"the size is {width:g} x {height:g}")
    for item in root.iter("object"):
        name = text(item, "name").strip()
        if name not in names:
            unknown[name] += 1
        elif difficult or (item.findtext("difficult") or "0").strip() != "1":
            sides = [text(item, f"bndbox/{side}") for side in ("xmin", "xmax", "ymin", "ymax")]
            yield f"{names.index(name)} {' '.join(map(str, box(numbers(sides, name), width, height)))}\n"


def box(sides: Sequence[float], width: float, height: float) -> tuple[float, float, float, float]:
    """Left, right, top, bottom in pixels from 1 to centre and size as shares of the picture, as voc_label.py does."""
    left, right, top, bottom = sides
    across, down = 1 / width, 1 / height
    return (
        ((left + right) / 2 - 1) * across, ((top + bottom) / 2 - 1) * down, (right - left) * across,
        (bottom - top) * down,
    )  # fmt: skip


def text(element: ET.Element, path: str) -> str:
    """The text below an element; raises `DarknetError` where there is none."""
    found = element.findtext(path)
    if found is None:
        raise DarknetError(f"an <{element.tag}> has no <{path}>")
    return found


def read_set(path: Path) -> list[str]:
    """The pictures that an image set lists; raises `DarknetError` for a name that leads elsewhere."""
    lines = read_text(path, MAX_BYTES).splitlines()
    found = [line.split()[0] for line in lines if line.strip()]
    wrong = next((name for name in found if Path(name).name != name or name == ".."), None)
    if wrong is not None:
        raise DarknetError(f"{path}: {wrong[:40]!r} is no name of a picture")
    return found


def convert(year: Path, listed: Path, args: argparse.Namespace, output: Output, unknown: Counter[str]) -> list[str]:
    """Write the labels of an image set; gives the paths of its pictures, without those that cannot be used."""
    pictures = []
    for name in tqdm(read_set(listed), unit="picture", desc=f"{year.name} {listed.stem}", disable=None):
        source = year / "Annotations" / f"{name}.xml"
        try:
            lines = "".join(labels(read_xml(source), args.names, unknown, difficult=args.difficult))
            output.write(year / "labels" / f"{name}.txt", lines)
        except DarknetError as error:
            output.complain(f"{source}: {error}")
        except OSError as error:
            output.complain(f"{error.filename or source}: {os_reason(error)}")
        else:
            pictures.append(str(year / "JPEGImages" / f"{name}.jpg"))
    return pictures


def run(args: argparse.Namespace) -> int:
    """Convert every set that is there; gives the exit code."""
    years = find_years(args.root, args.years)
    output, unknown = Output(force=args.force), Counter[str]()
    lists: dict[str, list[str]] = {}
    for year in years:
        for name in args.sets:
            listed = year / "ImageSets" / "Main" / f"{name}.txt"
            if listed.is_file():
                lists[f"{year.name.removeprefix('VOC')}_{name}"] = convert(year, listed, args, output, unknown)
    if not lists:
        raise DarknetError(f"{years[0] / 'ImageSets' / 'Main'} has no {', '.join(f'{name}.txt' for name in args.sets)}")
    lists["train"] = [path for name, paths in list(lists.items()) if not name.endswith("_test") for path in paths]
    lists["train.all"] = [path for name, paths in list(lists.items()) if "_" in name for path in paths]
    for name, paths in lists.items():
        path = args.out / f"{name}.txt"
        output.write(path, "".join(f"{line}\n" for line in paths))
        print(f"{path}: {len(paths)} pictures")
    if unknown:
        common = ", ".join(f"{name} ({count})" for name, count in unknown.most_common(10))
        print(f"objects of {len(unknown)} other names are left out: {common}")
    return 1 if output.problems else 0


def find_years(root: Path, wanted: Sequence[str]) -> list[Path]:
    """The folders VOC2007 and so on, in order, in a devkit or in the folder that holds it."""
    root = root.absolute()
    for devkit in (root, root / "VOCdevkit"):
        found = sorted(path for path in devkit.glob("VOC[0-9]*") if path.is_dir())
        if found:
            years = [path for path in found if not wanted or path.name.removeprefix("VOC") in wanted]
            missing = sorted(set(wanted) - {path.name.removeprefix("VOC") for path in years})
            if missing:
                raise DarknetError(f"{devkit} has no VOC{missing[0]}")
            return years
    raise DarknetError(f"{root} is no VOCdevkit: it has no folder such as VOC2007")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments and run; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.datasets.voc",
        description="Turn the annotations of Pascal VOC into Darknet's labels and lists.",
    )
    parser.add_argument("root", type=Path, metavar="VOCdevkit", help="the folder that has VOC2007, VOC2012 ... in it")
    parser.add_argument("--years", nargs="+", default=(), metavar="YEAR", help="such as 2007 2012 (default: all)")
    text = "default: train val test, where they are"
    parser.add_argument("--sets", nargs="+", default=SETS, metavar="SET", help=text)
    text = "the classes, a line each (default: the 20 of VOC)"
    parser.add_argument("--names", default=NAMES, metavar="FILE", help=text)
    parser.add_argument("--difficult", action="store_true", help="take objects that are marked as difficult too")
    parser.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="where the lists go (default: here)")
    parser.add_argument("--force", action="store_true", help="write over files that say something else")
    args = parser.parse_args(argv)
    try:
        args.names = read_names(args.names)
        return run(args)
    except (DarknetError, OSError) as error:
        print(f"voc: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
