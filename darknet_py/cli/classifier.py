"""`classifier predict` and `classify`."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from typing import TYPE_CHECKING

from darknet_py.cli.common import (
    Verb,
    asked_paths,
    complain,
    count,
    device_arguments,
    device_of,
    expand,
    image_arguments,
    option,
    switch,
)  # fmt: skip
from darknet_py.errors import ImageError

if TYPE_CHECKING:
    from darknet_py.model import Model

IMAGENET = "cfg/imagenet1k.data"


def _predict_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", help="the .data file")
    _classify_arguments(parser)
    option(parser, "t", count, None, "how many classes to print (default: `top` of the .data file, or 1)")


def _classify_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument("weights", metavar="WEIGHTS")
    image_arguments(parser)
    device_arguments(parser)
    switch(parser, "json", "print one JSON object a picture")


def _predict(args: Namespace) -> int:
    from darknet_py.cfg import read_data  # noqa: PLC0415

    data = read_data(args.data)
    return _run(args, data.names(), args.t or data.integer("top", 1))


def _classify(args: Namespace) -> int:
    from darknet_py.cfg import find_file, read_data  # noqa: PLC0415

    data = read_data(find_file(IMAGENET, args.cfg))
    return _run(args, data.names(), 5)


def _run(args: Namespace, names: tuple[str, ...], top: int) -> int:
    from darknet_py.model import load  # noqa: PLC0415

    images: Iterable[str] = expand(args.images) if args.images else asked_paths()
    model = load(
        args.cfg, args.weights, names=names, device=device_of(args), strict=args.strict, partial=args.partial
    )  # fmt: skip
    return max([_one(model, image, top, as_json=args.json) for image in images], default=0)


def _one(model: Model, path: str, top: int, *, as_json: bool) -> int:
    start = time.perf_counter()
    try:
        found = model.classify(path, top=top)
    except ImageError as error:
        complain(error)
        if as_json:
            print(json.dumps({"filename": path, "error": str(error)}), flush=True)
        return 1
    seconds = time.perf_counter() - start
    if as_json:
        print(json.dumps({"filename": path, "classes": found.to_dicts(), "seconds": seconds}), flush=True)
        return 0
    print(f"{path}: Predicted in {seconds:f} seconds.", file=sys.stderr)
    for name, probability in zip(found.names, found.probabilities.tolist(), strict=True):
        print(f"{probability * 100:5.2f}%: {name}", flush=True)
    return 0


VERBS = {
    "classifier predict": Verb("the most probable classes of pictures", _predict_arguments, _predict),
    "classify": Verb(f"the same with {IMAGENET}, top 5", _classify_arguments, _classify),
}
