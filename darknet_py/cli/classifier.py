"""`classifier predict` and `classify`."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from darknet_py.cli.options import (
    Verb,
    count,
    data_arguments,
    device_arguments,
    engine_argument,
    image_arguments,
    load_model,
    option,
    switch,
)
from darknet_py.cli.output import complain
from darknet_py.cli.paths import image_paths, progress, sources
from darknet_py.errors import ImageError

if TYPE_CHECKING:
    from darknet_py.cfg import DataFile
    from darknet_py.predict.detections import Classification
    from darknet_py.predict.stream import Picture

IMAGENET = "cfg/imagenet1k.data"


def _predict_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", help="the .data file")
    _classify_arguments(parser)
    option(parser, "t", count, None, "how many classes to print (default: `top` of the .data file, or 1)")


def _classify_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument("weights", metavar="WEIGHTS")
    image_arguments(parser)
    option(parser, "batch", count, None, "pictures that go through the network together")
    device_arguments(parser)
    data_arguments(parser)
    engine_argument(parser)
    switch(parser, "json", "print one JSON object per picture")


def _predict(args: Namespace) -> int:
    from darknet_py.cfg import read_data

    data = read_data(args.data)
    return _run(args, data, args.t or data.integer("top", 1))


def _classify(args: Namespace) -> int:
    from darknet_py.cfg import find_file, read_data

    data = read_data(find_file(IMAGENET, args.cfg))
    return _run(args, data, 5)


def _run(args: Namespace, data: DataFile, top: int) -> int:
    paths = image_paths(args)
    model = load_model(args, data)
    batch = 1 if paths is None else args.batch or model.batch
    asked = sources(paths, as_json=args.json)
    pictures = model.classifier.classify_each(asked, top, batch, eager=paths is not None)
    return 1 if sum(not _give(one, as_json=args.json) for one in progress(pictures, paths, quiet=args.json)) else 0


def _give(picture: Picture[Classification], *, as_json: bool) -> bool:
    """Print one result; False if the picture could not be used."""
    path, found = str(picture.source), picture.found
    if isinstance(found, ImageError):
        complain(found)
        if as_json:
            print(json.dumps({"filename": path, "error": str(found)}), flush=True)
    elif as_json:
        record = {"filename": path, "classes": found.to_dicts(), "seconds": picture.seconds}
        print(json.dumps(record), flush=True)
    else:
        print(f"{path}: Predicted in {picture.seconds:f} seconds.", file=sys.stderr)
        for name, probability in zip(found.names, found.probabilities.tolist(), strict=True):
            print(f"{probability * 100:5.2f}%: {name}", flush=True)
    return not isinstance(found, ImageError)


VERBS = {
    "classifier predict": Verb("the most probable classes of pictures", _predict_arguments, _predict),
    "classify": Verb(f"the same with {IMAGENET}, top 5", _classify_arguments, _classify),
}
