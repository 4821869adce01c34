"""Pairs of predicted boxes and the truths that they learn."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class BoxPairs:
    """Boxes and truths in two forms, each (..., 4), of which a box loss uses one."""

    values: Tensor  # the head's numbers for x, y, w, h
    wanted: Tensor  # those that would mean the truth
    boxes: Tensor  # the predicted x, y, w, h relative to the input
    truths: Tensor  # the true ones
