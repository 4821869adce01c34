"""Pictures whose classes are in their paths."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from darknet_py.cfg import DataFile
from darknet_py.cfg.datafile import read_list, read_names
from darknet_py.cfg.keys import Complain
from darknet_py.data.amounts import Amounts, Extent, roll
from darknet_py.data.augment import ClassifierDraw
from darknet_py.data.base import Key, PictureData, Sample, train_list
from darknet_py.data.labels import LabelError
from darknet_py.data.problems import warn
from darknet_py.data.truth import classified
from darknet_py.errors import CfgError, Location
from darknet_py.network.graph import Graph
from darknet_py.pictures.resample import read
from darknet_py.tree.wordtree import WordTree


class ClassifierData(PictureData):
    """Samples for a classifier: a picture has every class whose name is part of its path."""

    def __init__(
        self,
        paths: Sequence[str],
        source: str,
        labels: Sequence[str],
        amounts: Amounts,
        *,
        tree: WordTree | None = None,
        channels: int = 3,
        seed: int = 0,
        report: Complain = warn,
    ) -> None:
        super().__init__(paths, source, channels, seed, report)
        self.labels, self.amounts, self.tree = labels, amounts, tree

    @classmethod
    def from_cfg(cls, graph: Graph, data: DataFile, *, seed: int = 0, report: Complain = warn) -> ClassifierData:
        """The pictures that ``train=`` of a .data file lists, with the classes of its ``labels=``."""
        names = data.path("labels", "names")
        if names is None:
            raise CfgError("there is no labels=, the names of classes to find in paths", Location(data.source))
        classes = graph.heads[-1].shape.size
        labels = read_names(names)[:classes]
        if len(labels) < classes or data.integer("classes", classes) != classes:
            raise CfgError(
                f"{data.integer('classes', classes)} classes and {len(labels)} names, but the network gives {classes}",
                Location(data.source),
            )
        source = train_list(data)
        return cls(
            read_list(source),
            source,
            labels,
            Amounts.of(graph.net),
            tree=_tree(graph, data),
            channels=graph.net.channels,
            seed=seed,
            report=report,
        )

    def make(self, path: str, key: Key, generator: torch.Generator) -> Sample:
        found = [number for number, label in enumerate(self.labels) if label and label in path]
        if not found and len(self.labels) > 1:
            raise LabelError(f"{path}: the path has none of the {len(self.labels)} names of classes in it")
        notes = list(self._doubts(path, found))
        pixels = read(path, self.channels, notes.append)
        height, width, _ = pixels.shape
        draw = ClassifierDraw.of(self.amounts, Extent(width, height), Extent(key.width, key.height), roll(generator))
        truth = classified(found, len(self.labels), self.tree)
        return Sample(draw.apply(pixels), truth, tuple(notes))

    def _doubts(self, path: str, found: Sequence[int]) -> tuple[str, ...]:
        if len(found) <= 1:
            return ()
        names = ", ".join(self.labels[number] for number in found[:3])
        return (f"{path}: the path has the names of {len(found)} classes in it, and all count: {names}",)


def _tree(graph: Graph, data: DataFile) -> WordTree | None:
    """The tree of the .data file, or else of the last layer that has one."""
    if (path := data.path("tree")) is not None:
        return WordTree.read(path)
    trees = (node.layer.word_tree for node in reversed(graph.nodes))
    return next((tree for tree in trees if tree is not None), None)
