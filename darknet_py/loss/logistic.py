"""The loss of [logistic]: cross-entropy of each value (logxent), by logistic_layer.c."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from darknet_py.loss.base import HeadLoss, Loss
from darknet_py.network.graph import Graph, Node

LEAST: Final = 1e-7  # added before the logarithm by the GPU build; only in the cost


class LogisticLoss(Loss):
    """Truth minus probability as the gradient of each value."""

    def __init__(self, node: Node, graph: Graph) -> None:
        super().__init__()

    def forward(self, raw: Tensor, truth: Tensor, seen: int) -> HeadLoss:
        output, truth = raw.detach().float().flatten(1).sigmoid(), truth.detach().float()
        error = -truth * (output + LEAST).log() - (1 - truth) * (1 - output + LEAST).log()
        return HeadLoss.of(raw.float().flatten(1), truth - output, error.sum())
