"""Boxes above the threshold with their possible classes, before they become detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor

from darknet_py.boxes.formats import unletterbox
from darknet_py.boxes.suppress import Nms
from darknet_py.devices import descending, one_thread, places
from darknet_py.pictures.opening import Size


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """Boxes of N pictures, and one row for each class of a box whose score is above the threshold.

    Row k says that `boxes[box_index[k]]` has class `label[k]` with `score[k]`.
    """

    boxes: Tensor  # (B, 4) x, y, w, h relative to the network's input or to the picture
    objectness: Tensor  # (B,)
    picture_index: Tensor  # (B,) int64, which of the pictures the box is in
    picture_count: int = 1  # how many pictures there are, with boxes or without
    box_index: Tensor  # (K,) int64
    label: Tensor  # (K,) int64
    score: Tensor  # (K,)

    @one_thread()
    def rows(self, which: Tensor) -> Candidates:
        """The rows with the indices (R,), in that order; all boxes stay."""
        box_index, label, score = (column.index_select(0, which) for column in (self.box_index, self.label, self.score))
        return replace(self, box_index=box_index, label=label, score=score)

    def suppressed(self, nms: Nms) -> Candidates:
        """The rows that NMS keeps, picture by picture."""
        if not nms.threshold:
            return self
        picture_index = self.picture_index if self.picture_count > 1 else None
        kept = nms.kept(self.boxes, self.objectness, self.box_index, self.label, self.score, picture_index)
        return self.rows(places(kept))

    def best_first(self) -> Candidates:
        """The rows in the order of their scores; equal scores keep their order."""
        return self.rows(descending(self.score))

    def by_picture(self) -> Candidates:
        """The rows grouped by picture, otherwise in the same order."""
        if self.picture_count == 1:
            return self
        return self.rows(self.picture_index[self.box_index].argsort(stable=True))

    def as_printed(self, nms: Nms) -> Candidates:
        """The rows in the order in which the C program prints them, which is that of its NMS.

        do_nms_obj sorts all boxes by objectness. do_nms_sort sorts them by one class after the other, before it
        suppresses any in that class, so the last class decides first; the classes of a box rise.
        """
        if nms.by_objectness:
            return self.rows(self.objectness[self.box_index].sort(descending=True, stable=True).indices)
        labels, label = self.label.unique(return_inverse=True)
        scores = self.score.new_zeros(len(self.boxes), len(labels))
        scores[self.box_index, label] = self.score
        order = torch.arange(len(self.boxes), device=self.box_index.device)
        for column in scores.unbind(1):
            order = order[descending(column[order])]
        place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        return self.rows((place[self.box_index] * len(labels) + label).argsort())

    def in_picture(self, sizes: Sequence[Size], network: Size) -> Candidates:
        """The candidates with boxes relative to the pictures, of these sizes before letterboxing."""
        return replace(self, boxes=unletterbox(self.boxes, self.picture_index, sizes, network))

    @classmethod
    def joined(cls, parts: Sequence[Candidates]) -> Candidates:
        """The candidates of several heads for the same pictures, in the order of the heads."""
        if len(parts) == 1:
            return parts[0]
        starts = accumulate((len(part.boxes) for part in parts), initial=0)
        return cls(
            boxes=torch.cat([part.boxes for part in parts]),
            objectness=torch.cat([part.objectness for part in parts]),
            picture_index=torch.cat([part.picture_index for part in parts]),
            picture_count=parts[0].picture_count,
            box_index=torch.cat([part.box_index + start for part, start in zip(parts, starts, strict=False)]),
            label=torch.cat([part.label for part in parts]),
            score=torch.cat([part.score for part in parts]),
        )
