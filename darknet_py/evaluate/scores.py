"""Average precision by the rules of several benchmarks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from darknet_py.devices import one_thread
from darknet_py.errors import DarknetError
from darknet_py.evaluate.alexeyab import Table
from darknet_py.evaluate.coco import summary
from darknet_py.evaluate.curves import COCO_IOUS, METHODS, Method, alexeyab, average, precision_recall
from darknet_py.evaluate.matching import ALEXEYAB, COCO, Overlapping, Pairs
from darknet_py.evaluate.table import Rows
from darknet_py.predict.detector import class_name


@dataclass(frozen=True, eq=False)
class Scores:
    """Found and annotated boxes of many pictures; a class without truths has no average precision (NaN)."""

    found: Rows
    truths: Rows
    sizes: Tensor  # (I, 2) int64: width and height of each picture
    classes: int
    names: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()  # one line per picture that was left out or has no labels

    @one_thread()
    def average_precisions(self, iou: float | Sequence[float] = 0.5, method: str | Method = "area") -> Tensor:
        """One number per class (classes,); `method` is voc07, area (VOC from 2010) or coco; several IoUs are averaged.

        A detection finds a truth of its class if their IoU reaches `iou`. As the benchmarks do, "voc07" and "area"
        measure boxes in whole pixels, and "coco" takes the hundred best detections of a class in a picture.
        """
        ious = tuple(iou) if isinstance(iou, Sequence) else (iou,)
        chosen = method_of(method)
        result = torch.full((self.classes,), torch.nan, dtype=torch.float64)
        for label, precision, recall in self._curves(ious, chosen):
            result[label] = average(precision, recall, chosen.recalls).mean()
        return result

    def mean_average_precision(self, iou: float | Sequence[float] = 0.5, method: str | Method = "area") -> float:
        """The mean of `average_precisions` over the classes that have truths; NaN if none has."""
        return float(self.average_precisions(iou, method).nanmean())

    @one_thread()
    def precision_recall(
        self, label: int, iou: float = 0.5, method: str | Method = "area"
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Precision, recall and score (n,) after each detection of a class, the best score first."""
        pairs = self.overlapping.pairs(method_of(method).rules, iou)
        rows = self._span(pairs, label)
        hit = pairs.match(iou, method_of(method).rules)[None, rows] >= 0
        precision, recall = precision_recall(hit, torch.ones_like(hit), int(self.truth_counts[label]))
        return precision[0], recall[0], pairs.found.score[rows]

    @cached_property
    def truth_counts(self) -> Tensor:  # (classes,)
        """How many truths each class has."""
        return self.truths.label.bincount(minlength=self.classes)

    @cached_property
    def detection_counts(self) -> Tensor:  # (classes,)
        """How many detections each class has."""
        return self.found.label.bincount(minlength=self.classes)

    @cached_property
    @one_thread()
    def coco(self) -> dict[str, float]:
        """COCO's twelve numbers: AP, AP50, AP75, and AP and AR by size; NaN without truths."""
        return summary(self.overlapping.pairs(COCO, min(COCO_IOUS)), self.classes)

    @one_thread()
    def alexeyab(self, thresh: float = 0.25, iou: float = 0.5, points: int = 0) -> Table:
        """The table that AlexeyAB's `detector map` prints; precision and recall count scores above `thresh`."""
        precisions = self.average_precisions(iou, alexeyab(points))
        return Table.of(self.overlapping.pairs(ALEXEYAB, iou), precisions, self.names, thresh, iou, points)

    def name(self, label: int) -> str:
        """The name of a class, or its number."""
        return class_name(self.names, label)

    def to_dict(self) -> dict[str, Any]:
        """All numbers, ready for JSON; None for undefined ones."""
        wanted: dict[str, tuple[float | Sequence[float], str]]
        wanted = {"voc07": (0.5, "voc07"), "area": (0.5, "area"), "coco50": (0.5, "coco"), "coco": (COCO_IOUS, "coco")}
        columns = {key: self.average_precisions(iou, method) for key, (iou, method) in wanted.items()}
        classes = [
            {"class_id": label, "name": self.name(label), "truths": int(self.truth_counts[label])}
            | {"detections": int(self.detection_counts[label])}
            | {key: number(column[label]) for key, column in columns.items()}
            for label in (self.truth_counts + self.detection_counts).nonzero()[:, 0].tolist()
        ]
        return {
            "pictures": len(self.sizes),
            "truths": len(self.truths),
            "detections": len(self.found),
            "mean_average_precision": {key: number(column.nanmean()) for key, column in columns.items()},
            "coco": {key: number(value) for key, value in self.coco.items()},
            "classes": classes,
            "problems": list(self.problems),
        }

    @cached_property
    def overlapping(self) -> Overlapping:
        """The overlapping pairs of found and annotated boxes, for any rules."""
        return Overlapping(self.found, self.truths, self.sizes)

    def _span(self, pairs: Pairs, label: int) -> slice:
        start, end = torch.searchsorted(pairs.found.label, torch.tensor([label, label + 1], dtype=torch.int64)).tolist()
        return slice(start, end)

    def _curves(self, ious: tuple[float, ...], method: Method) -> list[tuple[int, Tensor, Tensor]]:
        pairs = self.overlapping.pairs(method.rules, min(ious))
        hit = torch.stack([pairs.match(iou, method.rules) >= 0 for iou in ious])
        curves = []
        for label in self.truth_counts.nonzero()[:, 0].tolist():
            inside = hit[:, self._span(pairs, label)]
            counts = torch.ones_like(inside)
            curves.append((label, *precision_recall(inside, counts, int(self.truth_counts[label]))))
        return curves


def method_of(method: str | Method) -> Method:
    """The method of that name; raises `DarknetError` if there is none."""
    if isinstance(method, Method):
        return method
    if method not in METHODS:
        raise DarknetError(f"there is no method {method!r}; use one of {', '.join(METHODS)}")
    return METHODS[method]


def number(value: Tensor | float) -> float | None:
    """A number, or a tensor of one value, for JSON; None for NaN."""
    return None if math.isnan(value) else float(value)
