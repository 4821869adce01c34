"""Fuzzing of the small texts: .data, names, lists, labels, trees, maps, hypernyms; in any encoding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any, Final

import torch

from darknet_py.cfg import read_data, read_list, read_names
from darknet_py.check import check
from darknet_py.data.labels import MOST, label_path, read_labels
from darknet_py.tree import TreeWalk, WordTree, read_map
from darknet_py.tree.hypernyms import Kinds
from darknet_py.tree.merge import merge
from tools.fuzz.changes import changed, one_of
from tools.fuzz.judge import AnswerError, Kind, Sample, check_message, tried
from tools.fuzz.networks import BODIES, NET

SEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    ".data": (
        "classes= 3\ntrain = train.txt\nvalid = valid.txt\nnames = c.names\nbackup = backup/\neval=coco\n",
        "classes=9\r\nlabels = c.names\r\ntree=t.tree\nmap = t.map\ntop=5\nresults=results\n# a comment\n",
    ),
    ".names": ("cat\ndog\nhot dog\n", "person\n\ncaf\u00e9\nT\u00fcr\n\u72ac\n"),
    ".list": ("images/a.jpg\nimages/b c.png\n\ncaf\u00e9.jpg\n", "\r\n".join(f"/data/{n:06d}.jpg" for n in range(50))),
    ".txt": ("0 0.5 0.5 0.2 0.3\n2 .1 .2 .05 .05\n", "1 0.25 0.75 0.5 0.5\n0 0 0 0 0\n\n", ""),
    ".tree": ("animal -1\nthing -1\ncat 0\ndog 0\ncar 1\n", "a\nb -1\nc 1\nd 1\ne 2\n"),
    ".map": ("0\n2\n1\n", "5 word\n+3\n0\n"),
    ".kinds": (
        "dog animal\ncat animal\nanimal\n# a comment\nentity/thing/car\nhot dog = hotdog\nhotdog\tfood\n",
        "a b\nb c\nc d\nd\nx c\nx d\n",
    ),
}
ENCODINGS: Final = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "utf-32", "cp1251")
CLASSES: Final = 3


def make(rng: Random) -> Sample:
    """A changed text in a random encoding."""
    suffix = rng.choice(list(SEEDS))
    text = rng.choice(SEEDS[suffix])
    if rng.random() < 0.2:
        text = text.replace("\n", one_of(rng, ("\r\n", "\r", "\n\n", "\n ")))
    early, late = rng.random() < 0.7, rng.random() < 0.3
    others = [seed.encode() for seed in SEEDS[suffix]]
    data = changed(text.encode(), rng, others) if early else text.encode()
    if rng.random() < 0.3:
        data = data.decode("utf-8", "replace").encode(rng.choice(ENCODINGS), "replace")
    return Sample(suffix, changed(data, rng, others, most=2) if late else data)


def read(path: Path) -> None:
    """Give a text to the reader that its suffix stands for, and to `check`."""
    READERS[path.suffix](path)
    if path.suffix in (".data", ".names"):
        _check(path)


def _data(path: Path) -> None:
    data = tried(read_data, path)
    if data is not None:
        tried(data.names)
        tried(data.path, "names", "labels")
        tried(data.path, "train")
        tried(data.integer, "classes", 1)
        tried(data.integer, "top", 1)


def _list(path: Path) -> None:
    for name in tried(read_list, path) or ():
        if not name or "\n" in name:
            raise AnswerError(f"a path {name!r}")
        label_path(name)


def _labels(path: Path) -> None:
    for classes, alone in ((MOST, None), (CLASSES, None), (CLASSES, 0)):
        labels = tried(read_labels, path, classes, alone=alone)
        if labels is None:
            continue
        label, boxes = labels.label, labels.boxes
        if boxes.dtype != torch.float32 or boxes.shape != (len(label), 4):
            raise AnswerError(f"labels of {boxes.dtype} {tuple(boxes.shape)}")
        if not bool(boxes.isfinite().all()) or bool((label < 0).any()):
            raise AnswerError(f"labels {label[:3].tolist()} {boxes[:3].tolist()}")


def _tree(path: Path) -> None:
    tree = tried(WordTree.read, path)
    if tree is not None and len(tree.names) < 10_000:
        walk = TreeWalk(tree)
        absolute = walk.absolute(torch.ones(2, len(tree.names), dtype=torch.float32))
        if not bool((absolute == 1).all()):
            raise AnswerError("products of ones are not 1")
        walk(absolute, 0.5)


def _map(path: Path) -> None:
    if any(label < 0 for label in tried(read_map, path) or ()):
        raise AnswerError("a class below 0")


def _kinds(path: Path) -> None:
    kinds = tried(Kinds.read, path)
    if kinds is not None:
        tried(merge, kinds)
        tried(merge, kinds, [["dog", "hot dog"], ["a"]])


def _check(path: Path) -> None:
    """`check` finds something wrong, or nothing; it never raises."""
    cfg = path.with_name("texts.cfg")
    if not cfg.exists():
        cfg.write_text(NET + BODIES[1], encoding="utf-8")
    data = path
    if path.suffix == ".names":
        data = path.with_name("texts.data")
        data.write_text(f"classes={CLASSES}\nnames={path}\ntrain={path}\n", encoding="utf-8")
    for problem in check(cfg, data=data):
        check_message(problem)


def _names(path: Path) -> None:
    tried(read_names, path)


READERS: Final[Mapping[str, Callable[[Path], Any]]] = {
    ".data": _data, ".names": _names, ".list": _list, ".txt": _labels, ".tree": _tree, ".map": _map, ".kinds": _kinds,
}  # fmt: skip
KIND: Final = Kind("texts", make, read)
