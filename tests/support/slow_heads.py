"""The losses of [yolo] and [detection] as loops over pictures, cells, anchors and truths, one value at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from darknet_py.layers.detection import Detection
from darknet_py.layers.yolo import Yolo

Floats = NDArray[np.float64]


@dataclass
class Slow:
    """What a slow loss gives; `sums` are of the truths that were found."""

    delta: Floats
    count: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    @property
    def cost(self) -> float:
        return float((self.delta**2).sum())

    def add(self, **values: float) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def mean(self, name: str) -> float:
        return self.sums.get(name, 0.0) / self.count if self.count else math.nan


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def overlap(a, b) -> float:
    """IoU of two boxes x, y, w, h with the centre in x, y."""
    sides = [
        min(a[k] + a[k + 2] / 2, b[k] + b[k + 2] / 2) - max(a[k] - a[k + 2] / 2, b[k] - b[k + 2] / 2) for k in (0, 1)
    ]
    shared = sides[0] * sides[1] if min(sides) >= 0 else 0.0
    whole = a[2] * a[3] + b[2] * b[3] - shared
    return shared / whole if whole else 0.0


def cell_of(value: float, cells: int) -> int:
    """In float32, as a truth that lies on the border of two cells is rounded."""
    return int(np.float32(value) * np.float32(cells))


def listed(truth, most: int) -> list[list[float]]:
    """The rows before the first with x = 0."""
    rows = []
    for row in truth[:most]:
        if row[0] == 0:
            break
        rows.append([float(value) for value in row])
    return rows


class SlowYolo:
    """One head; `raw` is (N, A, 5 + classes, H, W), `truth` (N, T, 5), `size` the width and height of the input."""

    def __init__(self, layer: Yolo, raw, truth, size, classes=None) -> None:
        self.layer, self.size, self.classes = layer, size, classes
        self.anchors = layer.all_anchors
        self.mask = list(range(layer.num)) if layer.mask is None else list(layer.mask)
        self.output = np.vectorize(logistic)(raw.astype(np.float64))
        self.output[:, :, 2:4] = raw[:, :, 2:4]
        self.rows, self.columns = raw.shape[3:]
        self.result = Slow(np.zeros_like(self.output))
        self.labels: dict[tuple[int, ...], set[int]] = {}
        for picture in range(len(raw)):
            rows = listed(truth[picture], layer.max)
            self.missing(picture, rows)
            for row in rows:
                self.found(picture, row)

    def box(self, at) -> list[float]:
        picture, anchor, row, column = at
        x, y, w, h = self.output[picture, anchor, :4, row, column]
        width, height = self.anchors[self.mask[anchor]]
        centre = [(column + x) / self.columns, (row + y) / self.rows]
        return [*centre, math.exp(w) * width / self.size[0], math.exp(h) * height / self.size[1]]

    def missing(self, picture: int, rows) -> None:
        """Every box learns that there is no object, or that it is close to one."""
        for anchor, row, column in np.ndindex(len(self.mask), self.rows, self.columns):
            at = picture, anchor, row, column
            best, nearest = 0.0, None
            for truth in rows:
                found = overlap(self.box(at), truth)
                if found > best:
                    best, nearest = found, truth
            objectness = self.output[picture, anchor, 4, row, column]
            self.result.delta[picture, anchor, 4, row, column] = -objectness if best <= self.layer.ignore_thresh else 0
            if best > self.layer.truth_thresh:
                self.learn(at, nearest)

    def found(self, picture: int, truth) -> None:
        """The box with the anchor of the truth's shape learns it, if it is this head's."""
        best, anchor = 0.0, 0
        for number, (width, height) in enumerate(self.anchors):
            shape = [0, 0, width / self.size[0], height / self.size[1]]
            found = overlap(shape, [0, 0, *truth[2:4]])
            if found > best:
                best, anchor = found, number
        column, row = cell_of(truth[0], self.columns), cell_of(truth[1], self.rows)
        if anchor not in self.mask or not (0 <= column < self.columns and 0 <= row < self.rows):
            return
        at = picture, self.mask.index(anchor), row, column
        self.learn(at, truth)
        found, label = overlap(self.box(at), truth), self.label(truth)
        values = self.output[at[0], at[1], :, row, column]
        self.result.count += 1
        self.result.add(overlap=found, objectness=values[4], half=found > 0.5, most=found > 0.75)
        self.result.add(label=values[5 + label] if 0 <= label < self.layer.classes else 0)

    def label(self, truth) -> int:
        return int(truth[4]) if self.classes is None else self.classes[int(truth[4])]

    def learn(self, at, truth) -> None:
        picture, anchor, row, column = at
        values, delta = (a[picture, anchor, :, row, column] for a in (self.output, self.result.delta))
        width, height = self.anchors[self.mask[anchor]]
        wanted = [
            truth[0] * self.columns - column,
            truth[1] * self.rows - row,
            math.log(truth[2] * self.size[0] / width),
            math.log(truth[3] * self.size[1] / height),
        ]
        for n in range(4):
            delta[n] = (2 - truth[2] * truth[3]) * (wanted[n] - values[n])
        delta[4] = 1 - values[4]
        labels = self.labels.setdefault(at, set())
        labels.add(self.label(truth))
        for n in range(self.layer.classes):
            delta[5 + n] = (n in labels) - values[5 + n]

    def statistics(self) -> list[float]:
        mean = self.result.mean
        other = float(self.output[:, :, 4].mean())
        return [
            mean("overlap"),
            mean("label"),
            mean("objectness"),
            other,
            mean("half"),
            mean("most"),
            self.result.count,
        ]


class SlowDetection:
    """`raw` is (N, values), `truth` (N, S, 1 + classes + coords); `drawn` (N, S) the boxes of random=1."""

    def __init__(self, layer: Detection, raw, truth, drawn=None) -> None:
        self.layer, self.drawn = layer, drawn
        cells, coords = layer.side**2, layer.coords
        splits = np.cumsum([cells * layer.classes, cells * layer.num])
        self.delta = np.zeros(raw.shape)
        self.result = Slow(self.delta)
        self.other = 0.0
        for picture, values in enumerate(raw.astype(np.float64)):
            parts = [part.copy() for part in np.split(values, splits)]
            deltas = np.split(self.delta[picture], splits)  # views
            shapes = (cells, layer.classes), (cells, layer.num), (cells, layer.num, coords)
            parts, deltas = ([a.reshape(s) for a, s in zip(group, shapes, strict=True)] for group in (parts, deltas))
            for cell in range(cells):
                self.cell(picture, cell, truth[picture, cell], [p[cell] for p in parts], [d[cell] for d in deltas])

    def box(self, values) -> list[float]:
        w, h = (value**2 if self.layer.sqrt else value for value in values[2:4])
        return [values[0] / self.layer.side, values[1] / self.layer.side, w, h]

    def cell(self, picture: int, cell: int, truth, values, delta) -> None:
        layer = self.layer
        classes, objectness, boxes = values
        if layer.softmax:
            classes = np.exp(classes - classes.max()) / np.exp(classes - classes.max()).sum()
        for n in range(layer.num):
            delta[1][n] = -layer.noobject_scale * objectness[n]
            self.other += objectness[n]
        if int(truth[0]) == 0:
            return
        wanted = [float(value) for value in truth[1 + layer.classes :]]
        place = [wanted[0] / layer.side, wanted[1] / layer.side, *wanted[2:4]]
        for n in range(layer.classes):
            delta[0][n] = layer.class_scale * (truth[1 + n] - classes[n])
            self.result.add(positive=classes[n] * (truth[1 + n] != 0), every=classes[n] / layer.classes)
        best = self.best(picture, cell, place, boxes)
        found = overlap(self.box(boxes[best]), place)
        delta[1][best] = layer.object_scale * ((found if layer.rescore else 1) - objectness[best])
        for n in range(4):
            goal = math.sqrt(wanted[n]) if layer.sqrt and n > 1 else wanted[n]
            delta[2][best][n] = layer.coord_scale * (goal - boxes[best][n])
        self.result.count += 1
        self.result.add(overlap=found, objectness=objectness[best])

    def best(self, picture: int, cell: int, place, boxes) -> int:
        if self.drawn is not None:
            return int(self.drawn[picture, cell])
        if self.layer.forced:
            return int(np.float32(place[2]) * np.float32(place[3]) < 0.1)
        best, highest, nearest = -1, 0.0, 20.0
        for n, values in enumerate(boxes):
            found = overlap(self.box(values), place)
            distance = math.dist(self.box(values), place)
            if highest > 0 or found > 0:
                if found > highest:
                    best, highest = n, found
            elif distance < nearest:
                best, nearest = n, distance
        return best

    def statistics(self) -> list[float]:
        mean, layer = self.result.mean, self.layer
        other = self.other / (len(self.delta) * layer.side**2 * layer.num)
        return [mean("overlap"), mean("positive"), mean("every"), mean("objectness"), other, self.result.count]
