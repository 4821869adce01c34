"""Average precision: pycocotools' numbers, VOC's by hand and by a loop, AlexeyAB's table by a loop."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from darknet_py.errors import DarknetError
from darknet_py.evaluate.curves import COCO_IOUS, alexeyab
from tests.support.scored import cocoeval, drawn_scores, scores_of

# Two pictures of one class, truths of 10 x 10 pixels; to VOC a box from 0 to 9 is 10 pixels wide.
TRUTHS = [[(0, (0, 0, 9, 9)), (0, (20, 0, 29, 9))], [(0, (0, 0, 9, 9))]]
FOUND = [
    [
        (0, 0.9, (0, 0, 9, 9)),  # found
        (0, 0.8, (1, 0, 10, 9)),  # the same truth again: wrong
        (0, 0.6, (20, 0, 24, 9)),  # 50 of 100 pixels: the IoU is .5, which reaches .5: found
    ],
    [
        (0, 0.7, (30, 30, 39, 39)),  # nothing there: wrong
        (0, 0.5, (0, 0, 9, 8)),  # 90 of 100 pixels: found
    ],
]
# In the order of the scores: found, wrong, wrong, found, found.
PRECISION = [1, 1 / 2, 1 / 3, 2 / 4, 3 / 5]
RECALL = [1 / 3, 1 / 3, 1 / 3, 2 / 3, 1]


def test_voc_by_hand():
    scores = scores_of(TRUTHS, FOUND, 1)
    precision, recall, score = scores.precision_recall(0)
    assert precision.tolist() == pytest.approx(PRECISION)
    assert recall.tolist() == pytest.approx(RECALL)
    assert score.tolist() == [0.9, 0.8, 0.7, 0.6, 0.5]
    # 11 points: recalls 0, .1, .2, .3 have a best precision of 1; .4, ..., 1 are seven with .6.
    assert scores.mean_average_precision(0.5, "voc07") == pytest.approx((4 * 1 + 7 * 0.6) / 11)
    # Area: a third at 1, two thirds at .6.
    assert scores.mean_average_precision(0.5, "area") == pytest.approx(1 / 3 + 2 / 3 * 0.6)
    # At an IoU of .6 the box of .5 is wrong: found, wrong, wrong, wrong, found.
    assert scores.mean_average_precision(0.6, "area") == pytest.approx(1 / 3 + 1 / 3 * 2 / 5)


def test_alexeyab_by_hand():
    scores = scores_of(TRUTHS, FOUND, 1)
    # Edges are no pixels: 4 * 9 of 9 * 9 is .44, so the fourth is wrong; the second, 8 of 10, is wrong as before.
    table = scores.alexeyab(thresh=0.55, iou=0.5, points=0)
    assert (table.right, table.wrong, table.truths) == (1, 3, 3)
    assert table.mean_average_precision == pytest.approx(1 / 3 + 1 / 3 * 2 / 5)
    assert table.average_iou == pytest.approx(1 / 4)
    assert str(table).splitlines() == [
        " detections_count = 5, unique_truth_count = 3  ",
        "class_id = 0, name = 0, ap = 46.67%   \t (TP = 1, FP = 3) ",
        "",
        " for conf_thresh = 0.55, precision = 0.25, recall = 0.33, F1-score = 0.29 ",
        " for conf_thresh = 0.55, TP = 1, FP = 3, FN = 2, average IoU = 25.00 % ",
        "",
        " IoU threshold = 50 %, used Area-Under-Curve for each unique Recall ",
        " mean average precision (mAP@0.50) = 0.466667, or 46.67 % ",
    ]
    with_empty_class = scores_of(TRUTHS, FOUND, 2).alexeyab()
    assert str(with_empty_class).endswith(" with the classes that have no truths as 0: 0.233333 ")
    assert with_empty_class.mean_average_precision == pytest.approx(2 * with_empty_class.mean_over_all)
    assert "used 11 Recall-points" in str(scores.alexeyab(points=11))
    # Recalls 0 to .3 at 1, .4 to .6 at 2 / 5, and none from .7 on.
    assert scores.alexeyab(points=11).mean_average_precision == pytest.approx((4 + 3 * 0.4) / 11)


def test_an_overlap_of_exactly_the_threshold():
    truths, found = [[(0, (0, 0, 10, 10))]], [[(0, 0.9, (0, 0, 10, 5))]]
    scores = scores_of(truths, found, 1)
    assert scores.mean_average_precision(0.5, "coco") == 1
    assert scores.alexeyab(iou=0.5).mean_average_precision == 0  # has to be above
    assert scores.alexeyab(iou=0.49).mean_average_precision == 1


def test_the_second_best_truth_counts_for_coco_alone():
    truths = [[(0, (0, 0, 10, 10)), (0, (0, 0, 10, 12))]]
    found = [[(0, 0.9, (0, 0, 10, 10)), (0, 0.8, (0, 0, 10, 10.5))]]  # both are nearest to the first truth
    scores = scores_of(truths, found, 1)
    assert scores.mean_average_precision(0.5, "coco") == 1
    assert scores.mean_average_precision(0.5, "area") == 0.5


def test_boxes_are_cut_off_at_the_border_but_for_alexeyab():
    truths, found = [[(0, (0, 0, 10, 10))]], [[(0, 0.9, (-20, -20, 10, 10))]]
    scores = scores_of(truths, found, 1, size=(10, 10))
    assert scores.mean_average_precision(0.9, "coco") == 1
    assert scores.alexeyab().mean_average_precision == 0


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("grid", [0, 8])  # on a grid many overlaps are equal, and some are exactly at a threshold
def test_the_numbers_of_pycocotools(seed, grid):
    pytest.importorskip("pycocotools")
    crowded = seed % 4 == 3
    scores = drawn_scores(seed, 6 if crowded else 20, 2 if crowded else 4, 12, 400 if crowded else 40, grid=grid)
    reference = cocoeval(scores)
    wanted = np.where(reference.stats < 0, np.nan, reference.stats)
    assert np.allclose(list(scores.coco.values()), wanted, rtol=0, atol=1e-12, equal_nan=True)
    tables = reference.eval["precision"][:, :, :, 0, 2]  # IoU, recall, class
    wanted = np.where(tables < 0, np.nan, tables).mean(1)
    for iou, row in zip(COCO_IOUS, wanted, strict=True):
        mine = scores.average_precisions(iou, "coco").numpy()
        assert np.allclose(mine, row, rtol=0, atol=1e-12, equal_nan=True)
    assert scores.mean_average_precision(COCO_IOUS, "coco") == pytest.approx(wanted.mean(0)[:-1].mean(), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_voc_and_alexeyab_by_loops(seed):
    scores = drawn_scores(seed, grid=8 if seed % 2 else 0)
    for iou in (0.3, 0.5, 0.75):
        voc = [slow_curve(scores, label, iou, pixel=1, above=False) for label in range(scores.classes)]
        area = [slow_area(*curve) for curve in voc]
        points = [slow_points(*curve, 11) for curve in voc]
        assert np.allclose(scores.average_precisions(iou, "area"), area, atol=1e-12, equal_nan=True)
        assert np.allclose(scores.average_precisions(iou, "voc07"), points, atol=1e-12, equal_nan=True)
        other = [slow_curve(scores, label, iou, pixel=0, above=True) for label in range(scores.classes)]
        for count in (0, 11, 101):
            wanted = [slow_points(*curve, count) if count else slow_area(*curve) for curve in other]
            assert np.allclose(
                scores.average_precisions(iou, alexeyab(count)), wanted, atol=1e-12, equal_nan=True
            )  # fmt: skip


def slow_curve(scores, label, iou, *, pixel, above):
    """Precision and recall of a class, one detection after the other."""
    truths = [
        (image, edges, [])
        for image, other, edges in zip(
            scores.truths.image.tolist(), scores.truths.label.tolist(), scores.truths.edges.tolist(), strict=True
        )
        if other == label
    ]
    found = [
        (score, image, edges)
        for score, image, other, edges in zip(
            scores.found.score.tolist(), scores.found.image.tolist(), scores.found.label.tolist(),
            scores.found.edges.tolist(), strict=True,
        )
        if other == label
    ]  # fmt: skip
    right, precision, recall = 0, [], []
    for n, (_, image, edges) in enumerate(sorted(found, key=lambda row: -row[0]), 1):
        width, height = scores.sizes[image].tolist()
        ends = (width - pixel, height - pixel) * 2
        box = [min(max(value, 0), end) for value, end in zip(edges, ends, strict=True)] if pixel else edges
        best, taken = 0.0, None
        for other, truth, by in truths:
            overlap = slow_iou(box, truth, pixel) if other == image else 0.0
            if overlap > best:
                best, taken = overlap, by
        if taken is not None and (best > iou or (best == iou and not above)):
            right += not taken
            taken.append(n)
        precision.append(right / n)
        recall.append(right / max(len(truths), 1))
    return precision, recall, len(truths)


def slow_iou(a, b, pixel):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + pixel)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + pixel)
    areas = [(box[2] - box[0] + pixel) * (box[3] - box[1] + pixel) for box in (a, b)]
    union = areas[0] + areas[1] - width * height
    return width * height / union if union else 0.0


def slow_area(precision, recall, truths):
    if not truths:
        return math.nan
    total, before = 0.0, 0.0
    for n, value in enumerate(recall):
        total += (value - before) * max(precision[n:])
        before = value
    return total


def slow_points(precision, recall, truths, points):
    if not truths:
        return math.nan
    best = [
        max((p for p, r in zip(precision, recall, strict=True) if r >= k / (points - 1)), default=0.0)
        for k in range(points)
    ]
    return sum(best) / points


def test_no_detections_and_no_truths():
    nothing_found = scores_of([[(0, (0, 0, 9, 9))]], [[]], 2)
    assert nothing_found.mean_average_precision() == 0
    assert math.isnan(nothing_found.average_precisions()[1])
    assert nothing_found.coco["AP"] == 0
    nothing_there = scores_of([[]], [[(1, 0.5, (0, 0, 9, 9))]], 2)
    assert math.isnan(nothing_there.mean_average_precision())
    assert math.isnan(nothing_there.coco["APlarge"])
    nothing = scores_of([[], []], [[], []], 3)
    assert math.isnan(nothing.mean_average_precision(COCO_IOUS, "coco"))
    for scores in (nothing_found, nothing_there, nothing):
        json.dumps(scores.to_dict() | scores.alexeyab().to_dict(), allow_nan=False)
        assert "mAP@0.50" in str(scores.alexeyab())


def test_to_dict():
    record = scores_of(TRUTHS, FOUND, 3).to_dict()
    assert record["pictures"] == 2
    assert [(row["class_id"], row["truths"], row["detections"]) for row in record["classes"]] == [(0, 3, 5)]
    assert record["mean_average_precision"]["area"] == pytest.approx(1 / 3 + 2 / 3 * 0.6)
    assert list(record["coco"])[:3] == ["AP", "AP50", "AP75"]


def test_wrong_arguments():
    scores = scores_of(TRUTHS, FOUND, 1)
    with pytest.raises(DarknetError, match="no method 'voc'; use one of voc07, area, coco"):
        scores.mean_average_precision(0.5, "voc")
    with pytest.raises(DarknetError, match="the IoU threshold is 50; it must be from 0 to 1"):
        scores.mean_average_precision(50)
    with pytest.raises(DarknetError, match="points is 1"):
        scores.alexeyab(points=1)


def test_many_boxes_at_once(monkeypatch):
    scores = drawn_scores(5, 10, 1, 30, 60)
    wanted = scores.coco
    again = drawn_scores(5, 10, 1, 30, 60)
    monkeypatch.setattr("darknet_py.evaluate.matching.PAIRS_AT_ONCE", 7)
    assert again.coco == pytest.approx(wanted, nan_ok=True)
    assert torch.equal(again.average_precisions(), scores.average_precisions())
