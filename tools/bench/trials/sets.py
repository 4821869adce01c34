"""Jobs of the bench of jobs with whole data sets: average precision, anchors."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from darknet_py.data.anchors import SAMPLE, average_iou, cluster
from darknet_py.evaluate import Scores
from darknet_py.evaluate.table import Rows
from tools.bench.peers.runner import needed
from tools.bench.trials.trial import Built, Entrant, Results, Setup, Trial, invited

PICTURES = (500, 1_500, 5_000)
BOXES = (10_000, 100_000, 1_000_000)
CLASSES, ANCHORS, STARTS = 80, 9, 10
SHAPES = (
    (0.02, 0.03), (0.04, 0.07), (0.08, 0.06), (0.07, 0.15), (0.15, 0.11), (0.14, 0.28), (0.28, 0.21), (0.37, 0.48),
    (0.9, 0.78),
)  # fmt: skip


def scoring(setup: Setup) -> Iterator[Trial]:
    """COCO's twelve numbers of detections that are in memory."""
    for size in PICTURES:
        scores = drawn_scores(setup.amount(size))
        ours = Entrant("Scores.coco", partial(coco_of, scores))
        others, absent = invited("pycocotools", partial(pycocotools, scores))
        title = f"{len(scores.sizes):,} pictures, {len(scores.found):,} boxes"
        yield Trial(title, len(scores.sizes), [ours, *others], same_numbers, absent)


def coco_of(scores: Scores) -> list[float]:
    """The numbers, with nothing remembered of another time."""
    return list(replace(scores).coco.values())


def drawn_scores(pictures: int) -> Scores:
    """Truths as many as in COCO's pictures, and about fifty detections in each."""
    draw = np.random.default_rng(0)
    image = np.repeat(np.arange(pictures), draw.poisson(7, pictures))
    label = np.minimum(draw.exponential(12, len(image)).astype(int), CLASSES - 1)
    centre, half = draw.random((len(image), 2)) * (640, 480), np.exp(draw.normal(4.2, 0.9, (len(image), 2))) / 2
    limit = np.array((640, 480, 640, 480))
    edges = np.concatenate((centre - half, centre + half), 1).clip(0, limit)
    near = np.concatenate((np.arange(len(image)).repeat(4), draw.integers(0, max(len(image), 1), 22 * pictures)))
    moved = edges[near] + draw.normal(0, 0.12, (len(near), 4)) * np.tile(edges[near, 2:] - edges[near, :2], 2)
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
    where = np.concatenate((image.repeat(4), draw.integers(0, pictures, 22 * pictures)))
    guess = np.where(draw.random(len(near)) < 0.8, label[near], draw.integers(0, CLASSES, len(near)))
    columns = (where, guess, moved.clip(0, limit), draw.random(len(near)) ** 3)
    found, truths = (Rows(*map(torch.from_numpy, c)) for c in (columns, (image, label, edges, np.ones(len(image)))))
    return Scores(found, truths, torch.tensor([[640, 480]] * pictures), CLASSES)


def pycocotools(scores: Scores) -> Entrant:
    """COCOeval, with its tables already filled."""
    evaluator = needed("pycocotools.cocoeval").COCOeval
    truth = needed("pycocotools.coco").COCO()
    columns = (scores.truths, scores.found)
    truths, found = ([
        {"id": n, "image_id": image, "category_id": label, "bbox": [x, y, r - x, b - y], "area": (r - x) * (b - y),
         "iscrowd": 0, "score": score}
        for n, (image, label, (x, y, r, b), score) in enumerate(
            zip(rows.image.tolist(), rows.label.tolist(), rows.edges.tolist(), rows.score.tolist(), strict=True), 1)
    ] for rows in columns)  # fmt: skip
    truth.dataset = {
        "info": {}, "annotations": truths, "images": [{"id": n} for n in range(len(scores.sizes))],
        "categories": [{"id": n} for n in range(scores.classes)],
    }  # fmt: skip

    def evaluate() -> list[float]:
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = evaluator(truth, detections, "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return [float(value) for value in evaluation.stats]

    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        detections = truth.loadRes(found)
    return Entrant("pycocotools", evaluate, "Scores.coco", note="its tables filled before")


def same_numbers(results: Results) -> str:
    """How far the twelve numbers are apart; what is not defined is -1 to pycocotools."""
    if "pycocotools" not in results:
        return ""
    ours, theirs = np.nan_to_num(results["Scores.coco"], nan=-1), np.array(results["pycocotools"])
    apart = float(np.abs(ours - theirs).max())
    return f"AP {ours[0]:.6f}; the twelve numbers are {apart:.1e} apart" + ("" if apart < 1e-9 else ": they DIFFER")


def clustering(setup: Setup) -> Iterator[Trial]:
    """Nine anchors of boxes: the best of ten starts."""
    for size in BOXES:
        count = setup.amount(size, ANCHORS)
        draw = np.random.default_rng(0)
        shapes = np.array(SHAPES)[draw.integers(0, len(SHAPES), count)] * np.exp(draw.normal(0, 0.45, (count, 2)))
        sizes = torch.from_numpy(shapes.clip(0.004, 1).astype(np.float32))
        starts = f"{STARTS} starts, on {SAMPLE:,} boxes at the most"
        ours = [
            Entrant("cluster, 1 - IoU", partial(anchors_of, sizes, "iou"), note=starts),
            Entrant("cluster, sse", partial(anchors_of, sizes, "sse"), note=starts),
        ]
        others, absent = scikit_learn(sizes)
        yield Trial(f"{count:,} boxes", count, [*ours, *others], partial(fits, sizes), absent)


def anchors_of(sizes: Tensor, distance: str) -> Tensor:
    """Centres of clusters."""
    return cluster(sizes, ANCHORS, distance=distance, starts=STARTS).boxes.float()


def scikit_learn(sizes: Tensor) -> Built:
    """K-means with the distance that scikit-learn has, Euclid's, and its variant on small batches."""

    def build() -> list[Entrant]:
        module, rows = needed("sklearn.cluster"), sizes.numpy()

        def centres(kind: Any, starts: int) -> Tensor:
            return torch.from_numpy(kind(ANCHORS, n_init=starts, random_state=0).fit(rows).cluster_centers_)

        return [
            Entrant(f"KMeans, {STARTS} starts", partial(centres, module.KMeans, STARTS), "cluster, sse"),
            Entrant("KMeans, 1 start", partial(centres, module.KMeans, 1), "cluster, 1 - IoU", note="its default"),
            Entrant("MiniBatchKMeans", partial(centres, module.MiniBatchKMeans, 3), "cluster, 1 - IoU"),
        ]

    return invited("scikit-learn", build)


def fits(sizes: Tensor, results: Results) -> str:
    """How well everybody's anchors fit: the average IoU, and the mean squared distance in thousandths."""
    found = ((name, average_iou(sizes, centres), 1e3 * squared(sizes, centres)) for name, centres in results.items())
    return "IoU and square: " + "; ".join(f"{name} {iou:.3f} {square:.3f}" for name, iou, square in found)


def squared(sizes: Tensor, centres: Tensor) -> float:
    """The mean squared distance of a box from its nearest centre."""
    nearest = [(part[:, None] - centres).square_().sum(2).amin(1) for part in sizes.split(1 << 16)]
    return torch.cat(nearest).double().mean().item()
