"""COCO's twelve numbers, as cocoeval.py computes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from darknet_py.evaluate.curves import COCO_IOUS, COCO_RECALLS, average, precision_recall
from darknet_py.evaluate.matching import COCO, Pairs
from darknet_py.evaluate.table import Rows

MOST: Final = (1, 10, 100)  # detections of a class in a picture
AREAS: Final = {  # smallest and largest area in pixels, inclusive
    "": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}


@dataclass(frozen=True, eq=False)
class _Area:
    """Average precision and recall, at each IoU, of the classes that have truths in one range of areas."""

    precision: Tensor  # (T, K)
    recall: dict[int, Tensor]  # by how many detections count: (T, K)


def summary(pairs: Pairs, classes: int) -> dict[str, float]:
    """AP, AP50, AP75, APsmall, ..., AR1, AR10, AR100, ARsmall, ...; NaN where no truth is of that size."""
    areas = {name: _of_area(pairs, classes, bounds) for name, bounds in AREAS.items()}
    everything = areas.pop("")
    fifty, seventy_five = (min(range(10), key=lambda n: abs(COCO_IOUS[n] - iou)) for iou in (0.5, 0.75))
    result = {
        "AP": everything.precision.mean(),
        "AP50": everything.precision[fifty].mean(),
        "AP75": everything.precision[seventy_five].mean(),
        **{f"AP{name}": area.precision.mean() for name, area in areas.items()},
        **{f"AR{most}": everything.recall[most].mean() for most in MOST},
        **{f"AR{name}": area.recall[MOST[-1]].mean() for name, area in areas.items()},
    }
    return {name: float(value) for name, value in result.items()}


def _of_area(pairs: Pairs, classes: int, bounds: tuple[float, float]) -> _Area:
    """The results of cocoeval's evaluateImg and accumulate for one range of areas."""
    outside = _outside(pairs.truths, bounds)
    preferred = pairs.last(outside) if outside.any() else pairs
    match = torch.stack([preferred.match(iou, COCO) for iou in COCO_IOUS])  # (T, D)
    hit = match >= 0
    ignored = torch.where(hit, outside[match.clamp(min=0)] if len(outside) else hit, _outside(pairs.found, bounds))
    truths = pairs.truths.label[~outside].bincount(minlength=classes)
    ends = torch.searchsorted(pairs.found.label, torch.arange(classes + 1)).tolist()
    precisions, recalls = [], []
    for label in truths.nonzero()[:, 0].tolist():
        span = slice(ends[label], ends[label + 1])
        right, counts = hit[:, span], ~ignored[:, span]
        precision, recall = precision_recall(right, counts, int(truths[label]))
        precisions.append(average(precision, recall, COCO_RECALLS))
        within = torch.stack([pairs.rank[span] < most for most in MOST])
        found = (right & counts)[:, None] & within  # (T, 3, n)
        recalls.append(found.sum(2).double() / truths[label])
    if not precisions:
        nothing = torch.full((len(COCO_IOUS), 1), torch.nan, dtype=torch.float64)
        return _Area(nothing, dict.fromkeys(MOST, nothing))
    recall = torch.stack(recalls, 1)  # (T, K, 3)
    return _Area(torch.stack(precisions, 1), {most: recall[..., n] for n, most in enumerate(MOST)})


def _outside(rows: Rows, bounds: tuple[float, float]) -> Tensor:  # -> (N,) bool
    area = (rows.edges[:, 2:] - rows.edges[:, :2]).prod(1)
    return (area < bounds[0]) | (area > bounds[1])
