"""Pictures to classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from darknet_py.engine import Engine
from darknet_py.errors import DarknetError, memory_errors
from darknet_py.network.modes import looking
from darknet_py.network.module import Network
from darknet_py.pictures.files import ImageLike
from darknet_py.pictures.letterbox import fitted
from darknet_py.predict.detections import Classification
from darknet_py.predict.detector import class_name
from darknet_py.predict.stream import Picture, each_picture
from darknet_py.tree.walk import walk_in


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
        self.network.check_values()
        _, h, w = self.network.input_shape
        wanted = f"{len(images)} pictures in a network of {w} x {h}"
        with looking(self.network), torch.inference_mode(), memory_errors(wanted, "fewer at a time need less"):
            batch = fitted(images, w, h).to(self.network.device, self.network.dtype)
            rows = self.leaves(self.engine.watched(self.engine.heads(batch))[-1].flatten(1).float())
        return [self.best(row, top) for row in rows.cpu()]

    def classify_each(
        self, sources: Iterable[ImageLike], top: int, batch: int, *, eager: bool = True
    ) -> Iterator[Picture[Classification]]:
        """Go through pictures as `each_picture` does."""
        return each_picture(sources, self.engine, lambda images: self.classify(images, top), batch, eager=eager)

    def leaves(self, rows: Tensor) -> Tensor:  # (N, classes) -> (N, classes)
        """Probabilities of the classes; with a tree, those of its leaves, and 0 for the rest."""
        walk = walk_in(self.network.layers[self.network.graph.outputs[-1]])
        return rows if walk is None else walk.leaves(rows)

    def best(self, row: Tensor, top: int) -> Classification:
        """The `top` classes of one row of probabilities."""
        values, labels = row.topk(min(top, len(row)))
        return Classification(labels, values, tuple(class_name(self.names, n) for n in labels.tolist()))
