"""`tree join`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from darknet_py.cli.options import Verb, count
from darknet_py.cli.output import bar, complain
from darknet_py.cli.tree import names_argument
from darknet_py.errors import DarknetError

if TYPE_CHECKING:
    from darknet_py.data.joint import LabelFinder
    from darknet_py.tree.wordtree import WordTree

SHOWN = 10  # problems to print


def _join_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("tree", metavar="TREE")
    text = "a new folder, for train.list, joint.data, labels and links to pictures"
    parser.add_argument("out", metavar="OUT", help=text)
    parser.add_argument("--detection", metavar="LIST", required=True, help="pictures with labels of boxes")
    text = "the node of each of their classes; without, the cfg needs `map=`, or the labels are nodes already"
    parser.add_argument("--map", metavar="FILE", help=text)
    parser.add_argument("--classification", metavar="LIST", required=True, help="pictures whose path names their class")
    text = "the words for the classes in these paths, one line per node (default: the names in TREE)"
    parser.add_argument("--labels", metavar="FILE", help=text)
    parser.add_argument("--labels-map", metavar="FILE", help="the node of each line of --labels")
    parser.add_argument(
        "--repeat", type=count, default=1, metavar="N", help="how many times to list the pictures with boxes"
    )
    names_argument(parser)


def _join(args: Namespace) -> int:
    from darknet_py.data.joint import join
    from darknet_py.files import replacing
    from darknet_py.tree.wordtree import WordTree, read_map

    tree = WordTree.read(args.tree)
    problems: list[str] = []
    mapping = None if args.map is None else _inside(read_map(args.map), tree, args.map)
    try:
        finder = _finder(args, tree)
        joined = join(
            args.out,
            args.detection,
            args.classification,
            finder,
            problems.append,
            mapping=mapping,
            repeat=args.repeat,
            progress=partial(bar, unit="picture", disable=None),
        )
    finally:
        for problem in problems[:SHOWN]:
            complain(problem)
        if len(problems) > SHOWN:
            complain(f"and {len(problems) - SHOWN} pictures more that cannot be used")
    names = "" if args.names is None else f"names = {Path(args.names).absolute()}\n"
    data = joined.path.with_name("joint.data")
    with replacing(data, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(f"classes = {len(tree.names)}\ntrain = {joined.path}\n{names}backup = backup\n")
    print(f"{joined.boxes} pictures with boxes, {joined.classes} with only a class: {joined.path}, {data}")
    return 1 if problems else 0


def _finder(args: Namespace, tree: WordTree) -> LabelFinder:
    from darknet_py.cfg import read_names
    from darknet_py.data.joint import LabelFinder
    from darknet_py.tree.wordtree import read_map

    labels = tree.names if args.labels is None else read_names(args.labels)
    nodes: Sequence[int] = range(len(labels)) if args.labels_map is None else read_map(args.labels_map)
    if len(nodes) != len(labels):
        raise DarknetError(f"{args.labels_map}: {len(nodes)} lines for {len(labels)} labels")
    return LabelFinder(dict(zip(labels, _inside(nodes, tree, args.labels or args.tree), strict=True)))


def _inside(nodes: Sequence[int], tree: WordTree, source: str) -> Sequence[int]:
    if nodes and max(nodes) >= len(tree.names):
        raise DarknetError(f"{source}: class {max(nodes)} is beyond {tree.source}, which has {len(tree.names)} nodes")
    return nodes


VERBS = {"tree join": Verb("join pictures with boxes and pictures with a class into one list", _join_arguments, _join)}
