"""Boxes above the threshold with the classes they may have, before they become detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from darknet_py.boxes.formats import unletterbox
from darknet_py.boxes.suppress import nms
from darknet_py.devices import descending, one_thread, places

Size = tuple[int, int]  # width, height


@dataclass(frozen=True)
class Candidates:
    """Boxes with the classes they may have: row k says that box `box[k]` has class `label[k]` with `score[k]`."""

    boxes: Tensor  # (N, 4) x, y, w, h relative to the network's input or to the picture
    objectness: Tensor  # (N,)
    picture: Tensor  # (N,) int64, which of the pictures it is in
    box: Tensor  # (K,) int64
    label: Tensor  # (K,) int64
    score: Tensor  # (K,) above the threshold
    pictures: int = 1  # how many there are, with boxes or without

    @one_thread()
    def rows(self, which: Tensor) -> Candidates:
        """Some of the rows, by their numbers."""
        box, label, score = (column.index_select(0, which) for column in (self.box, self.label, self.score))
        return Candidates(self.boxes, self.objectness, self.picture, box, label, score, self.pictures)

    def suppressed(self, threshold: float) -> Candidates:
        """Those that Darknet's NMS leaves, class by class and picture by picture (do_nms_sort)."""
        picture = self.picture if self.pictures > 1 else None
        return self.rows(places(nms(self.boxes, self.box, self.label, self.score, threshold, picture)))

    def best_first(self) -> Candidates:
        """In the order of their scores; of equal ones the earlier row comes first."""
        return self.rows(descending(self.score))

    def by_picture(self) -> Candidates:
        """The rows of each picture together, in the order that they have."""
        return self if self.pictures == 1 else self.rows(self.picture[self.box].argsort(stable=True))

    def as_printed(self) -> Candidates:
        """In the order in which the C program prints them.

        do_nms_sort sorts all boxes by one class after the other, before it suppresses any in that class, so the last
        class decides first; the classes of a box rise.
        """
        labels, label = self.label.unique(return_inverse=True)
        scores = self.score.new_zeros(len(self.boxes), len(labels))
        scores[self.box, label] = self.score
        order = torch.arange(len(self.boxes), device=self.box.device)
        for column in scores.unbind(1):
            order = order[descending(column[order])]
        place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        return self.rows((place[self.box] * len(labels) + label).argsort())

    def in_picture(self, sizes: Sequence[Size], network: Size) -> Candidates:
        """With boxes relative to the pictures, of those sizes, that were letterboxed to the network's input."""
        boxes = unletterbox(self.boxes, self.picture, sizes, network)
        return Candidates(boxes, self.objectness, self.picture, self.box, self.label, self.score, self.pictures)

    @classmethod
    def joined(cls, parts: Sequence[Candidates]) -> Candidates:
        """Those of several heads for the same pictures, in the order of the heads."""
        if len(parts) == 1:
            return parts[0]
        starts = [sum(len(part.boxes) for part in parts[:n]) for n in range(len(parts))]
        return cls(
            torch.cat([part.boxes for part in parts]),
            torch.cat([part.objectness for part in parts]),
            torch.cat([part.picture for part in parts]),
            torch.cat([part.box + start for part, start in zip(parts, starts, strict=True)]),
            torch.cat([part.label for part in parts]),
            torch.cat([part.score for part in parts]),
            parts[0].pictures,
        )
