"""`detector valid`, `valid2` and `recall`, and `classifier valid`: compare networks with labels."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
    load_model,
    option,
    switch,
    thresh_argument,
)
from darknet_py.cli.output import (
    bar,
    complain,
)
from darknet_py.errors import CfgError, ImageError, Location

if TYPE_CHECKING:
    from darknet_py.cfg import DataFile
    from darknet_py.evaluate.measuring import Examined
    from darknet_py.evaluate.reader import Progress
    from darknet_py.evaluate.writers import Row
    from darknet_py.model import Model


def arguments(parser: ArgumentParser) -> None:
    """The arguments of every evaluation."""
    parser.add_argument("data", metavar="DATA", help="the .data file: names, and valid=, the list of pictures")
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument("weights", metavar="WEIGHTS")
    option(parser, "batch", count, None, "pictures that are computed together")
    device_arguments(parser)
    data_arguments(parser)
    engine_argument(parser)
    switch(parser, "json", "print one JSON object at the end, and no lines")


def _valid_arguments(parser: ArgumentParser) -> None:
    arguments(parser)
    decoding_arguments(parser, nms=0.45)
    thresh_argument(parser, 0.005)
    option(parser, "out", str, None, "name of the file in results=, or its start if every class has one")


def _classifier_arguments(parser: ArgumentParser) -> None:
    arguments(parser)
    option(parser, "t", count, None, "how many classes may be right (default: `top` of the .data file, or 1)")


def _valid(args: Namespace, *, flip: bool = False) -> int:
    from darknet_py.boxes.suppress import Nms
    from darknet_py.evaluate.measuring import look
    from darknet_py.evaluate.truths import valid_paths
    from darknet_py.evaluate.writers import WRITERS, Target, check_pictures

    data, model, settings = prepared(args, args.thresh)
    kind = data.get("eval", "voc")
    write = WRITERS.get(kind or "", WRITERS["voc"])
    classes = model.detector.classes if settings.map is None else len(settings.map)
    paths = valid_paths(data)
    check_pictures(kind, paths)
    target = Target(data.path("results") or Path("results"), args.out)
    tally = _Tally()
    start = time.perf_counter()
    with progress_bar(args) as progress:
        detector = replace(model.detector, as_printed=True)
        nms = Nms("class", args.nms)
        seen = look(detector, paths, settings, nms, batch=args.batch, flip=flip, progress=progress)
        files = write(tally.rows(seen), target, model.names, classes)
    seconds = time.perf_counter() - start
    if args.json:
        record = {"files": [str(path) for path in files], "pictures": tally.pictures, "detections": tally.detections}
        print(json.dumps(record | {"seconds": seconds}))
    else:
        print(f"{tally.detections} boxes in {tally.pictures} pictures: {_named(files)}")
        print(f"Total Detection Time: {seconds:f} Seconds", file=sys.stderr)
    return 1 if tally.failed else 0


class _Tally:
    """Counts pictures, and complains of those that cannot be read."""

    def __init__(self) -> None:
        self.pictures = self.detections = self.failed = 0

    def rows(self, pictures: Iterable[Examined]) -> Iterator[Row]:
        """The pictures that could be read, with their positions in the list."""
        for place, seen in enumerate(pictures):
            if isinstance(seen.found, ImageError):
                complain(seen.found)
                self.failed += 1
                continue
            self.pictures += 1
            self.detections += len(seen.found)
            yield place, seen.path, seen.found


def _named(files: list[Path]) -> str:
    return str(files[0]) if len(files) == 1 else f"{len(files)} files, {files[0]} to {files[-1].name}"


def _recall(args: Namespace) -> int:
    from darknet_py.evaluate.recall import Recall, each_recall
    from darknet_py.evaluate.truths import read_all, valid_paths

    data = _read_data(args)
    model = load_model(args, ())
    detector = model.detector
    paths = valid_paths(data)
    labels = read_all(paths, 2**24)
    failed = tell(labels.problems)
    total = Recall()
    with progress_bar(args, lines=True) as progress:
        for counts in each_recall(detector, paths, labels.tables, batch=args.batch, progress=progress):
            if isinstance(counts, ImageError):
                failed += tell((str(counts),))
                continue
            total = counts
            if not args.json:
                print(total)
    if args.json:
        print(json.dumps(total.to_dict()))
    return 1 if failed else 0


def _classifier(args: Namespace, views: str) -> int:
    from darknet_py.cfg import read_list, read_names
    from darknet_py.evaluate.classes import Accuracy, answers
    from darknet_py.evaluate.truths import valid_paths

    data = _read_data(args)
    names = data.path("labels", "names")
    if names is None:
        raise CfgError("there is no labels=, the names of classes to find in paths", Location(data.source))
    labels = read_names(names)
    classes = data.integer("classes", len(labels))
    if not 0 < classes <= len(labels):
        raise CfgError(f"classes={classes}, but {names} has {len(labels)} names", Location(data.source))
    leaves = data.path("leaves")
    classifier = load_model(args, labels, some=True).classifier
    accuracy = Accuracy(args.t or data.integer("top", 1))
    failed = 0
    with progress_bar(args, lines=True) as progress:
        found = answers(
            classifier,
            valid_paths(data),
            labels[:classes],
            top=accuracy.top,
            views=views,
            batch=args.batch,
            leaves=None if leaves is None else read_list(leaves),
            progress=progress,
        )
        for answer in found:
            if isinstance(answer, ImageError):
                failed += tell((str(answer),))
                continue
            accuracy = accuracy.plus(answer)
            if not args.json:
                if views == "single":
                    first = "".join(f"{value:f}, " for value in answer.values[:2].tolist())
                    print(f"{answer.path}, {answer.truth}, {first}")
                print(accuracy)
    if args.json:
        print(json.dumps(accuracy.to_dict()))
    return 1 if failed else 0


def prepared(args: Namespace, thresh: float) -> tuple[DataFile, Model, Any]:
    """The .data file, the network, and how to decode its outputs."""
    from darknet_py.predict.decode import Settings
    from darknet_py.tree.wordtree import read_map

    data = _read_data(args)
    path = data.path("map")
    classes = None if path is None else read_map(path)
    model = load_model(args, data, some=classes is not None and len(classes) == len(data.names()))
    if classes is not None and model.detector.tree is None:
        raise CfgError("there is a map=, but the network has no tree", Location(data.source))
    return data, model, Settings(thresh, args.hier, classes)


def _read_data(args: Namespace) -> DataFile:
    from darknet_py.cfg import read_data

    return read_data(args.data)


def tell(problems: Iterable[str]) -> int:
    """Complain of each; returns their number."""
    told = list(problems)
    for problem in told:
        complain(problem)
    return len(told)


@contextmanager
def progress_bar(args: Namespace, *, lines: bool = False) -> Iterator[Progress | None]:
    """A bar if stderr is a terminal, unless lines or JSON are printed."""
    with bar(unit="picture", disable=True if args.json or lines else None) as meter:

        def progress(done: int, total: int) -> None:
            meter.total = total
            meter.update(done - meter.n)

        yield progress


def _flipped(args: Namespace) -> int:
    return _valid(args, flip=True)


def _classifier_verb(text: str, views: str) -> Verb:
    return Verb(text, _classifier_arguments, lambda args: _classifier(args, views))


VERBS = {
    "detector valid": Verb(
        "detect in the valid= list and write results for VOC, COCO or ImageNet", _valid_arguments, _valid
    ),
    "detector valid2": Verb(
        "the same as detector valid, with each picture averaged with its mirror image", _valid_arguments, _flipped
    ),
    "detector recall": Verb("count the labelled boxes that a detected one covers", arguments, _recall),
    "classifier valid": _classifier_verb(
        "measure how often the most probable classes are right, on the middle of pictures", "single"
    ),
    "classifier valid10": _classifier_verb("the same as classifier valid with ten crops", "ten"),
    "classifier validfull": _classifier_verb("the same as classifier valid with whole pictures", "full"),
    "classifier validmulti": _classifier_verb(
        "the same as classifier valid with whole pictures in four sizes, and mirrored", "multi"
    ),
}
