"""How often a classifier is right: `classifier valid` of the C program and its other ways to look at a picture."""

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
from darknet_py.tree.wordtree import WordTree

SHIFT: Final = 32  # pixels
SCALES: Final = (224, 256, 288, 320)


def single(image: Tensor, size: Shape) -> Views:
    """The largest square in the middle."""
    return [center_crop(image, size.w, size.h)[None]]


def ten(image: Tensor, size: Shape) -> Views:
    """Middle and corners of the picture, which is made a little larger than the input, and of its mirror image."""
    image = resize(image, size.w + SHIFT, size.h + SHIFT)
    shifts = ((-SHIFT, -SHIFT), (SHIFT, -SHIFT), (0, 0), (-SHIFT, SHIFT), (SHIFT, SHIFT))
    return [torch.stack([crop(side, x, y, size.w, size.h) for side in (image, image.flip(-1)) for x, y in shifts])]


def full(image: Tensor, size: Shape) -> Views:
    """All of the picture, its shorter side as long as the input's width."""
    return [resize_min(image, size.w)[None]]


def multi(image: Tensor, _size: Shape) -> Views:
    """All of the picture and its mirror image, in four sizes."""
    images = [resize_max(image, scale) for scale in SCALES]
    return [torch.stack((one, one.flip(-1))) for one in images]


VIEWS: Final[dict[str, Callable[[Tensor, Shape], Views]]] = {
    "single": single, "ten": ten, "full": full, "multi": multi,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Answer:
    """What a classifier says of one picture."""

    path: str
    truth: int  # the first class whose name is in the path; -1 for none
    values: Tensor  # (classes,) probabilities, added up over the views
    best: tuple[int, ...]  # the most probable classes


@dataclass(frozen=True)
class Accuracy:
    """Counts over the pictures so far."""

    top: int
    pictures: int = 0
    first: int = 0  # pictures whose most probable class is right
    within: int = 0  # pictures whose class is among the `top` most probable

    def plus(self, answer: Answer) -> Accuracy:
        """With one picture more."""
        first, within = answer.truth == answer.best[0], answer.truth in answer.best
        return Accuracy(self.top, self.pictures + 1, self.first + first, self.within + within)

    @property
    def top_1(self) -> float:
        """The share of the pictures whose most probable class is right."""
        return self.first / max(self.pictures, 1)

    @property
    def top_k(self) -> float:
        """The share of the pictures whose class is among the `top` most probable."""
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
    """What a classifier says of every picture of a list, or why it cannot be read.

    `labels` are the names of its first classes, and those that can be the answer. With a tree only leaves can be, or
    the nodes named in `leaves`. `views` is a key of `VIEWS`.
    """
    network = classifier.network
    size, tree = network.input_shape, network.graph.heads[-1].layer.word_tree
    if views not in VIEWS:
        raise DarknetError(f"there is no way {views!r} to look at a picture; use one of {', '.join(VIEWS)}")
    outputs = network.graph.heads[-1].shape.size
    if not 0 < len(labels) <= outputs:
        raise DarknetError(f"there are {len(labels)} names of classes, but the network gives {outputs}")
    mask = _leaves(tree, leaves)
    seen = each_output(
        classifier.engine, paths, lambda image: VIEWS[views](image, size), batch=batch, progress=progress
    )
    for one, found in seen:
        if isinstance(one.views, ImageError):
            yield one.views
            continue
        rows = torch.cat([heads[-1].flatten(1).float() for heads in found])
        if tree is not None:
            rows = tree.absolute(rows) * mask.to(rows.device)
        values = rows.sum(0).cpu()[: len(labels)]
        best = tuple(values.sort(descending=True, stable=True).indices[:top].tolist())
        truth = next((n for n, label in enumerate(labels) if label in one.path), -1)
        yield Answer(one.path, truth, values, best)


def _leaves(tree: WordTree | None, names: Sequence[str] | None) -> Tensor:  # (C,) bool
    """Which nodes of a tree can be the answer."""
    if tree is None or names is None:
        return torch.ones(1, dtype=torch.bool) if tree is None else tree.leaves
    wanted = set(names)
    return torch.tensor([name in wanted for name in tree.names], dtype=torch.bool)
