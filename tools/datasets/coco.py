"""Turn annotations in COCO's JSON (instances_train2017.json) into Darknet's labels, a list and a .names file.

Usage::

    python -m tools.datasets.coco INSTANCES.json IMAGES [--names FILE] [--out NAME] [--crowd] [--force]

IMAGES is the folder of the pictures, such as coco/images/train2017; labels then go into coco/labels/train2017. NAME.txt
and NAME.names are written (default: the name of the JSON file, in the current folder). Classes count from 0 in the
order of the category ids, or as the lines of --names; categories that are not there are left out. Any categories will
do. Crowds are left out. A picture without objects gets an empty label file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from darknet_py import DarknetError
from darknet_py.cfg import read_names
from darknet_py.errors import os_reason
from tools.datasets.annotations import Output, label_file, numbers

MAX_BYTES = 4 << 30
Record = Mapping[str, Any]


def read_json(path: Path) -> Record:
    """The JSON file without the outlines of objects, which are most of it; raises `DarknetError` where it is none."""
    if path.stat().st_size > MAX_BYTES:
        raise DarknetError(f"{path}: larger than {MAX_BYTES} bytes; is this the right file?")
    try:
        found = json.loads(path.read_bytes(), object_hook=without_outline)
    except (ValueError, RecursionError) as error:
        raise DarknetError(f"{path}: this is no JSON: {error}") from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(found, dict) or not isinstance(found.get(key), list):
            raise DarknetError(f"{path}: there is no list under {key!r}; is this a file of instances?")
        if not all(isinstance(record, dict) for record in found[key]):
            raise DarknetError(f"{path}: not every one of {key!r} is an object")
    return found


def without_outline(record: dict[str, Any]) -> dict[str, Any]:
    """Drop the key that takes most of the memory as soon as it is read."""
    record.pop("segmentation", None)
    return record


def classes(categories: Sequence[Record], names: Sequence[str] | None) -> tuple[dict[int, int], list[str]]:
    """The class of every category id, and the class names; raises `DarknetError` for ids that are twice or missing."""
    try:
        found = {int(record["id"]): " ".join(str(record["name"]).split()) for record in categories}
    except (KeyError, TypeError, ValueError):
        raise DarknetError("a category has no id or no name") from None
    if len(found) < len(categories):
        raise DarknetError("two categories have the same id")
    if names is None:
        names = [name for _, name in sorted(found.items())]
        return {category: place for place, category in enumerate(sorted(found))}, list(names)
    places = {name: place for place, name in enumerate(names)}
    return {category: places[name] for category, name in found.items() if name in places}, list(names)


def box(values: object, width: float, height: float) -> str | None:
    """Left, top, width, height in pixels to centre and size as shares of the picture; None for a box without area."""
    if not isinstance(values, list) or len(values) != 4:
        raise DarknetError(f"a bbox of four numbers was expected, not {str(values)[:40]}")
    x, y, w, h = numbers(values, "bbox")
    if w <= 0 or h <= 0:
        return None
    return " ".join(f"{v:.6g}" for v in ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height))


def by_picture(annotations: Sequence[Record], *, crowd: bool) -> dict[object, list[Record]]:
    """The annotations of every picture id."""
    found: dict[object, list[Record]] = {}
    for record in annotations:
        picture = record.get("image_id")
        if (crowd or not record.get("iscrowd")) and isinstance(picture, (int, str)):
            found.setdefault(picture, []).append(record)
    return found


def lines(picture: Record, annotations: Sequence[Record], known: Mapping[int, int]) -> str:
    """The text of a label file."""
    width, height = numbers([picture.get("width"), picture.get("height")], "size")
    if min(width, height) < 1:
        raise DarknetError(f"the size is {width:g} x {height:g}")
    found = []
    for record in annotations:
        category = record.get("category_id")
        if isinstance(category, int) and category in known and (where := box(record.get("bbox"), width, height)):
            found.append(f"{known[category]} {where}\n")
    return "".join(found)


def picture_path(folder: Path, picture: Record) -> Path:
    """Where a picture is; raises `DarknetError` for a name that leads out of the folder."""
    name = picture.get("file_name")
    if not isinstance(name, str) or not name or "\n" in name or "\0" in name:
        raise DarknetError(f"picture {str(picture.get('id'))[:20]} has no file_name")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise DarknetError(f"the file_name {name[:60]!r} leads out of {folder}")
    return folder / path


def run(args: argparse.Namespace) -> int:
    """Convert a file of instances; gives the exit code."""
    print(f"reading {args.instances} ...", file=sys.stderr)
    data = read_json(args.instances)
    known, names = classes(data["categories"], None if args.names is None else read_names(args.names))
    annotations = by_picture(data["annotations"], crowd=args.crowd)
    output, folder = Output(force=args.force), args.images.absolute()
    listed = []
    for picture in tqdm(data["images"], unit="picture", disable=None):
        name = picture.get("file_name")
        try:
            path = picture_path(folder, picture)
            output.write(label_file(path), lines(picture, annotations.get(picture.get("id"), ()), known))
        except DarknetError as error:
            output.complain(f"{args.instances}: {name}: {error}")
        except OSError as error:
            output.complain(f"{error.filename or name}: {os_reason(error)}")
        else:
            listed.append(str(path))
    prefix = args.out or Path(args.instances.stem)
    output.write(prefix.with_name(f"{prefix.name}.txt"), "".join(f"{path}\n" for path in listed))
    if args.names is None:
        output.write(prefix.with_name(f"{prefix.name}.names"), "".join(f"{name}\n" for name in names))
    print(f"{prefix}.txt: {len(listed)} pictures, {len(names)} classes")
    return 1 if output.problems else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments and run; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.datasets.coco",
        description="Turn annotations in COCO's JSON into Darknet's labels and a list.",
    )
    parser.add_argument("instances", type=Path, metavar="INSTANCES.json")
    parser.add_argument("images", type=Path, metavar="IMAGES", help="the folder of the pictures")
    parser.add_argument("--names", metavar="FILE", help="the classes, a line each, in their order (default: by id)")
    parser.add_argument("--out", type=Path, metavar="NAME", help="NAME.txt and NAME.names are written")
    parser.add_argument("--crowd", action="store_true", help="take crowds as boxes too")
    parser.add_argument("--force", action="store_true", help="write over files that say something else")
    args = parser.parse_args(argv)
    try:
        return run(args)
    except (DarknetError, OSError) as error:
        print(f"coco: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
