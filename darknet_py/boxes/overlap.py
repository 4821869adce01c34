"""Intersection over union with the arithmetic of Darknet's box.c."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy.typing as npt
import torch
from torch import Tensor

from darknet_py.boxes.formats import xyxy_from_cxcywh

Column = TypeVar("Column", Tensor, npt.NDArray[Any])
Measure: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # edges and areas (5, ...) of two -> (...), broadcast


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


def edges_and_area(x: Column, y: Column, w: Column, h: Column) -> tuple[Column, Column, Column, Column, Column]:
    """Left, top, right, bottom and area of cxcywh boxes, of columns (N,): what is compared often is made once."""
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2, w * h


def iou_of_edges(a: Tensor, b: Tensor) -> Tensor:  # (5, ...), (5, ...) -> (...)
    """`iou` of boxes with their edges and areas in rows, in little memory; two empty boxes give NaN as in box.c."""
    inter = torch.minimum(a[2], b[2]).sub_(torch.maximum(a[0], b[0])).clamp_(min=0)
    height = torch.minimum(a[3], b[3]).sub_(torch.maximum(a[1], b[1])).clamp_(min=0)
    inter.mul_(height)
    return inter.div_(torch.add(a[4], b[4], out=height).sub_(inter))
