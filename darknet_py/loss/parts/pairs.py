"""Predicted boxes beside the truths that they learn."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class BoxPairs:
    """Boxes and truths in both forms, each (..., 4): a box loss takes the one that it compares."""

    values: Tensor  # the head's numbers for x, y, w, h
    wanted: Tensor  # what they would be for the truth
    boxes: Tensor  # the predicted x, y, w, h relative to the input
    truths: Tensor  # those of the truth
