"""`detector calc_anchors`."""

from __future__ import annotations

import json
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from darknet_py.cli.options import Verb, cfg_arguments, count, option, switch
from darknet_py.cli.output import bar, complain
from darknet_py.errors import CfgError, DarknetError, Location

if TYPE_CHECKING:
    from torch import Tensor

    from darknet_py.data.anchors import Anchors

SIZE, STRIDE, NUM = 416, 32, 5
SHOWN = 10  # problems with label files


@dataclass(frozen=True)
class _Head:
    """The target of anchors: `scale` converts fractions of a picture to the units of the layer."""

    scale: tuple[int, int]
    units: str
    num: int = NUM
    anchors: tuple[tuple[float, float], ...] = ()


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", help="the .data file; boxes come from the labels of its train list")
    text = "gives the input size, the units and the number of anchors; its own anchors are measured too"
    parser.add_argument("cfg", metavar="CFG", nargs="?", help=text)
    option(parser, "num", count, None, f"how many anchors (default: as many as the cfg has, or {NUM})")
    option(parser, "width", count, None, f"of the network's input (default: the cfg's, or {SIZE})")
    option(parser, "height", count, None, f"of the network's input (default: the cfg's, or {SIZE})")
    for name, original in (("num", "num_of_clusters"), ("width", "W"), ("height", "H")):
        parser.add_argument(f"-{original}", type=count, dest=name, default=SUPPRESS, help=SUPPRESS)
    parser.add_argument("-show", action="store_true", help=SUPPRESS)  # AlexeyAB's, which opens a window
    distances = parser.add_mutually_exclusive_group()
    for name, text in (("iou", "k-means with the distance 1 - IOU (default)"), ("sse", "with the squared distance")):
        distances.add_argument(f"--{name}", action="store_const", const=name, dest="distance", help=text)
    parser.set_defaults(distance="iou")
    switch(parser, "pixels", "without CFG: anchors in pixels of the input, as for [yolo], not in cells of 32 pixels")
    option(parser, "anchors", _numbers, None, "only say how well these fit, such as 1.3,1.7,3.2,4.0")
    switch(parser, "table", "the YOLO9000 paper's table: k-means of 5 and 9, and the 9 boxes of Faster R-CNN")
    text = "WIDTHxHEIGHT of the pictures, for the boxes of Faster R-CNN, which are in pixels (default: 500x375, as VOC)"
    option(parser, "picture", _size, None, text)
    option(parser, "seed", int, 0, "of the random start (default: 0)")
    parser.add_argument("--boxes-from", metavar="LIST", help="a list of pictures in place of the train list")
    cfg_arguments(parser)
    switch(parser, "json", "print JSON")


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.replace(",", " ").split())
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no list of numbers") from None


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ArgumentTypeError(f"{text!r} is no size such as 500x375")
    return int(width), int(height)


def _calc_anchors(args: Namespace) -> int:
    import torch

    head = _head(args)
    shares, files = _read(args)
    scale = torch.tensor(head.scale, dtype=torch.float32)
    sizes = shares * scale
    found = list(_found(args, head, sizes, scale))
    if args.json:
        facts = {"boxes": len(sizes), "pictures": files, "units": head.units, "scale": head.scale}
        print(json.dumps({**facts, "results": [row.as_dict() for row in found]}))
        return 0
    grid = f"cells of {head.scale[0]} x {head.scale[1]}" if head.units == "cells" else "pixels"
    print(f"{len(sizes)} boxes in {files} pictures; anchors in {grid}")
    if args.table:
        print(f"\n{'Box Generation':<16}{'#':>3}{'Avg IOU':>10}")
        print("\n".join(f"{row.name:<16}{len(row.boxes):>3}{row.average_iou * 100:>10.1f}" for row in found))
    else:
        print("\n".join(line for row in found for line in _lines(row)))
    return 0


def _head(args: Namespace) -> _Head:
    """Units and number of anchors, from the cfg if there is one."""
    if args.cfg is None:
        width, height = args.width or SIZE, args.height or SIZE
        return _Head((width, height), "pixels") if args.pixels else _cells(width, height, STRIDE, STRIDE)
    from darknet_py.network.graph import Graph

    graph = Graph.read(args.cfg, strict=args.strict, dialect=args.dialect)
    if not graph.grids:
        raise CfgError("there is no [region] and no [yolo], so it needs no anchors", Location(args.cfg))
    index, layer = next(iter(graph.grids.items()))
    net, grid = graph.net, graph.nodes[index].shape
    width, height = args.width or net.width, args.height or net.height
    if layer.coder.unit == "pixels":
        return _Head((width, height), "pixels", layer.num, layer.all_anchors)
    cells = _cells(width, height, net.width // grid.w, net.height // grid.h)
    return _Head(cells.scale, cells.units, layer.num, layer.all_anchors)


def _cells(width: int, height: int, across: int, down: int) -> _Head:
    if width < across or height < down:
        raise DarknetError(f"an input of {width} x {height} has no cell of {across} x {down} pixels")
    return _Head((width // across, height // down), "cells")


def _read(args: Namespace) -> tuple[Tensor, int]:
    """The sizes of all boxes as fractions of their pictures, and the number of pictures; problems go to stderr."""
    from darknet_py.cfg import find_file, read_data, read_list
    from darknet_py.data.anchors import label_sizes

    data = read_data(args.data)
    listed = data.path("train") if args.boxes_from is None else find_file(args.boxes_from, args.data)
    if listed is None:
        raise CfgError("there is no train list in it; name one with --boxes-from", Location(args.data))
    problems: list[str] = []
    pictures = bar(read_list(listed), unit="picture", disable=True if args.json else None, desc="labels")
    sizes, files = label_sizes(pictures, str(listed), problems.append)
    for problem in problems[:SHOWN]:
        complain(problem)
    if len(problems) > SHOWN:
        complain(f"and {len(problems) - SHOWN} problems more with label files, which are left out")
    if not len(sizes):
        raise CfgError("the labels of these pictures have no boxes", Location(str(listed)))
    return sizes, files


def _found(args: Namespace, head: _Head, sizes: Tensor, scale: Tensor) -> Iterator[Anchors]:
    from darknet_py.data import anchors

    def fit(name: str, boxes: Tensor) -> Anchors:
        return anchors.Anchors(name, boxes, anchors.average_iou(sizes, boxes))

    if args.anchors is not None:
        yield fit("Given anchors", anchors.pairs(args.anchors))
        return
    if args.table:
        hand_made = anchors.faster_rcnn(args.picture or anchors.VOC_PICTURE)
        yield from anchors.table(sizes, hand_made * scale, seed=args.seed)
        return
    if head.anchors:
        yield fit(f"Anchors of {args.cfg}", anchors.pairs([side for box in head.anchors for side in box]))
    yield anchors.cluster(sizes, args.num or head.num, distance=args.distance, seed=args.seed)


def _lines(row: Anchors) -> Iterator[str]:
    ending = "converged" if row.converged else "stopped"
    how = f" ({ending}, {row.rounds} rounds)" if row.rounds else ""
    yield f"{row.name}, {len(row.boxes)} anchors: avg IOU {row.average_iou * 100:.2f} %{how}"
    if row.rounds:
        yield f"anchors = {', '.join(f'{width:.5g},{height:.5g}' for width, height in row.boxes.tolist())}"


VERBS = {"detector calc_anchors": Verb("anchors that fit the boxes of a data set", _arguments, _calc_anchors)}
