"""The [region] loss once more, in plain loops over numbers: slow, and easy to hold against the description."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Rules:
    """The keys of a [region] section, its tree as the parent of each class, and its map."""

    anchors: list[tuple[float, float]]
    classes: int
    coords: int = 4
    softmax: bool = False
    background: bool = False
    rescore: bool = False
    bias_match: bool = False
    thresh: float = 0.5
    coord_scale: float = 1.0
    object_scale: float = 1.0
    noobject_scale: float = 1.0
    mask_scale: float = 1.0
    class_scale: float = 1.0
    parents: list[int] = field(default_factory=list)
    map: list[int] = field(default_factory=list)


@dataclass
class Sums:
    """What the printed line is made of."""

    iou: float = 0.0
    label: float = 0.0
    objectness: float = 0.0
    everywhere: float = 0.0
    recalled: int = 0
    boxes: int = 0
    labels: int = 0


@dataclass
class Answer:
    delta: np.ndarray  # as raw: minus the gradient
    cost: float
    statistics: list[float]


def sigmoid(v: float) -> float:
    return 1 / (1 + math.exp(-v))


def softmax(values: list[float]) -> list[float]:
    top = max(values)
    powers = [math.exp(v - top) for v in values]
    return [p / sum(powers) for p in powers]


def overlap(low: float, size: float, other_low: float, other_size: float) -> float:
    left = max(low - size / 2, other_low - other_size / 2)
    right = min(low + size / 2, other_low + other_size / 2)
    return max(right - left, 0.0)


def iou(a: list[float], b: list[float]) -> float:
    inter = overlap(a[0], a[2], b[0], b[2]) * overlap(a[1], a[3], b[1], b[3])
    union = a[2] * a[3] + b[2] * b[3] - inter
    return inter / union if union else 0.0


def path(parents: list[int], label: int) -> list[int]:
    found = []
    while label >= 0:
        found.append(label)
        label = parents[label]
    return found


class Picture:
    """One picture of the batch: decoded values, and the deltas as they are written, overwritten and added to."""

    def __init__(self, rules: Rules, raw: np.ndarray, sums: Sums, prior: bool) -> None:  # raw (A, E, H, W)
        self.rules, self.sums, self.prior = rules, sums, prior
        self.count, self.entries, self.height, self.width = raw.shape
        self.boxes = [
            (a, j, i) for a in range(self.count) for j in range(self.height) for i in range(self.width)
        ]  # fmt: skip
        self.value = {at: self.decode([float(v) for v in raw[at[0], :, at[1], at[2]]]) for at in self.boxes}
        self.delta = {at: [0.0] * self.entries for at in self.boxes}
        self.taken: set[tuple[int, int, int]] = set()

    def decode(self, raw: list[float]) -> list[float]:
        rules = self.rules
        first = rules.coords + 1
        xy = [sigmoid(v) for v in raw[:2]]
        mask = [sigmoid(v) for v in raw[4 : rules.coords]]
        objectness = raw[rules.coords] if rules.background else sigmoid(raw[rules.coords])
        classes = raw[first:]
        if rules.parents:
            parents = rules.parents
            groups = [[c for c in range(rules.classes) if parents[c] == p] for p in sorted(set(parents))]
            done = {c: p for group in groups for c, p in zip(group, softmax([classes[c] for c in group]), strict=True)}
            classes = [done[c] for c in range(rules.classes)]
        elif rules.softmax and rules.background:
            objectness, *classes = softmax(raw[rules.coords :])
        elif rules.softmax:
            classes = softmax(classes)
        else:
            classes = [sigmoid(v) for v in classes]
        return [*xy, *raw[2:4], *mask, objectness, *classes]

    def box(self, at: tuple[int, int, int]) -> list[float]:
        x, y, w, h = self.value[at][:4]
        anchor = self.rules.anchors[at[0]]
        width, height = math.exp(w) * anchor[0] / self.width, math.exp(h) * anchor[1] / self.height
        return [(at[2] + x) / self.width, (at[1] + y) / self.height, width, height]

    def learn(self, truths: list[list[float]]) -> None:
        listed = []
        for truth in truths[:30]:
            if truth[0] == 0:
                break
            listed.append(truth)
        if self.rules.parents:
            for truth in listed:
                if truth[0] > 100000 and truth[1] > 100000:
                    self.learn_class_alone(int(truth[-1]))
                    return
        self.learn_no_object(listed)
        for truth in listed:
            self.learn_truth(truth)

    def learn_class_alone(self, label: int) -> None:
        rules = self.rules
        at_objectness, best, best_at = rules.coords, 0.0, self.boxes[0]
        for at in self.boxes:
            value = self.value[at]
            self.delta[at][at_objectness] = rules.noobject_scale * (0 - value[at_objectness])
            likely = value[at_objectness] if label < rules.classes else 0.0
            for c in path(rules.parents, label) if label < rules.classes else []:
                likely *= value[rules.coords + 1 + c]
            if likely > best:
                best, best_at = likely, at
        self.learn_label(best_at, label)
        self.delta[best_at][at_objectness] = 0.0
        self.sums.labels += 1

    def learn_no_object(self, truths: list[list[float]]) -> None:
        rules = self.rules
        for at in self.boxes:
            value, delta = self.value[at], self.delta[at]
            objectness = value[rules.coords]
            self.sums.everywhere += objectness
            delta[rules.coords] = rules.noobject_scale * ((1 if rules.background else 0) - objectness)
            box = self.box(at)
            if max([iou(box, truth[:4]) for truth in truths], default=0.0) > rules.thresh:
                delta[rules.coords] = 0.0
            if self.prior:
                delta[:4] = [0.01 * (wanted - v) for wanted, v in zip((0.5, 0.5, 0, 0), value[:4], strict=True)]

    def learn_truth(self, truth: list[float]) -> None:
        rules = self.rules
        x, y, w, h = truth[:4]
        i, j = int(x * self.width), int(y * self.height)
        if not (0 <= i < self.width and 0 <= j < self.height):
            return
        best, anchor = 0.0, 0
        for a in range(self.count):
            own = rules.anchors[a][0] / self.width, rules.anchors[a][1] / self.height
            sides = list(own) if rules.bias_match else self.box((a, j, i))[2:]
            same = iou([0, 0, *sides], [0, 0, w, h])
            if same > best:
                best, anchor = same, a
        at = anchor, j, i
        value, delta = self.value[at], self.delta[at]
        own = rules.anchors[anchor]
        corner = [x * self.width - i, y * self.height - j]
        wanted = [*corner, math.log(w * self.width / own[0]), math.log(h * self.height / own[1])]
        for n in range(4):
            delta[n] = rules.coord_scale * (2 - w * h) * (wanted[n] - value[n])
        for n in range(4, rules.coords):
            delta[n] = rules.mask_scale * (truth[n] - value[n])
        near = iou(self.box(at), truth[:4])
        target = 0.0 if rules.background else near if rules.rescore else 1.0
        delta[rules.coords] = rules.object_scale * (target - value[rules.coords])
        self.sums.iou += near
        self.sums.recalled += near > 0.5
        self.sums.objectness += value[rules.coords]
        self.sums.boxes += 1
        self.sums.labels += 1
        label = int(truth[-1])
        if rules.map:
            label = rules.map[label] if 0 <= label < len(rules.map) else -1
        self.learn_label(at, label)

    def learn_label(self, at: tuple[int, int, int], label: int) -> None:
        rules, value, delta, first = self.rules, self.value[at], self.delta[at], self.rules.coords + 1
        known = 0 <= label < rules.classes
        if rules.parents:
            likely = float(known)
            for c in path(rules.parents, label) if known else []:
                likely *= value[first + c]
                for n in range(rules.classes):
                    if rules.parents[n] == rules.parents[c]:
                        delta[first + n] = rules.class_scale * ((1 if n == c else 0) - value[first + n])
            self.sums.label += likely
            return
        adds = not rules.softmax and rules.class_scale != 0
        if adds and at in self.taken:
            if known:
                delta[first + label] = rules.class_scale * (1 - value[first + label])
            return
        self.taken.add(at)
        for n in range(rules.classes):
            delta[first + n] = rules.class_scale * ((1 if n == label else 0) - value[first + n])
        self.sums.label += value[first + label] if known else 0.0

    def gradient(self, at: tuple[int, int, int]) -> list[float]:
        """The deltas behind the logistic."""
        rules, value, delta = self.rules, self.value[at], list(self.delta[at])
        through = [0, 1, *range(4, rules.coords), *([] if rules.background else [rules.coords])]
        for n in through:
            delta[n] *= value[n] * (1 - value[n])
        return delta


def region_loss(rules: Rules, raw: np.ndarray, truths: np.ndarray, seen: int) -> Answer:
    """`raw` (N, A, E, H, W) and `truths` (N, T, coords + 1); the deltas have the shape of `raw`."""
    sums, delta, cost = Sums(), np.zeros_like(raw), 0.0
    for n in range(len(raw)):
        picture = Picture(rules, raw[n], sums, seen < 12800)
        picture.learn([[float(v) for v in row] for row in truths[n]])
        for at in picture.boxes:
            cost += sum(v * v for v in picture.delta[at])
            delta[n, at[0], :, at[1], at[2]] = picture.gradient(at)
    boxes, labels = sums.boxes or math.nan, sums.labels or math.nan
    anchors = len(raw) * raw.shape[1] * raw.shape[3] * raw.shape[4]
    means = [sums.iou / boxes, sums.label / labels, sums.objectness / boxes, sums.everywhere / anchors]
    return Answer(delta, cost, [*means, sums.recalled / boxes, sums.boxes])
