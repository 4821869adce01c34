"""Pictures to boxes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from darknet_py import devices
from darknet_py.boxes.formats import row_of_each, xyxy_from_cxcywh
from darknet_py.boxes.suppress import Nms
from darknet_py.cfg.dialect import Fit
from darknet_py.devices import one_thread
from darknet_py.engine import Engine
from darknet_py.errors import memory_errors
from darknet_py.network.modes import looking
from darknet_py.network.module import Network
from darknet_py.pictures.files import ImageLike
from darknet_py.pictures.letterbox import fitted
from darknet_py.pictures.opening import Size
from darknet_py.predict.candidates import Candidates
from darknet_py.predict.decode import Settings, decode
from darknet_py.predict.detections import Detections
from darknet_py.predict.stream import Picture, each_picture
from darknet_py.tree.walk import TreeWalk, walk_in

ADVICE = "fewer at a time or a smaller size need less"  # memory


@dataclass(frozen=True)
class Detector:
    """A network with boxes at its end, and how its pictures are brought to size."""

    network: Network
    names: tuple[str, ...] = ()
    as_printed: bool = False  # rows in the order in which the C program prints them, not best first
    engine: Engine = field(default=None, compare=False, repr=False)  # type: ignore[assignment]  # None: one of its own

    def __post_init__(self) -> None:
        if self.engine is None:
            object.__setattr__(self, "engine", Engine(self.network))

    @property
    def walk(self) -> TreeWalk | None:
        """The walk down the tree of the head's classes, if it has one."""
        return walk_in(self.network.layers[self.network.graph.outputs[-1]])

    @property
    def classes(self) -> int:
        """How many classes the head knows."""
        count: int = getattr(self.network.graph.heads[-1].layer, "classes")  # noqa: B009
        return count

    @property
    def stretches(self) -> bool:
        """Whether pictures are stretched to the input's size, not letterboxed."""
        return self.network.graph.fit is Fit.STRETCH

    def suppression(self, asked: float | Nms | None = None) -> Nms:
        """How boxes suppress each other; None asks for what the program of the dialect does."""
        return Nms.of(self.network.graph.dialect.nms if asked is None else asked)

    def fit(self, image: Tensor) -> Tensor:
        """A picture (C, H, W) in the size of the network's input."""
        _, h, w = self.network.input_shape
        return fitted([image], w, h, stretch=self.stretches)[0]

    def detect(self, images: Sequence[Tensor], settings: Settings, nms: Nms) -> list[Detections]:
        """What is in pictures (C, H, W) of any sizes, which go through the network together.

        A GPU also finds the boxes of all at once; a CPU does that as fast for one after the other.
        """
        sizes = [(image.shape[2], image.shape[1]) for image in images]
        if devices.suits(self.network.device):
            return self.decode_all(self.heads(images), sizes, settings, nms) if images else []
        found = zip(self.outputs(images), sizes, strict=True)
        return [self.decode(outputs, size, settings, nms) for outputs, size in found]

    def heads(self, images: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The outputs (N, ...) of all heads for N pictures (C, H, W), which go through the network together."""
        self.network.check_values()
        _, h, w = self.network.input_shape
        wanted = f"{len(images)} pictures in a network of {w} x {h}"
        with looking(self.network), torch.inference_mode(), memory_errors(wanted, ADVICE):
            there = [image.to(self.network.device) for image in images]
            batch = fitted(there, w, h, stretch=self.stretches)
            return self.engine.watched(self.engine.heads(batch.to(self.network.dtype)))

    def outputs(self, images: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        """The same for each of the pictures."""
        return list(zip(*self.heads(images), strict=True)) if images else []

    def decode(self, outputs: Sequence[Tensor], picture: Size, settings: Settings, nms: Nms) -> Detections:
        """`decode_all` for one picture; its outputs have no batch dimension."""
        heads = [output[None] for output in outputs]
        return self.decode_all(heads, [picture], settings, nms)[0]

    @one_thread()
    def decode_all(
        self, heads: Sequence[Tensor], sizes: Sequence[Size], settings: Settings, nms: Nms
    ) -> list[Detections]:
        """The detections in the outputs (N, ...) of all heads for N pictures of those widths and heights."""
        candidates = self.candidates(heads, sizes, settings)
        if self.as_printed or nms.by_objectness:
            candidates = candidates.as_printed(nms)
        candidates = candidates.suppressed(nms)
        if not self.as_printed:
            candidates = candidates.best_first()
        return self.detections(candidates, sizes)

    def candidates(self, heads: Sequence[Tensor], sizes: Sequence[Size], settings: Settings) -> Candidates:
        """All boxes above the threshold, relative to their pictures; the arguments are as in `decode_all`."""
        _, h, w = self.network.input_shape
        candidates = decode(self.network.graph.heads, heads, (w, h), settings, self.walk)
        return candidates if self.stretches else candidates.in_picture(sizes, (w, h))

    def detections(self, candidates: Candidates, sizes: Sequence[Size]) -> list[Detections]:
        """Candidates that are relative to their pictures, picture by picture and in pixels."""
        rows = candidates.by_picture()
        boxes, picture = (column.index_select(0, rows.box_index) for column in (rows.boxes, rows.picture_index))
        boxes, scores, labels, picture = devices.on_cpu(boxes, rows.score, rows.label, picture)
        # A box may be far wider than its picture: infinitely so, where the exponential of its width has no end.
        sides = torch.tensor([(*size, *size) for size in sizes], dtype=torch.float64, device="cpu")
        corners = xyxy_from_cxcywh(boxes.nan_to_num().double() * row_of_each(sides, picture))
        numbers = labels.tolist()
        known = {label: class_name(self.names, label) for label in set(numbers)}
        names = tuple(map(known.__getitem__, numbers))
        ends = picture.bincount(minlength=len(sizes)).cumsum(0).tolist()
        parts = [slice(start, end) for start, end in pairwise((0, *ends))]
        return [
            Detections(corners[part], scores[part], labels[part], names[part], size)
            for part, size in zip(parts, sizes, strict=True)
        ]

    def detect_each(
        self, sources: Iterable[ImageLike], settings: Settings, nms: Nms, batch: int, *, eager: bool = True
    ) -> Iterator[Picture[Detections]]:
        """Go through pictures as `each_picture` does."""

        def run(images: list[Tensor]) -> list[Detections]:
            return self.detect(images, settings, nms)

        return each_picture(sources, self.engine, run, batch, eager=eager)


def class_name(names: Sequence[str], label: int) -> str:
    """The name of a class, or its number where the names do not reach so far."""
    return names[label] if 0 <= label < len(names) else str(label)
