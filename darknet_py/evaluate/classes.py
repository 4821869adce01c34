"""The accuracy of a classifier: `classifier valid` of the C program, and its variants with several crops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from darknet_py.errors import DarknetError, ImageError
from darknet_py.evaluate.reader import Progress, Views, each_output
from darknet_py.layers.base import Shape
from darknet_py.pictures.operations import center_crop, crop, resize, resize_max, resize_min
from darknet_py.predict.classifier import Classifier
from darknet_py.tree.walk import walk_in
from darknet_py.tree.wordtree import WordTree

SHIFT: Final = 32  # pixels
SCALES: Final = (224, 256, 288, 320)


def single(image: Tensor, size: Shape) -> Views:  # (C, H, W) -> [(1, C, h, w)]
    """The largest square in the middle."""
    return [center_crop(image, size.w, size.h)[None]]


def ten(image: Tensor, size: Shape) -> Views:  # (C, H, W) -> [(10, C, h, w)]
    """The middle and the corners of a picture that is a little larger than the input, and of its mirror image."""
    image = resize(image, size.w + SHIFT, size.h + SHIFT)
    shifts = ((-SHIFT, -SHIFT), (SHIFT, -SHIFT), (0, 0), (-SHIFT, SHIFT), (SHIFT, SHIFT))
    return [torch.stack([crop(side, x, y, size.w, size.h) for side in (image, image.flip(-1)) for x, y in shifts])]


def full(image: Tensor, size: Shape) -> Views:  # (C, H, W) -> [(1, C, h, w)]
    """The whole picture, its shorter side as long as the input's width."""
    return [resize_min(image, size.w)[None]]


def multi(image: Tensor, _size: Shape) -> Views:  # (C, H, W) -> [(2, C, h, w), ...]
    """The whole picture and its mirror image, in four sizes."""
    images = [resize_max(image, scale) for scale in SCALES]
    return [torch.stack((one, one.flip(-1))) for one in images]


VIEWS: Final[dict[str, Callable[[Tensor, Shape], Views]]] = {
    "single": single, "ten": ten, "full": full, "multi": multi,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Answer:
    """A classifier's answer for one picture."""

    path: str
    truth: int  # the first class whose name is in the path; -1 for none
    values: Tensor  # (classes,) probabilities, added up over the views
    best: tuple[int, ...]  # the most probable classes


@dataclass(frozen=True)
class Accuracy:
    """Counts of the pictures so far."""

    top: int
    pictures: int = 0
    first: int = 0  # pictures whose most probable class is right
    within: int = 0  # pictures whose class is among the `top` most probable

    def plus(self, answer: Answer) -> Accuracy:
        """The counts with one more picture."""
        first, within = answer.truth == answer.best[0], answer.truth in answer.best
        return Accuracy(self.top, self.pictures + 1, self.first + first, self.within + within)

    @property
    def top_1(self) -> float:
        """The fraction of the pictures whose most probable class is right."""
        return self.first / max(self.pictures, 1)

    @property
    def top_k(self) -> float:
        """The fraction of the pictures whose class is among the `top` most probable."""
        return self.within / max(self.pictures, 1)

    def __str__(self) -> str:
        return f"{self.pictures - 1}: top 1: {self.top_1:f}, top {self.top}: {self.top_k:f}"

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"pictures": self.pictures, "top_1": self.top_1, "top": self.top, "top_k": self.top_k}


def answers(
    classifier: Classifier,
    paths: Sequence[str],
    labels: Sequence[str],
    *,
    top: int = 1,
    views: str = "single",
    leaves: Sequence[str] | None = None,
    batch: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Answer | ImageError]:
    """A classifier's answer for every picture of a list, or why it cannot be read.

    `labels` are the names of the first classes, which can be the answer. With a tree only its leaves can be, or the
    nodes named in `leaves`. `views` is a key of `VIEWS`.
    """
    network = classifier.network
    size, walk = network.input_shape, walk_in(network.layers[network.graph.outputs[-1]])
    if views not in VIEWS:
        raise DarknetError(f"there is no way {views!r} to look at a picture; use one of {', '.join(VIEWS)}")
    outputs = network.graph.heads[-1].shape.size
    if not 0 < len(labels) <= outputs:
        raise DarknetError(f"there are {len(labels)} names of classes, but the network gives {outputs}")
    mask = None if walk is None else _answers(walk.tree, leaves)
    seen = each_output(
        classifier.engine, paths, lambda image: VIEWS[views](image, size), batch=batch, progress=progress
    )
    for one, found in seen:
        if isinstance(one.views, ImageError):
            yield one.views
            continue
        rows = torch.cat([heads[-1].flatten(1).float() for heads in found])
        if walk is not None:
            rows = walk.absolute(rows)
        values = rows.sum(0).cpu()
        values = (values if mask is None else values * mask)[: len(labels)]
        best = tuple(values.sort(descending=True, stable=True).indices[:top].tolist())
        truth = next((n for n, label in enumerate(labels) if label in one.path), -1)
        yield Answer(one.path, truth, values, best)


def _answers(tree: WordTree, names: Sequence[str] | None) -> Tensor:  # (C,) bool
    """Which nodes of a tree can be the answer: its leaves, or those with these names."""
    wanted = tree.leaves if names is None else tuple(name in set(names) for name in tree.names)
    return torch.tensor(wanted, dtype=torch.bool)
