"""The loss of [cost]: the kinds of cost_layer.c, as its GPU build computes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, cast

import torch
from torch import Tensor

from darknet_py.layers.cost import Cost
from darknet_py.loss.base import HeadLoss, Loss
from darknet_py.loss.truths import UNLABELLED
from darknet_py.network.graph import Graph, Node

Kind = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # prediction and truth -> delta and error of each value


def _squares(output: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    difference = truth - output
    return difference, difference.square()


def _masked(output: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Values whose truth is `UNLABELLED` do not count; the GPU build means to, and masks another array."""
    return _squares(torch.where(truth == UNLABELLED, truth, output), truth)


def _smooth(output: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    difference = truth - output
    size = difference.abs()
    return difference.clamp(-1, 1), torch.where(size < 1, difference.square(), 2 * size - 1)


def _absolute(output: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    difference = truth - output
    return _sign(difference > 0, difference), difference.abs()


def _wgan(output: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    return _sign(truth > 0, output), torch.where(truth != 0, -output, output)


def _sign(positive: Tensor, like: Tensor) -> Tensor:
    return 2 * positive.to(like.dtype) - 1


KINDS: Final[Mapping[str, Kind]] = {
    "seg": _squares,
    "sse": _squares,
    "masked": _masked,
    "smooth": _smooth,
    "L1": _absolute,
    "wgan": _wgan,
}


class CostLoss(Loss):
    """A distance of each value from the truth; `scale` is in the gradient and not in the cost."""

    def __init__(self, node: Node, graph: Graph) -> None:
        super().__init__()
        self.layer = cast("Cost", node.layer)

    def forward(self, raw: Tensor, truth: Tensor, seen: int) -> HeadLoss:
        layer, truth = self.layer, truth.detach().float()
        if layer.smooth:
            truth = truth * (1 - layer.smooth) + layer.smooth / truth.shape[1]
        delta, error = KINDS[layer.kind](raw.detach().float().flatten(1), truth)
        if layer.kind == "seg":
            weight = torch.ones_like(truth).masked_fill_(truth == 0, layer.noobj)
            delta, error = delta * weight, error * weight
        if layer.thresh:
            delta = torch.where(delta.abs() < abs(layer.thresh) / truth.shape[1], 0, delta)
        return HeadLoss.of(raw.float().flatten(1), layer.scale * delta, error.sum())
