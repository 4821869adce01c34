"""How much boxes overlap, with the arithmetic of Darknet's box.c."""

from __future__ import annotations

import torch
from torch import Tensor

from darknet_py.boxes.formats import xyxy_from_cxcywh


def iou(a: Tensor, b: Tensor) -> Tensor:  # (..., 4), (..., 4) -> (...)
    """Intersection over union of cxcywh boxes, elementwise with broadcasting.

    The arithmetic is box.c's, operation by operation. Two empty boxes give NaN (0/0) there, which is never
    greater than a threshold; here they give 0.
    """
    edges_a, edges_b = xyxy_from_cxcywh(a), xyxy_from_cxcywh(b)
    low = torch.maximum(edges_a[..., :2], edges_b[..., :2])
    high = torch.minimum(edges_a[..., 2:], edges_b[..., 2:])
    width, height = (high - low).clamp(min=0).unbind(-1)
    inter = width * height
    ratio = inter / (a[..., 2] * a[..., 3] + b[..., 2] * b[..., 3] - inter)
    return ratio.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf)


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:  # (N, 4), (M, 4) -> (N, M)
    """`iou` of every box of `a` with every box of `b`."""
    return iou(a[:, None], b[None])
