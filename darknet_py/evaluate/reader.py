"""Reads pictures ahead in threads while the network computes earlier ones."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

import torch
from torch import Tensor

from darknet_py.engine import Engine
from darknet_py.errors import DarknetError, ImageError
from darknet_py.pictures.files import read_pixels
from darknet_py.pictures.opening import Size
from darknet_py.predict import ahead as reading
from darknet_py.predict.ahead import in_batches, lanes, usual_batch

Views: TypeAlias = "list[Tensor]"  # what the network sees of one picture: (V, C, H, W) each
Outputs: TypeAlias = "tuple[Tensor, ...]"  # of the heads: (V, ...) each
Progress = Callable[[int, int], None]  # pictures done, pictures in all


@dataclass(frozen=True, eq=False)
class Loaded:
    """A picture of a list: its size (width, height), and the network's input for it or why it cannot be read."""

    path: str
    size: Size
    views: Views | ImageError


def each_output(
    engine: Engine,
    paths: Sequence[str],
    views: Callable[[Tensor], Views],
    *,
    batch: int | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[Loaded, list[Outputs]]]:
    """The outputs of the heads for the `views` of every picture of a list, in order; none for one that cannot be read.

    Views of one size are computed together, for `batch` pictures at a time.
    """
    if batch is not None and batch < 1:
        raise DarknetError(f"batch is {batch}; it must be 1 or more")
    network, side_by_side = engine.network, lanes(engine)
    count = batch or usual_batch(network.device)
    done = 0

    def run(part: list[Loaded]) -> list[tuple[Loaded, list[Outputs]]]:
        outputs = iter(_run(engine, [view for one in part if isinstance(one.views, list) for view in one.views]))
        return [(one, list(islice(outputs, len(one.views))) if isinstance(one.views, list) else []) for one in part]

    with closing(open_each(paths, network.input_shape.c, views, ahead=2 * count * side_by_side)) as opened:
        for part in in_batches(opened, run, size=count, lanes=side_by_side):
            for result in part:
                done += 1
                if progress is not None:
                    progress(done, len(paths))
                yield result


def open_each(
    paths: Iterable[str], channels: int, views: Callable[[Tensor], Views], *, ahead: int, threads: int | None = None
) -> Generator[Loaded, None, None]:
    """Read pictures in order, at most `ahead` more than are taken."""

    def work(path: str) -> Loaded:
        return _open(path, channels, views)

    yield from reading.ahead(paths, work, count=max(ahead, 1), threads=threads or reading.readers())


def _open(path: str, channels: int, views: Callable[[Tensor], Views]) -> Loaded:
    try:
        image = read_pixels(path, channels)
        return Loaded(path, (image.shape[2], image.shape[1]), views(image))
    except ImageError as error:
        return Loaded(path, (0, 0), error)


def _run(engine: Engine, views: Views) -> list[Outputs]:
    """The outputs of the heads for each view, computed together if all have one size."""
    together = len({view.shape[1:] for view in views}) == 1
    groups = [torch.cat(views)] if together else views
    with torch.inference_mode():
        device, dtype = engine.network.device, engine.network.dtype
        outputs = [engine.watched(engine.heads(group.to(device, dtype))) for group in groups]
    if not together:
        return outputs
    parts = [head.split([len(view) for view in views]) for head in outputs[0]]
    return list(zip(*parts, strict=True))
