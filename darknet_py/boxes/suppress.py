"""Non-maximum suppression (NMS) as box.c does it, on whatever device the boxes are.

The C program takes rows from the best down; each that is still there drops the lower ones that overlap it. Here rows
are settled in rounds, many at once: among the pairs of rows that overlap, a round keeps every row that no open row
beats, drops the rows that those beat, and closes the pairs of both. By induction along the order these are the loop's
answers, for the loop too settles all that beat a row before the row itself; and as every round settles the best open
row, the rounds end. docs/nms.md says why that is fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from darknet_py import devices
from darknet_py.boxes import suppress_cpu, suppress_gpu
from darknet_py.boxes.overlap import Measure, iou_of_edges
from darknet_py.errors import DarknetError


@dataclass(frozen=True)
class Kind:
    """Who meets whom in a kind of suppression, and how their overlap is measured."""

    by_objectness: bool = False  # boxes whatever their classes, the surest first; or else class by class, by score
    measure: Measure = iou_of_edges  # no more than the IoU, by which boxes are looked for


KINDS: Final[Mapping[str, Kind]] = {
    "class": Kind(),  # do_nms_sort
    "objectness": Kind(by_objectness=True),  # do_nms_obj
}


@dataclass(frozen=True)
class Nms:
    """How boxes suppress each other: one of `KINDS`, and the overlap above which the lower box goes; 0 keeps all.

    Raises `DarknetError` for a kind that is not there, and for a threshold below 0.
    """

    kind: str = "class"
    threshold: float = 0.45

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DarknetError(f"there is no kind of NMS called {self.kind!r}; use one of {', '.join(KINDS)}")
        _check(self.threshold)

    @classmethod
    def of(cls, value: float | Nms, kind: str = "class") -> Nms:
        """A threshold as `Nms` of that kind; what is `Nms` stays as it is."""
        return value if isinstance(value, Nms) else cls(kind, value)

    @property
    def by_objectness(self) -> bool:
        """Whether the surest boxes suppress others whatever their classes."""
        return KINDS[self.kind].by_objectness

    def kept(
        self,
        boxes: Tensor,
        objectness: Tensor,
        box_index: Tensor,
        label: Tensor,
        score: Tensor,
        picture_index: Tensor | None = None,
    ) -> Tensor:
        """Which rows (K,) stay; the arguments are as in `kept_rows` and `kept_boxes`."""
        if not self.threshold:
            return torch.ones_like(box_index, dtype=torch.bool)
        measure = KINDS[self.kind].measure
        if self.by_objectness:
            return kept_boxes(boxes, objectness, self.threshold, picture_index, measure)[box_index]
        return kept_rows(boxes, box_index, label, score, self.threshold, picture_index, measure)


def kept_rows(
    boxes: Tensor,
    box_index: Tensor,
    label: Tensor,
    score: Tensor,
    threshold: float,
    picture_index: Tensor | None = None,
    measure: Measure = iou_of_edges,
) -> Tensor:
    """Which rows do_nms_sort of box.c keeps: each suppresses lower ones of its class that overlap by > `threshold`.

    Row k says that `boxes[box_index[k]]`, of cxcywh boxes (N, 4), is of class `label[k]` with `score[k]`; no box
    has two rows of one class. Higher scores come first, of equal ones the earlier row. Boxes of different pictures,
    where `picture_index` (N,) says which each is in, never meet. Returns a mask (K,).
    """
    _check(threshold)
    boxes, score = (x.detach().to(torch.promote_types(x.dtype, torch.float32)) for x in (boxes, score))
    if devices.suits(boxes.device):
        return suppress_gpu.kept(boxes, box_index, label, score, threshold, picture_index, measure)
    if picture_index is None:
        return suppress_cpu.kept(boxes, box_index, label, score, threshold, measure)
    mask, picture = torch.ones_like(box_index, dtype=torch.bool), picture_index[box_index]
    for n in picture.unique():
        rows = (picture == n).nonzero()[:, 0]
        mask[rows] = suppress_cpu.kept(boxes, box_index[rows], label[rows], score[rows], threshold, measure)
    return mask


def kept_boxes(
    boxes: Tensor,
    objectness: Tensor,
    threshold: float,
    picture_index: Tensor | None = None,
    measure: Measure = iou_of_edges,
) -> Tensor:
    """Which boxes (N,) do_nms_obj of box.c keeps: by objectness, whatever the class; never one of objectness 0.

    Boxes are (N, 4), objectness is (N,); `picture_index` is as in `kept_rows`.
    """
    keep = objectness != 0
    box = keep.nonzero()[:, 0]
    keep[box] = kept_rows(boxes, box, torch.zeros_like(box), objectness[box], threshold, picture_index, measure)
    return keep


def _check(threshold: float) -> None:
    if not threshold >= 0:
        raise DarknetError(f"the NMS threshold is {threshold}; it must be 0 or more")
