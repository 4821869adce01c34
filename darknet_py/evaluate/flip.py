"""Averages the outputs for a picture and its mirror image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from darknet_py.errors import DarknetError
from darknet_py.layers.heads import GridHead
from darknet_py.network.graph import Node


def flip_averaged(heads: Sequence[Node], outputs: Sequence[Tensor]) -> list[Tensor]:  # (2, C, H, W) -> (C, H, W)
    """Average the outputs of all heads for a picture and its mirror image.

    x is measured from the left of a cell, so it becomes 1 - x in the mirror image. (The C program changes its sign
    instead, and that of other channels too.) Raises `DarknetError` for a head that is not [region] or [yolo].
    """
    averaged = []
    for head, output in zip(heads, outputs, strict=True):
        if not isinstance(head.layer, GridHead):
            raise DarknetError(f"{head} cannot be averaged with its mirror image; [region] and [yolo] can")
        back = output[1].flip(-1).unflatten(0, (-1, head.layer.entries))  # (anchors, entries, H, W)
        back = torch.cat((1 - back[:, :1], back[:, 1:]), 1).flatten(0, 1)
        averaged.append((output[0] + back) / 2)
    return averaged
