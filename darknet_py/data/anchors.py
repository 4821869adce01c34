"""Anchors for a data set: k-means over the sizes of its boxes, and how well given anchors fit them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from darknet_py.cfg import find_listed
from darknet_py.data.labels import LabelError, label_path, read_labels
from darknet_py.devices import one_thread
from darknet_py.errors import CfgError, DarknetError

MOST: Final = 1000  # anchors
STARTS: Final = 10
ROUNDS: Final = 300
PATIENCE: Final = 10  # rounds without a gain
GAIN: Final = 1e-5  # a smaller gain, as a fraction of the cost, counts as none
SAMPLE: Final = 100_000  # boxes that starting centres are tried on
LEAST: Final = 0.001  # the smallest side of a box that training uses
PAIRS_AT_ONCE: Final = 1 << 16  # pairs of a box and an anchor: few enough to stay in the cache
SHORT_SIDE: Final = 600  # the shorter side to which Faster R-CNN resizes a picture
LONG_SIDE: Final = 1000  # the most that its longer side may have
VOC_PICTURE: Final = (500, 375)  # the commonest size there
TABLE: Final = (
    ("Cluster SSE", "sse", 5),
    ("Cluster IOU", "iou", 5),
    ("Anchor Boxes", None, 9),
    ("Cluster IOU", "iou", 9),
)


@dataclass(frozen=True, eq=False)
class Anchors:
    """Anchors in order of area, and the mean over all boxes of the IoU with the anchor nearest in shape."""

    name: str
    boxes: Tensor  # (K, 2) float64: width, height in the units of the sizes they were made for
    average_iou: float
    rounds: int = 0  # of k-means; 0 where there were none
    converged: bool = True

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        found = {"name": self.name, "anchors": self.boxes.tolist(), "average_iou": self.average_iou}
        return {**found, "rounds": self.rounds, "converged": self.converged} if self.rounds else found


@one_thread()
def average_iou(sizes: Tensor, anchors: Tensor) -> float:  # (N, 2), (K, 2)
    """The mean over all boxes of the IoU with the anchor nearest in shape, both centred on one point."""
    cost, _ = _nearest(_checked(sizes).T.contiguous(), _checked(anchors), _one_less_iou)
    return 1 - cost.double().mean().item()


@one_thread()
def cluster(
    sizes: Tensor, count: int, *, distance: str = "iou", seed: int = 0, starts: int = STARTS, rounds: int = ROUNDS
) -> Anchors:  # (N, 2)
    """The centres of `count` clusters of box sizes, by k-means with the distance 1 - IoU or the squared one ("sse").

    A centre is the mean of its boxes, with 1 - IoU too, as in AlexeyAB's calc_anchors. The mean does not minimise the
    sum of 1 - IoU, so the best round counts, not the last. Starts are those of k-means++, tried on at most `SAMPLE`
    boxes; the best start continues with all boxes. A cluster that loses its last box moves to the box farthest from its
    centre. Raises `DarknetError` if there are fewer different sizes than `count`.
    """
    sizes = _checked(sizes)
    if not 1 <= count <= MOST:
        raise DarknetError(f"{count} anchors were asked for; it can be 1 to {MOST}")
    different = len(sizes.view(torch.int64).unique())  # a pair of float32 at a time
    if different < count:
        raise DarknetError(f"{count} anchors were asked for, but the boxes have only {different} different sizes")
    generator = torch.Generator().manual_seed(seed)
    few = sizes if len(sizes) <= SAMPLE else sizes[torch.randperm(len(sizes), generator=generator)[:SAMPLE]]
    measure = DISTANCES[distance]
    draws = torch.rand(max(1, starts), count, dtype=torch.float64, generator=generator)
    tries = (_lloyd(few, _plus_plus(few, row, measure), measure, rounds) for row in draws.tolist())
    best = min(tries, key=lambda found: found.cost)
    if few is not sizes:
        best = _lloyd(sizes, best.centres, measure, rounds)
    centres = best.centres[best.centres.prod(1).argsort()]
    return Anchors(
        f"Cluster {distance.upper()}", centres.double(), average_iou(sizes, centres), best.rounds, best.converged
    )


def faster_rcnn(picture: tuple[int, int] = VOC_PICTURE) -> Tensor:  # (9, 2)
    """The nine boxes of Faster R-CNN, relative to a picture of this size (width, height).

    They have the areas 128^2, 256^2 and 512^2 and the shapes 1:1, 1:2 and 2:1, in pixels of the picture resized to a
    shorter side of 600 but a longer side of at most 1000.
    """
    if min(picture) < 1:
        raise DarknetError(f"a picture of {picture[0]} x {picture[1]} is not possible")
    scale = min(SHORT_SIDE / min(picture), LONG_SIDE / max(picture))
    side = torch.tensor([128.0, 256.0, 512.0], dtype=torch.float64)[:, None]
    stretch = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64).sqrt()
    pixels = torch.stack((side * stretch, side / stretch), -1).flatten(0, 1)
    return pixels / (scale * torch.tensor(picture, dtype=torch.float64))


def table(sizes: Tensor, hand_made: Tensor, *, seed: int = 0) -> Iterator[Anchors]:  # (N, 2), (9, 2)
    """The rows of table 1 of the YOLO9000 paper for these boxes; `hand_made` are those of `faster_rcnn`."""
    for name, distance, count in TABLE:
        if distance is None:
            yield Anchors(name, hand_made, average_iou(sizes, hand_made))
        else:
            yield cluster(sizes, count, distance=distance, seed=seed)


@dataclass(frozen=True, eq=False)
class _Round:
    cost: float
    centres: Tensor
    rounds: int = 0
    converged: bool = False


Measure = Callable[[Tensor, Tensor], Tensor]


def _one_less_iou(columns: Tensor, anchors: Tensor) -> Tensor:  # (2, N), (K, 2) -> (K, N)
    w, h = columns
    inter = torch.minimum(w, anchors[:, :1]).mul_(torch.minimum(h, anchors[:, 1:]))
    union = (w * h + anchors.prod(1, keepdim=True)).sub_(inter)
    return inter.div_(union).neg_().add_(1)


def _squared(columns: Tensor, anchors: Tensor) -> Tensor:  # (2, N), (K, 2) -> (K, N)
    w, h = columns
    return (w - anchors[:, :1]).square_().add_((h - anchors[:, 1:]).square_())


DISTANCES: Final[Mapping[str, Measure]] = {"iou": _one_less_iou, "sse": _squared}


def _nearest(columns: Tensor, anchors: Tensor, measure: Measure) -> tuple[Tensor, Tensor]:  # -> (N,), (N,) int16
    """The distance of each box, given as widths and heights (2, N), to its nearest anchor, and that anchor's index."""
    falling = np.arange(len(anchors), 0, -1, dtype=np.int16)[:, None]
    costs, labels = [], []
    for part in columns.split(max(1, PAIRS_AT_ONCE // len(anchors)), 1):
        distance = measure(part, anchors)
        costs.append(distance.amin(0))
        # The first that is as near as the nearest one: min(0) and argmin(0) would take far longer.
        labels.append(len(anchors) - ((distance.numpy() == costs[-1].numpy()) * falling).max(0))
    return torch.cat(costs), torch.from_numpy(np.concatenate(labels))


def _plus_plus(sizes: Tensor, draws: Sequence[float], measure: Measure) -> Tensor:  # (N, 2), K -> (K, 2)
    """Boxes as first centres, each drawn with a probability proportional to its distance from the earlier ones."""
    columns = sizes.T.contiguous()
    cost = sizes.new_ones(len(sizes))
    chosen: list[Tensor] = []
    for n, draw in enumerate(draws):
        sums = cost.double().cumsum(0)
        place = torch.searchsorted(sums, draw * sums[-1:], right=True).clamp_(max=len(sizes) - 1)
        chosen.append(sizes[place])
        fresh = measure(columns, chosen[-1])[0]
        cost = fresh if n == 0 else torch.minimum(cost, fresh)
    return torch.cat(chosen)


def _lloyd(sizes: Tensor, centres: Tensor, measure: Measure, rounds: int) -> _Round:
    """Move every centre to the mean of its nearest boxes until the cost stays; returns the best round."""
    best, last_gain = _Round(torch.inf, centres), 0
    columns = sizes.T.contiguous()
    cost, labels = _nearest(columns, centres, measure)
    for turn in range(1, rounds + 1):
        centres, before = _moved(sizes, cost, labels, len(centres)), labels
        cost, labels = _nearest(columns, centres, measure)
        total = cost.double().sum().item()
        if total < best.cost:
            last_gain = turn if total < best.cost * (1 - GAIN) else last_gain
            best = _Round(total, centres)
        if turn - last_gain >= PATIENCE or torch.equal(labels, before):
            return _Round(best.cost, best.centres, turn, converged=True)
    return _Round(best.cost, best.centres, rounds)


def _moved(sizes: Tensor, cost: Tensor, labels: Tensor, count: int) -> Tensor:  # (N, 2), (N,), (N,) -> (K, 2)
    """The mean of every cluster; for an empty one, a box that is farthest from its own centre."""
    counts = labels.bincount(minlength=count)
    sums = torch.stack([labels.bincount(side.double(), minlength=count) for side in sizes.unbind(1)], 1)
    centres = (sums / counts[:, None]).to(sizes.dtype)
    empty = (counts == 0).nonzero()[:, 0]
    centres[empty] = sizes[cost.topk(len(empty)).indices]
    return centres


def _checked(sizes: Tensor) -> Tensor:
    """Sizes (N, 2) as float32; raises `DarknetError` unless all are above 0."""
    if sizes.ndim != 2 or sizes.shape[1] != 2 or not len(sizes):
        raise DarknetError(f"sizes (N, 2) with at least one row were expected, not {tuple(sizes.shape)}")
    sizes = sizes.detach().float().cpu().contiguous()
    if not ((sizes > 0) & sizes.isfinite()).all():
        raise DarknetError("the width and height of a box must be above 0")
    return sizes


def label_sizes(
    pictures: Iterable[str], source: str, report: Callable[[str], None]
) -> tuple[Tensor, int]:  # -> (N, 2), files
    """Width and height, as fractions of the picture, of all boxes in the label files of `pictures`, and how many files.

    `source` is the list of pictures; its folder is searched too. Boxes that training drops, with a side under .001, are
    left out, and so are lines with a class only. A label file that cannot be used is reported.
    """
    found, files = [torch.empty(0, 2, dtype=torch.float32)], 0
    for picture in pictures:
        try:
            found.append(read_labels(label_path(find_listed(picture, source)))[:, 3:])
            files += 1
        except LabelError as error:
            for problem in error.problems:
                report(problem)
        except CfgError as error:
            report(str(error))
    sizes = torch.cat(found)
    return sizes[(sizes >= LEAST).all(1)], files


def pairs(values: Sequence[float]) -> Tensor:  # -> (K, 2) float64
    """Anchors from the list of numbers in a cfg; raises `DarknetError` if their count is odd."""
    if not values or len(values) % 2:
        raise DarknetError(f"anchors are pairs of width and height, but {len(values)} numbers are given")
    return torch.tensor(values, dtype=torch.float64).view(-1, 2)
