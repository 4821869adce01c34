"""Labels as rows of five numbers, as a label file has them."""

from __future__ import annotations

import torch
from torch import Tensor

from darknet_py.data.labels import Labels


def labels_of(rows: Tensor) -> Labels:
    """Labels of (N, 5) class, x, y, w, h."""
    return Labels(rows[:, 0].long(), rows[:, 1:].float())


def rows_of(labels: Labels) -> Tensor:
    """And back."""
    return torch.cat((labels.label[:, None].float(), labels.boxes), 1)
