"""Non-maximum suppression as box.c does it, on whatever device the boxes are."""

from __future__ import annotations

import torch
from torch import Tensor

from darknet_py import devices
from darknet_py.boxes import suppress_cpu, suppress_gpu
from darknet_py.errors import DarknetError


def nms(
    boxes: Tensor, box: Tensor, label: Tensor, score: Tensor, threshold: float, picture: Tensor | None = None
) -> Tensor:
    """Which rows do_nms_sort of box.c keeps: each suppresses lower ones of its class with IoU > `threshold`.

    Row k says that `boxes[box[k]]`, of cxcywh boxes (N, 4), is of class `label[k]` with `score[k]`; no box
    has two rows of one class. Higher scores come first, of equal ones the earlier row. Boxes of different pictures,
    where `picture` (N,) says which each is in, never meet. Returns a mask (K,).
    """
    if not threshold >= 0:
        raise DarknetError(f"the NMS threshold is {threshold}; it must be 0 or more")
    boxes, score = (x.detach().to(torch.promote_types(x.dtype, torch.float32)) for x in (boxes, score))
    if devices.suits(boxes.device):
        return suppress_gpu.kept(boxes, box, label, score, threshold, picture)
    if picture is None:
        keep = suppress_cpu.kept(boxes.numpy(), box.numpy(), label.numpy(), score.numpy(), threshold)
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
