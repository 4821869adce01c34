"""Truths as rows of numbers in the C program's layout, and numbers in it with a special meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

END: Final = 0.0  # as x: the list of a picture's boxes ends before this row (forward_yolo_layer, `if(!truth.x) break`)
NO_BOX: Final = 999_999.0  # as x, y, w, h: the object is somewhere in the picture (correct_boxes of data.c)
FAR: Final = 100_000.0  # x and y above this are read as `NO_BOX` (forward_region_layer)
UNLABELLED: Final = -1234.0  # unknown, so nothing is learnt: SECRET_NUM of darknet.h


@dataclass(frozen=True, eq=False)
class Truths:
    """The boxes of N pictures, T per picture, for [region] and [yolo]; zeros after the end of a picture's list."""

    boxes: Tensor  # (N, T, 4) x, y, w, h relative to the input
    mask: Tensor  # (N, T, coords - 4) further values that a box learns
    label: Tensor  # (N, T) int64 as in the label files
    listed: Tensor  # (N, T) bool

    @classmethod
    def read(cls, rows: Tensor, most: int, coords: int = 4) -> Truths:
        """The first `most` truths in rows (N, T * (coords + 1)); one row of zeros if there is none."""
        columns = coords + 1
        table = F.pad(rows, (0, columns)).unflatten(1, (-1, columns))
        table = table[:, : max(min(most, table.shape[1] - 1), 1)]
        listed = (table[..., 0] != END).cumprod(1).bool()
        table = table.where(listed[..., None], 0).mT.contiguous().mT  # coordinates apart: `iou` is faster so
        return cls(table[..., :4], table[..., 4:-1], table[..., -1].long(), listed)


def truth_row(boxes: Tensor, label: Tensor, most: int, coords: int = 4) -> Tensor:
    """The row (most * (coords + 1),) that `Truths.read` reads, of boxes (K, 4) and labels (K,), K up to `most`."""
    table = torch.zeros(most, coords + 1, dtype=torch.float32)
    table[: len(boxes), :4] = boxes
    table[: len(boxes), -1] = label
    return table.flatten()
