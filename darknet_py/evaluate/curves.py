"""Curves of precision over recall, and the averages that benchmarks take of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from darknet_py.errors import DarknetError
from darknet_py.evaluate.matching import ALEXEYAB, COCO, VOC, Rules

VOC_RECALLS: Final = tuple(k / 10 for k in range(11))
COCO_RECALLS: Final = tuple(np.linspace(0, 1, 101).tolist())  # not k / 100: they differ in the last digit
COCO_IOUS: Final = tuple(np.linspace(0.5, 0.95, 10).tolist())


@dataclass(frozen=True)
class Method:
    """How a benchmark averages precision: at given recalls, or without any as the area under the curve."""

    rules: Rules
    recalls: tuple[float, ...] = ()


METHODS: Final = {
    "voc07": Method(VOC, VOC_RECALLS),
    "area": Method(VOC),
    "coco": Method(COCO, COCO_RECALLS),
}


def alexeyab(points: int) -> Method:
    """The method of AlexeyAB's `detector map -points`: 0 is the area, otherwise the number of recalls from 0 to 1."""
    if points != 0 and points < 2:
        raise DarknetError(f"points is {points}; it must be 0 (the area), 11, 101 or another number from 2")
    return Method(ALEXEYAB, tuple(k / (points - 1) for k in range(points)))


def precision_recall(hit: Tensor, counts: Tensor, truths: int) -> tuple[Tensor, Tensor]:
    """Precision and recall after each detection, the best first: (T, n), (T, n) -> two of (T, n).

    `hit` marks the detections that found one of the `truths`, `counts` those that count at all.
    """
    right = (hit & counts).cumsum(1).double()
    return right / counts.cumsum(1).clamp(min=1), right / max(truths, 1)


def average(precision: Tensor, recall: Tensor, recalls: tuple[float, ...]) -> Tensor:  # (T, n), (T, n) -> (T,)
    """The mean over `recalls` of the best precision at that recall or a higher one; without them, the area."""
    best = precision.flip(1).cummax(1).values.flip(1)
    if not recalls:
        return (best * recall.diff(dim=1, prepend=recall.new_zeros(len(recall), 1))).sum(1)
    padded = torch.cat((best, best.new_zeros(len(best), 1)), 1)
    wanted = recall.new_tensor(recalls).expand(len(recall), -1).contiguous()
    return padded.gather(1, torch.searchsorted(recall.contiguous(), wanted)).mean(1)
