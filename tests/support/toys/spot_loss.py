"""``[spot]``: what it learns."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from darknet_py.loss import LOSSES
from darknet_py.loss.base import HeadLoss, Loss
from darknet_py.loss.parts.grid import Grid
from darknet_py.loss.truths import Truths
from darknet_py.network.graph import Graph, Node
from tests.support.toys.spot import Spot


@LOSSES.row(Spot)
class SpotLoss(Loss):
    """All anchors of a cell learn the mean of the truths in it, and the other cells that there is nothing."""

    anchors: Tensor  # (A, 2) in cells

    def __init__(self, node: Node, graph: Graph) -> None:
        super().__init__()
        self.layer = cast("Spot", node.layer)
        self.register_buffer("anchors", torch.tensor(self.layer.anchor_boxes), persistent=False)

    def forward(self, raw: Tensor, truth: Tensor, seen: int) -> HeadLoss:
        layer, grid = self.layer, Grid.of(raw, self.layer.coder, self.input_size)
        output = raw.detach().float().sigmoid().unflatten(1, (len(self.anchors), layer.entries)).flatten(3)
        truths = Truths.read(truth.detach().float(), layer.truths)
        cell, inside = grid.cell_of(truths.boxes)
        here = F.one_hot(cell, grid.cells) * (truths.listed & inside)[..., None]  # (N, T, H*W)
        rows = self.rows(truths, cell, grid)  # (N, A, T, entries)
        count = here.sum(1)[:, None, None]  # (N, 1, 1, H*W)
        wanted = torch.einsum("ntp,nate->naep", here.float(), rows) / count.clamp(min=1)
        weight = (count > 0).expand(-1, -1, layer.entries, -1).float().contiguous()
        weight[:, :, :4] *= layer.box_scale
        weight[:, :, 4] = 1  # objectness, everywhere
        delta = weight * (wanted - output)
        return HeadLoss.of(raw.float(), delta.reshape(raw.shape), delta.square().sum())

    def rows(self, truths: Truths, cell: Tensor, grid: Grid) -> Tensor:
        """What the entries of each anchor would be for each truth: (N, A, T, entries), given the cells (N, T)."""
        boxes = grid.encode(truths.boxes[:, None], cell[:, None], self.anchors[:, None])
        classes = F.one_hot(truths.label, self.layer.classes)[:, None].expand(-1, len(self.anchors), -1, -1)
        return torch.cat((boxes.clamp(0, 1), torch.ones_like(boxes[..., :1]), classes), 3)
