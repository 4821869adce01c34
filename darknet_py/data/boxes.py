"""Pictures with boxes, for [region], [yolo] and [detection]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from darknet_py.cfg import DataFile
from darknet_py.cfg.datafile import read_list
from darknet_py.cfg.keys import Complain
from darknet_py.data.amounts import Amounts, Extent, roll
from darknet_py.data.augment import DRAWS, BoxDraw
from darknet_py.data.base import Key, PictureData, Sample, train_list
from darknet_py.data.labels import LabelError, Labels, label_path, read_labels
from darknet_py.data.problems import warn
from darknet_py.data.truth import framed, gridded, listed
from darknet_py.files import exists
from darknet_py.layers.base import Layer
from darknet_py.layers.bylayer import ByLayer
from darknet_py.layers.detection import Detection
from darknet_py.layers.heads import GridHead
from darknet_py.layers.region import Region
from darknet_py.network.graph import Graph
from darknet_py.pictures.resample import read


@dataclass(frozen=True)
class BoxHead:
    """How a head wants its pictures and labels."""

    lay_out: Callable[[Labels], Tensor]  # with boxes on the canvas -> (T,)
    classes: int  # that boxes in label files may have
    jitter: float
    most: int  # the most boxes of a picture that count
    alone: int = 0  # classes that a line of zeros, for a class somewhere in the picture, may have; 0 for none


class DetectionData(PictureData):
    """Samples for a detector: a picture, distorted, and the truth of its boxes."""

    def __init__(
        self,
        paths: Sequence[str],
        source: str,
        head: BoxHead,
        draw: type[BoxDraw],
        amounts: Amounts,
        *,
        channels: int = 3,
        seed: int = 0,
        report: Complain = warn,
    ) -> None:
        super().__init__(paths, source, channels, seed, report)
        self.head, self.draw, self.amounts = head, draw, amounts

    @classmethod
    def from_cfg(cls, graph: Graph, data: DataFile, *, seed: int = 0, report: Complain = warn) -> DetectionData:
        """The pictures that ``train=`` of a .data file lists, for the last head of a cfg."""
        layer = graph.heads[-1].layer
        head = box_head(layer)
        draw, amounts = DRAWS[graph.augment], Amounts.of(graph.net, head.jitter)
        source = train_list(data)
        paths = read_list(source)
        return cls(paths, source, head, draw, amounts, channels=graph.net.channels, seed=seed, report=report)

    def make(self, path: str, key: Key, generator: torch.Generator) -> Sample:
        file = label_path(path)
        if not exists(file):
            missing = f"{file}: there are no labels for {path}, here or beside it"
            raise LabelError(f"{missing}; a picture of nothing has an empty file")
        labels = read_labels(file, self.head.classes, alone=self.head.alone)
        notes: list[str] = []
        pixels = read(path, self.channels, notes.append)
        height, width, _ = pixels.shape
        draw = self.draw.of(self.amounts, Extent(width, height), Extent(key.width, key.height), roll(generator))
        labels = labels[torch.randperm(len(labels), generator=generator)]
        return Sample(draw.apply(pixels), self.head.lay_out(framed(labels, draw.frame)), tuple(notes))


def box_head(layer: Layer) -> BoxHead:
    """What a layer wants of pictures and labels; raises `CfgError` where it learns no boxes."""
    return BOX_HEADS[layer](layer)


def _grid(layer: GridHead) -> BoxHead:
    most = layer.truths
    return BoxHead(partial(listed, most=most), _classes(layer), _jitter(layer, layer.jitter, 1), most)


def _region(layer: Region) -> BoxHead:
    if layer.coords > 4:
        raise layer.error(f"coords={layer.coords}: label files have no masks")
    nodes = 0 if layer.tree is None else layer.classes  # which are not mapped
    return replace(_grid(layer), lay_out=partial(listed, most=layer.truths, coords=layer.coords), alone=nodes)


def _detection(layer: Detection) -> BoxHead:
    if layer.coords != 4:
        raise layer.error(f"coords={layer.coords}: label files have four")
    lay_out = partial(gridded, side=layer.side, classes=layer.classes)
    return BoxHead(lay_out, layer.classes, _jitter(layer, layer.jitter, 0.5), layer.side**2)


BOX_HEADS: Final[ByLayer[Callable[[Any], BoxHead]]] = ByLayer(
    "learns no boxes, as [region], [yolo] and [detection] do",
    {GridHead: _grid, Region: _region, Detection: _detection},
)


def _classes(layer: GridHead) -> int:
    """How many classes the boxes in labels may have: with a map, as many as it has lines."""
    return layer.classes if layer.label_map is None else len(layer.label_map)


def _jitter(layer: Layer, jitter: float, limit: float) -> float:
    if not 0 <= jitter < limit:
        raise layer.error(f"jitter={jitter:g} has to be from 0 on and below {limit:g}")
    return jitter
