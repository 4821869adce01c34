"""Averages the outputs for a picture and its mirror image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from darknet_py.errors import DarknetError
from darknet_py.network.graph import Graph


def flip_averaged(graph: Graph, outputs: Sequence[Tensor]) -> list[Tensor]:  # (2, C, H, W) -> (C, H, W)
    """Average the outputs of all heads for a picture and its mirror image.

    x is measured from the left of a cell, so it becomes 1 - x in the mirror image. (The C program changes its sign
    instead, and that of other channels too.) Raises `DarknetError` for a head that is not [region] or [yolo].
    """
    averaged = []
    for node, output in zip(graph.heads, outputs, strict=True):
        head = graph.grids.get(node.index)
        if head is None:
            raise DarknetError(f"{node} cannot be averaged with its mirror image; [region] and [yolo] can")
        back = output[1].flip(-1).unflatten(0, (-1, head.entries))  # (anchors, entries, H, W)
        back = torch.cat((1 - back[:, :1], back[:, 1:]), 1).flatten(0, 1)
        averaged.append((output[0] + back) / 2)
    return averaged
