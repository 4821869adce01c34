"""The box loss of the C program: the squared error of the head's own numbers."""

from __future__ import annotations

from torch import Tensor

from darknet_py.loss.parts.pairs import BoxPairs


def mse(pairs: BoxPairs, weight: float | Tensor) -> Tensor:
    """The deltas (..., 4); small boxes count up to twice as much. From delta_yolo_box and delta_region_box."""
    scale = weight * (2 - pairs.truths[..., 2] * pairs.truths[..., 3])
    return scale[..., None] * (pairs.wanted - pairs.values)
