"""What losses are made of: the cells of a grid, which box learns which truth, and what a box learns of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from torch import Tensor

from darknet_py.loss.parts.mse import mse
from darknet_py.loss.parts.pairs import BoxPairs

BoxLoss = Callable[[BoxPairs, "float | Tensor"], Tensor]  # pairs of shape (..., 4), weight -> deltas (..., 4)
BOX_LOSSES: Final[Mapping[str, BoxLoss]] = {"mse": mse}
