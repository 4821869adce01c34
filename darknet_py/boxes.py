"""Box formats, overlap and non-maximum suppression with the arithmetic of Darknet's box.c."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from darknet_py import gpu, suppress
from darknet_py.errors import DarknetError
from darknet_py.image import letterbox_size


def xyxy_from_cxcywh(boxes: Tensor) -> Tensor:  # (..., 4) -> (..., 4)
    """Turn centre and size into left, top, right, bottom."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat((centre - half, centre + half), -1)


def cxcywh_from_xyxy(boxes: Tensor) -> Tensor:  # (..., 4) -> (..., 4)
    """Turn left, top, right, bottom into centre and size."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat(((low + high) / 2, high - low), -1)


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
    table = torch.tensor(shares, dtype=boxes.dtype, device="cpu")  # (pictures, 6)
    table = table.to(boxes.device, non_blocking=boxes.is_cuda)
    offsets, scales, growths = row_of_each(table, picture).split(2, 1)
    return torch.cat(((boxes[:, :2] - offsets) / scales, boxes[:, 2:] * growths), 1)


def row_of_each(table: Tensor, picture: Tensor) -> Tensor:  # (pictures, C), (N,) -> (N, C) or (1, C)
    """The rows for the pictures of boxes; that of a single picture is for all."""
    return table if len(table) == 1 else table.index_select(0, picture)


def nms(
    boxes: Tensor, box: Tensor, label: Tensor, score: Tensor, threshold: float, picture: Tensor | None = None
) -> Tensor:  # fmt: skip
    """Which rows do_nms_sort of box.c keeps: each suppresses lower ones of its class with IoU > `threshold`.

    Row k says that `boxes[box[k]]`, of cxcywh boxes (N, 4), is of class `label[k]` with `score[k]`; no box
    has two rows of one class. Higher scores come first, of equal ones the earlier row. Boxes of different pictures,
    where `picture` (N,) says which each is in, never meet. Returns a mask (K,).
    """
    if not threshold >= 0:
        raise DarknetError(f"the NMS threshold is {threshold}; it must be 0 or more")
    boxes, score = (x.detach().to(torch.promote_types(x.dtype, torch.float32)) for x in (boxes, score))
    if gpu.suits(boxes.device):
        return gpu.kept(boxes, box, label, score, threshold, picture)
    if picture is None:
        keep = suppress.kept(boxes.numpy(), box.numpy(), label.numpy(), score.numpy(), threshold)
        return torch.from_numpy(keep)
    mask, picture = torch.ones_like(box, dtype=torch.bool), picture[box]
    for n in picture.unique():
        rows = (picture == n).nonzero()[:, 0]
        mask[rows] = nms(boxes, box[rows], label[rows], score[rows], threshold)
    return mask


def nms_dense(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:  # (N, 4), (N, C) -> (N, C)
    """`nms` over all scores that are not 0; returns the scores with 0 where suppressed, as the C does."""
    box, label = scores.nonzero(as_tuple=True)
    lost = ~nms(boxes, box, label, scores[box, label], threshold)
    return scores.index_put((box[lost], label[lost]), scores.new_zeros(()))


def nms_objectness(boxes: Tensor, objectness: Tensor, threshold: float, picture: Tensor | None = None) -> Tensor:
    """Which boxes (N,) do_nms_obj of box.c keeps: by objectness, whatever the class; never one of objectness 0.

    Boxes are (N, 4), objectness is (N,); `picture` is as in `nms`.
    """
    keep = objectness != 0
    box = keep.nonzero()[:, 0]
    keep[box] = nms(boxes, box, torch.zeros_like(box), objectness[box], threshold, picture)
    return keep
