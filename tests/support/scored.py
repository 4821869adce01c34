"""Pictures, labels and detections for the tests of evaluation."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import torch
from PIL import Image

from darknet_py.evaluate import Scores
from darknet_py.evaluate.table import Rows

PICTURES = {"0.jpg": (40, 30), "1.jpg": (33, 48), "2.jpg": (70, 21), "3.jpg": (64, 48)}  # width, height


def scores_of(truths, found, classes, size=(1000, 1000)):
    """Scores of lists, one a picture, of (label, edges) and (label, score, edges)."""
    real = [[(label, 1.0, edges) for label, edges in picture] for picture in truths]
    return Scores(_rows(found), _rows(real), torch.tensor([size] * len(truths)), classes)


def _rows(pictures):
    tables = [np.array([[label, score, *edges] for label, score, edges in rows]).reshape(-1, 6) for rows in pictures]
    return Rows.joined([(torch.tensor(t[:, 0]), torch.tensor(t[:, 2:]), torch.tensor(t[:, 1])) for t in tables])


def drawn_scores(seed, pictures=20, classes=4, most_truths=12, most_found=40, *, grid=0):
    """Truths and detections near them, with equal scores, empty pictures and, on a grid, equal overlaps."""
    draw = np.random.default_rng(seed)
    truths, found, sizes = [], [], []
    for _ in range(pictures):
        size = draw.integers(8, 80, 2) * 8
        count = int(draw.integers(0, most_truths + 1)) * int(draw.random() > 0.2)
        corner = draw.random((count, 2)) * size * 0.8
        edges = np.concatenate((corner, np.minimum(corner + np.exp(draw.normal(3.8, 1, (count, 2))), size)), 1)
        labels = draw.integers(0, max(classes - 1, 1), count)  # the last class is never there
        detections = int(draw.integers(0, most_found + 1)) * int(draw.random() > 0.1)
        near = draw.integers(0, count, detections) if count else np.zeros(0, int)
        jitter = draw.normal(0, 0.08, (len(near), 4)) * np.tile(edges[near, 2:] - edges[near, :2], 2)
        guesses = np.where(draw.random(len(near)) < 0.8, labels[near], draw.integers(0, classes, len(near)))
        moved = edges[near] + jitter
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2])
        if grid:
            edges, moved = np.round(edges / grid) * grid, np.round(moved / grid) * grid
        moved = np.clip(moved, 0, np.tile(size, 2))
        scores = draw.integers(1, 100, len(near)) / 100
        truths.append((torch.tensor(labels), torch.tensor(edges), torch.ones(count)))
        found.append((torch.tensor(guesses), torch.tensor(moved), torch.tensor(scores)))
        sizes.append((int(size[0]), int(size[1])))
    return Scores(Rows.joined(found), Rows.joined(truths), torch.tensor(sizes), classes)


def cocoeval(scores):
    """What pycocotools makes of the same rows."""
    from pycocotools.coco import COCO  # noqa: PLC0415
    from pycocotools.cocoeval import COCOeval  # noqa: PLC0415

    def rows(table):
        edges = table.edges.tolist()
        boxes = [[left, top, right - left, bottom - top] for left, top, right, bottom in edges]
        return zip(table.image.tolist(), table.label.tolist(), boxes, table.score.tolist(), strict=True)

    annotations = [
        {"id": n, "image_id": image, "category_id": label, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for n, (image, label, box, _) in enumerate(rows(scores.truths), 1)
    ]
    results = [
        {"image_id": image, "category_id": label, "bbox": box, "score": score}
        for image, label, box, score in rows(scores.found)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": n} for n in range(len(scores.sizes))],
            "categories": [{"id": n} for n in range(scores.classes)],
            "annotations": annotations,
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def draw_pictures(folder):
    """Pictures without chance, with labels beside them and a list of their paths."""
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    paths = []
    for n, (name, (width, height)) in enumerate(PICTURES.items()):
        y, x, c = np.mgrid[:height, :width, :3]
        pixels = (x * 7 + y * 13 + c * 50 + x * y // 5 + (x > 15) * 90 + n * 31) % 256
        path = folder / "images" / f"pic_00{7 + n}_{name}"
        Image.fromarray(pixels.astype(np.uint8)).save(path, "PNG")
        (folder / "labels" / f"pic_00{7 + n}_{name[0]}.txt").write_text("0 0.5 0.5 0.6 0.7\n1 0.25 0.3 0.3 0.25\n")
        paths.append(str(path))
    (folder / "valid.txt").write_text("".join(f"{path}\n" for path in paths))
    return paths
