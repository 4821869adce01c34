"""The loss of [softmax]: cross-entropy, by softmax_layer.c."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from darknet_py.layers.softmax import Softmax
from darknet_py.loss.base import HeadLoss, Loss
from darknet_py.loss.truths import UNLABELLED
from darknet_py.network.graph import Graph, Node


class SoftmaxLoss(Loss):
    """Truth minus probability as the gradient of each score, whatever the temperature and the number of softmaxes.

    With a tree, groups whose truth is `UNLABELLED` learn nothing.
    """

    def __init__(self, node: Node, graph: Graph) -> None:
        super().__init__()
        self.tree = cast("Softmax", node.layer).tree is not None
        self.softmax = node.layer.build(node.inputs)

    def forward(self, raw: Tensor, truth: Tensor, seen: int) -> HeadLoss:
        output, truth = self.softmax(raw.detach().float()), truth.detach().float()
        error = torch.where(truth != 0, -output.clamp(min=torch.finfo(output.dtype).tiny).log(), 0)
        delta = truth - output
        if self.tree:
            asked = truth != UNLABELLED
            error, delta = error * asked, delta * asked
        return HeadLoss.of(raw.float().flatten(1), delta, error.sum())
