"""Box formats: centre and size, edges, and boxes relative to a letterboxed picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from darknet_py.devices import sent
from darknet_py.pictures.operations import letterbox_size


def xyxy_from_cxcywh(boxes: Tensor) -> Tensor:  # (..., 4) -> (..., 4)
    """Turn centre and size into left, top, right, bottom."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat((centre - half, centre + half), -1)


def cxcywh_from_xyxy(boxes: Tensor) -> Tensor:  # (..., 4) -> (..., 4)
    """Turn left, top, right, bottom into centre and size."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat(((low + high) / 2, high - low), -1)


def unletterbox(
    boxes: Tensor, picture: Tensor, image_sizes: Sequence[tuple[int, int]], network_size: tuple[int, int]
) -> Tensor:
    """Turn boxes relative to a letterboxed picture into boxes relative to the picture itself.

    Boxes are cxcywh (N, 4), sizes (w, h); box k is in the picture `picture[k]`, whose size is the one of that place.
    From correct_region_boxes of region_layer.c.
    """
    shares = []
    for image_size in image_sizes:
        sides = list(zip(letterbox_size(*image_size, *network_size), network_size, strict=True))
        offset = [(outer - inner) / 2 / outer for inner, outer in sides]
        scale = [inner / outer for inner, outer in sides]
        shares.append(offset + scale + [outer / inner for inner, outer in sides])
    table = sent(shares, boxes.dtype, boxes.device)  # (pictures, 6)
    offsets, scales, growths = row_of_each(table, picture).split(2, 1)
    return torch.cat(((boxes[:, :2] - offsets) / scales, boxes[:, 2:] * growths), 1)


def row_of_each(table: Tensor, picture: Tensor) -> Tensor:  # (pictures, C), (N,) -> (N, C) or (1, C)
    """The rows for the pictures of boxes; that of a single picture is for all."""
    return table if len(table) == 1 else table.index_select(0, picture)
