"""Counts the truths that a box of any class covers: `detector recall` of the C program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from darknet_py.boxes.overlap import pairwise_iou
from darknet_py.boxes.suppress import kept_boxes
from darknet_py.errors import ImageError
from darknet_py.evaluate.reader import Progress, each_output
from darknet_py.pictures.opening import Size
from darknet_py.pictures.operations import resize
from darknet_py.predict.decode import Settings, decode
from darknet_py.predict.detector import Detector

THRESH: Final = 0.001
NMS: Final = 0.4
IOU: Final = 0.5


@dataclass(frozen=True)
class Recall:
    """Counts over the pictures so far."""

    pictures: int = 0
    truths: int = 0
    covered: int = 0  # truths that a box overlaps with an IoU above .5
    proposals: int = 0  # boxes
    overlap: float = 0.0  # sum of the best IoU of each truth

    @property
    def recall(self) -> float:
        """The fraction of the truths that are covered."""
        return self.covered / max(self.truths, 1)

    @property
    def average_iou(self) -> float:
        """The mean over the truths of the best IoU."""
        return self.overlap / max(self.truths, 1)

    @property
    def proposals_per_picture(self) -> float:
        """Boxes per picture."""
        return self.proposals / max(self.pictures, 1)

    def __str__(self) -> str:
        return (
            f"{self.pictures - 1:5d} {self.covered:5d} {self.truths:5d}\tRPs/Img: {self.proposals_per_picture:.2f}"
            f"\tIOU: {self.average_iou * 100:.2f}%\tRecall:{self.recall * 100:.2f}%"
        )

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "pictures": self.pictures,
            "truths": self.truths,
            "recall": self.recall,
            "average_iou": self.average_iou,
            "proposals_per_picture": self.proposals_per_picture,
        }

    def plus(self, boxes: Tensor, truths: Tensor) -> Recall:
        """The counts with one more picture: boxes (N, 4) and truths (M, 4), centre and size."""
        best = pairwise_iou(truths, boxes).amax(1) if len(boxes) else torch.zeros(len(truths), dtype=torch.float32)
        return replace(
            self,
            pictures=self.pictures + 1,
            truths=self.truths + len(truths),
            covered=self.covered + int((best > IOU).sum()),
            proposals=self.proposals + len(boxes),
            overlap=self.overlap + float(best.sum()),
        )


def each_recall(
    detector: Detector,
    paths: Sequence[str],
    labels: Sequence[Tensor | None],
    *,
    batch: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Recall | ImageError]:
    """The counts after each picture, or why it cannot be read; `labels` (N, 5) are class, x, y, w, h.

    As in the C program, pictures are stretched to the network's input, whatever it was trained on.
    """
    _, h, w = detector.network.input_shape
    total = Recall()
    outputs = each_output(
        detector.engine, paths, lambda image: [resize(image, w, h)[None]], batch=batch, progress=progress
    )
    for (one, found), rows in zip(outputs, labels, strict=True):
        if isinstance(one.views, ImageError):
            yield one.views
        elif rows is not None:
            boxes = _proposals(detector, found[0], (w, h))
            total = total.plus(boxes, rows[:, 1:])
            yield total


def _proposals(detector: Detector, outputs: Sequence[Tensor], size: Size) -> Tensor:  # -> (N, 4)
    """Boxes above the threshold after non-maximum suppression by objectness; outputs are (1, ...)."""
    found = decode(detector.network.graph.heads, outputs, size, Settings(THRESH), detector.walk)
    sure = found.objectness > THRESH
    boxes, objectness = found.boxes[sure].cpu(), found.objectness[sure].cpu()
    return boxes[kept_boxes(boxes, objectness, NMS)]
