"""Matches detections with truths by the rules of VOC, COCO and AlexeyAB's Darknet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from darknet_py.devices import one_thread
from darknet_py.errors import DarknetError
from darknet_py.evaluate.table import Rows

PAIRS_AT_ONCE: Final = 1 << 20


@dataclass(frozen=True)
class Rules:
    """When a truth counts as found, by a benchmark."""

    pixel: float = 0.0  # added to every width and height: 1 if the right edge is the last pixel
    clips: bool = True  # whether boxes are clipped to the picture
    again: bool = False  # whether a detection whose best truth is taken may have the next best
    above: bool = False  # whether the IoU has to exceed the threshold, not only reach it
    most: int | None = None  # how many detections of a class in a picture count, the best ones


VOC: Final = Rules(pixel=1.0)  # VOCevaldet.m
COCO: Final = Rules(again=True, most=100)  # cocoeval.py
ALEXEYAB: Final = Rules(clips=False, above=True)  # validate_detector_map of his detector.c


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of a detection and a truth of one class in one picture that overlap.

    Detections are ordered by class and then by score; pairs by detection and then by IoU, the largest first.
    """

    found: Rows
    truths: Rows
    rank: Tensor  # (D,) rank among the detections of its class in its picture, from 0
    detection: Tensor  # (P,) int64
    truth: Tensor  # (P,) int64
    iou: Tensor  # (P,) float64

    @classmethod
    def of(cls, found: Rows, truths: Rows, rules: Rules, floor: float) -> Pairs:
        """All pairs with an IoU that reaches `floor` by these rules."""
        found = found.rows(found.score.sort(descending=True, stable=True).indices)
        found = found.rows(found.label.sort(stable=True).indices)
        images = 1 + max((int(rows.image.max()) for rows in (found, truths) if len(rows)), default=0)
        keys, truth_keys = found.label * images + found.image, truths.label * images + truths.image
        rank = _rank(keys)
        if rules.most is not None:
            kept = rank < rules.most
            found, keys, rank = found.rows(kept), keys[kept], rank[kept]
        truth_keys, order = truth_keys.sort(stable=True)
        first, end = (torch.searchsorted(truth_keys, keys, right=right) for right in (False, True))
        blocks = [
            _overlaps(found.edges, truths.edges, detection, order[place], rules, floor)
            for detection, place in _neighbours(first, end - first)
        ]
        detection, truth, ratio = (torch.cat(parts) for parts in zip(*blocks, strict=True))
        # Of equally good truths the first is better, and to COCO the last.
        order = (truth.neg() if rules.again else truth).argsort(stable=True)
        order = order[ratio[order].argsort(descending=True, stable=True)]
        order = order[detection[order].argsort(stable=True)]
        return cls(found, truths, rank, detection[order], truth[order], ratio[order])

    def last(self, truths: Tensor) -> Pairs:  # (M,) bool
        """The same pairs, but a detection takes the truths of the mask (M,) only after all others."""
        order = (2 * self.detection + truths[self.truth]).argsort(stable=True)
        return replace(self, detection=self.detection[order], truth=self.truth[order], iou=self.iou[order])

    def match(self, threshold: float, rules: Rules) -> Tensor:  # -> (D,)
        """For every detection the truth that it finds, or -1."""
        close = self.iou > threshold if rules.above else self.iou >= min(threshold, 1 - 1e-10)
        detection, truth = self.detection[close], self.truth[close]
        if not rules.again:
            best = torch.ones_like(detection, dtype=torch.bool)
            best[1:] = detection[1:] != detection[:-1]
            detection, truth = detection[best], truth[best]
        return _in_turn(detection, truth, len(self.found), len(self.truths))


class Overlapping:
    """Caches the pairs of found and annotated boxes for each set of rules."""

    def __init__(self, found: Rows, truths: Rows, sizes: Tensor) -> None:  # (I, 2) width and height of the pictures
        self.found, self.truths, self.sizes = found, truths, sizes
        self._made: dict[tuple[Rules, float], Pairs] = {}

    @one_thread()
    def pairs(self, rules: Rules, floor: float) -> Pairs:
        """The pairs with an IoU that reaches `floor` by these rules."""
        if not 0 <= floor <= 1:
            raise DarknetError(f"the IoU threshold is {floor}; it must be from 0 to 1")
        if (rules, floor) not in self._made:
            found = self.found.clipped(self.sizes, rules.pixel) if rules.clips else self.found
            self._made[rules, floor] = Pairs.of(found, self.truths, rules, floor)
        return self._made[rules, floor]


def _in_turn(detection: Tensor, truth: Tensor, detections: int, truths: int) -> Tensor:  # (P,), (P,) -> (D,)
    """Let every detection in turn take the first of its truths that is free.

    All detections ask for their first truth at once; a truth goes to the earliest of them, and those that lose ask for
    their next one. The result is that of taking turns, after about as many rounds as there are truths near a detection.
    """
    count = detection.bincount(minlength=detections)
    end = count.cumsum(0)
    at = end - count
    holder = torch.full((truths,), detections, dtype=torch.int64)
    asking = count.nonzero()[:, 0]
    while len(asking):
        wanted = truth[at[asking]]
        before = holder[wanted]
        holder.scatter_reduce_(0, wanted, asking, "amin")
        won = holder[wanted] == asking
        lost = torch.cat((asking[~won], before[won & (before < detections)]))
        at[lost] += 1
        asking = lost[at[lost] < end[lost]]
    taken = (holder < detections).nonzero()[:, 0]
    return torch.full((detections,), -1, dtype=torch.int64).scatter_(0, holder[taken], taken)


def _rank(keys: Tensor) -> Tensor:  # (D,) -> (D,)
    """How many earlier rows have the same key."""
    ordered, order = keys.sort(stable=True)
    start = torch.searchsorted(ordered, ordered)
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(keys)) - start)


def _neighbours(first: Tensor, count: Tensor) -> Iterator[tuple[Tensor, Tensor]]:  # (D,), (D,) -> (P,), (P,) each
    """Every detection with each of the `count` truths from `first` on, in blocks that fit into memory."""
    starts = torch.cat((torch.zeros(1, dtype=torch.int64), count.cumsum(0)))
    done, total = 0, len(first)
    while True:
        stop = int(torch.searchsorted(starts, starts[done] + PAIRS_AT_ONCE, right=True)) - 1
        stop = min(max(stop, done + 1), total)
        row = torch.arange(done, stop).repeat_interleave(count[done:stop])
        yield row, torch.arange(len(row)) - (starts[row] - starts[done]) + first[row]
        done = stop
        if done >= total:
            return


def _overlaps(
    found: Tensor, truths: Tensor, detection: Tensor, truth: Tensor, rules: Rules, floor: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs whose IoU reaches `floor`, with that IoU."""
    a, b = found[detection], truths[truth]
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    inter = (high - low + rules.pixel).clamp(min=0).prod(1)
    union = (a[:, 2:] - a[:, :2] + rules.pixel).prod(1) + (b[:, 2:] - b[:, :2] + rules.pixel).prod(1) - inter
    ratio = (inter / union).nan_to_num(0.0)
    close = (ratio >= min(floor, 1 - 1e-10)) & (ratio > 0)
    return detection[close], truth[close], ratio[close]
