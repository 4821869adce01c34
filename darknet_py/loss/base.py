"""What every loss gives: something to differentiate, Darknet's cost, and the numbers of Darknet's line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class HeadLoss:
    """The loss of one layer for one batch."""

    objective: Tensor  # scalar; minus its gradient by the layer's input is Darknet's delta, summed over the batch
    cost: Tensor  # scalar, detached: Darknet's l.cost, summed over the pictures of the batch
    statistics: Tensor  # (n,) detached, on the device: the numbers that `line` prints; possibly none

    @classmethod
    def of(cls, raw: Tensor, delta: Tensor, cost: Tensor, statistics: Tensor | None = None) -> HeadLoss:
        """The loss whose gradient by `raw` is minus `delta`, a detached tensor of the same shape."""
        return cls(-(raw * delta).sum(), cost, delta.new_empty(0) if statistics is None else statistics)


class Loss(nn.Module):
    """The loss of one layer; it has no parameters."""

    draws = False  # random numbers, from torch's own generators
    input_size: tuple[int, int] = (0, 0)  # width, height of the pictures; `Criterion` keeps it to those it is given

    def forward(self, raw: Tensor, truth: Tensor, seen: int) -> HeadLoss:
        """The loss for `raw`, the layer's input, and rows of `truth` (N, T) in the C program's layout.

        `raw` is (N, C, H, W) or (N, C). `seen` counts the pictures of this batch already. All is computed in
        float32, under autocast too.
        """
        raise NotImplementedError

    def line(self, statistics: Sequence[float]) -> str:
        """The line that Darknet prints for `statistics`; empty where it prints none."""
        return ""


def printed(value: float) -> str:
    """A number as printf's %f writes it, and 0/0 as it is written on x86."""
    return "-nan" if math.isnan(value) else f"{value:f}"
