"""The table of AlexeyAB's `detector map`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from darknet_py.evaluate.matching import ALEXEYAB, Pairs
from darknet_py.predict.detector import class_name


@dataclass(frozen=True)
class Line:
    """One class: its average precision (NaN without truths), and true and false positives above the threshold."""

    label: int
    name: str
    average_precision: float
    right: int
    wrong: int


@dataclass(frozen=True)
class Table:
    """Average precisions at one IoU, and precision and recall of scores above a threshold."""

    lines: tuple[Line, ...]
    detections: int
    truths: int
    classes: int
    mean_average_precision: float  # of the classes with truths
    average_iou: float
    thresh: float
    iou: float
    points: int

    @classmethod
    def of(
        cls, pairs: Pairs, precisions: Tensor, names: Sequence[str], thresh: float, iou: float, points: int
    ) -> Table:
        """Fill the table; `precisions` (C,) are the average precisions of the classes, NaN without truths."""
        classes = len(precisions)
        match = pairs.match(iou, ALEXEYAB)
        sure = pairs.found.score > thresh
        hit = (match >= 0) & sure
        right, wrong = (pairs.found.label[rows].bincount(minlength=classes) for rows in (hit, sure & ~hit))
        overlap = torch.zeros(len(match), dtype=torch.float64)
        matched = match[pairs.detection] == pairs.truth
        overlap[pairs.detection[matched]] = pairs.iou[matched]
        labels = torch.cat((pairs.found.label, pairs.truths.label)).unique().tolist()
        lines = [
            Line(label, class_name(names, label), float(precisions[label]), int(right[label]), int(wrong[label]))
            for label in labels
        ]
        return cls(
            tuple(lines),
            len(pairs.found),
            len(pairs.truths),
            classes,
            float(precisions.nanmean()),
            float(overlap[hit].sum()) / max(int(sure.sum()), 1),
            thresh,
            iou,
            points,
        )

    @property
    def right(self) -> int:
        """True positives."""
        return sum(line.right for line in self.lines)

    @property
    def wrong(self) -> int:
        """False positives."""
        return sum(line.wrong for line in self.lines)

    @property
    def precision(self) -> float:
        """The fraction of the detections above the threshold that are right."""
        return self.right / max(self.right + self.wrong, 1)

    @property
    def recall(self) -> float:
        """The fraction of the truths that were found above the threshold."""
        return self.right / max(self.truths, 1)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.precision * self.recall / max(self.precision + self.recall, 1e-30)

    @property
    def mean_over_all(self) -> float:
        """The mAP of AlexeyAB's program: classes without truths count as 0."""
        return sum(_or_zero(line.average_precision) for line in self.lines) / self.classes

    def __str__(self) -> str:
        rows = [
            f"class_id = {line.label}, name = {line.name}, ap = {_or_zero(line.average_precision) * 100:2.2f}%   \t "
            f"(TP = {line.right}, FP = {line.wrong}) "
            for line in self.lines
        ]
        way = f"used {self.points} Recall-points" if self.points else "used Area-Under-Curve for each unique Recall"
        conf = f" for conf_thresh = {self.thresh:1.2f},"
        mean, missed, iou = self.mean_average_precision, self.truths - self.right, self.average_iou * 100
        lines = [
            f" detections_count = {self.detections}, unique_truth_count = {self.truths}  ",
            *rows,
            "",
            f"{conf} precision = {self.precision:1.2f}, recall = {self.recall:1.2f}, F1-score = {self.f1:1.2f} ",
            f"{conf} TP = {self.right}, FP = {self.wrong}, FN = {missed}, average IoU = {iou:2.2f} % ",
            "",
            f" IoU threshold = {self.iou * 100:2.0f} %, {way} ",
            f" mean average precision (mAP@{self.iou:0.2f}) = {mean:f}, or {mean * 100:2.2f} % ",
        ]
        if abs(mean - self.mean_over_all) > 1e-9:
            lines.append(f" with the classes that have no truths as 0: {self.mean_over_all:f} ")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The numbers below the lines of the classes, ready for JSON."""
        mean = self.mean_average_precision
        return {
            "thresh": self.thresh,
            "iou": self.iou,
            "points": self.points,
            "mean_average_precision": None if math.isnan(mean) else mean,
            "mean_over_all": self.mean_over_all,
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "average_iou": self.average_iou,
            "true_positives": self.right,
            "false_positives": self.wrong,
            "false_negatives": self.truths - self.right,
        }


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value
