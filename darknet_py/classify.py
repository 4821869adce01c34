"""Pictures to classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from darknet_py.detect import Picture, class_name, each_picture
from darknet_py.engine import Engine
from darknet_py.errors import DarknetError
from darknet_py.image import letterbox
from darknet_py.network import Network
from darknet_py.picture import ImageLike
from darknet_py.tree import WordTree


@dataclass(frozen=True, eq=False)
class Classification:
    """The most probable classes of one picture, best first."""

    labels: Tensor  # (K,) int64
    probabilities: Tensor  # (K,)
    names: tuple[str, ...]  # (K,)

    def __len__(self) -> int:
        return len(self.names)

    def to_dicts(self) -> list[dict[str, Any]]:
        """A dict a class, ready for JSON."""
        rows = zip(self.labels.tolist(), self.names, self.probabilities.tolist(), strict=True)
        return [{"class_id": label, "name": name, "probability": value} for label, name, value in rows]


@dataclass(frozen=True)
class Classifier:
    """A network with probabilities of classes at its end."""

    network: Network
    names: tuple[str, ...] = ()
    engine: Engine = field(default=None, compare=False, repr=False)  # type: ignore[assignment]  # None: one of its own

    def __post_init__(self) -> None:
        if self.engine is None:
            object.__setattr__(self, "engine", Engine(self.network))

    def classify(self, images: Sequence[Tensor], top: int) -> list[Classification]:
        """The `top` classes of pictures (C, H, W) of any sizes, letterboxed as predict_classifier does it."""
        if top < 1:
            raise DarknetError(f"top is {top}; it must be 1 or more")
        if not images:
            return []
        _, h, w = self.network.input_shape
        with torch.inference_mode():
            batch = torch.stack([letterbox(image, w, h).to(self.network.device) for image in images])
            rows = self.leaves(self.engine.heads(batch.to(self.network.dtype))[-1].flatten(1).float())
        return [self.best(row, top) for row in rows.cpu()]

    def classify_each(self, sources: Iterable[ImageLike], top: int, batch: int) -> Iterator[Picture[Classification]]:
        """Go through pictures, `batch` at a time; one that cannot be read gives its error, and the rest go on."""
        return each_picture(sources, self.network.input_shape.c, lambda images: self.classify(images, top), batch)

    def leaves(self, rows: Tensor) -> Tensor:  # (N, classes) -> (N, classes)
        """Probabilities of the classes; with a tree, those of its leaves, and 0 for the rest."""
        tree: WordTree | None = getattr(self.network.layers[self.network.graph.outputs[-1]], "tree", None)
        return rows if tree is None else tree.absolute(rows) * tree.leaves.to(rows.device)

    def best(self, row: Tensor, top: int) -> Classification:
        """The `top` classes of one row of probabilities."""
        values, labels = row.topk(min(top, len(row)))
        return Classification(labels, values, tuple(class_name(self.names, n) for n in labels.tolist()))
