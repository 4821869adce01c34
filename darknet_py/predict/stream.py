"""Runs a network over a list of pictures."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from darknet_py.engine import Engine
from darknet_py.errors import DarknetError, ImageError
from darknet_py.pictures.files import ImageLike, as_pixels
from darknet_py.predict.ahead import ahead, in_batches, lanes, readers, usual_batch

Found = TypeVar("Found")
Images: TypeAlias = "list[ImageLike] | tuple[ImageLike, ...]"
Opened: TypeAlias = "Tensor | ImageError"
Begun: TypeAlias = "tuple[ImageLike, Opened | None]"


@dataclass(frozen=True)
class Picture(Generic[Found]):
    """A result of `each_picture`: the source, its pixels, and what was found or why it cannot be read."""

    source: ImageLike
    image: Tensor | None  # (C, H, W) uint8, or from 0 to 1
    found: Found | ImageError
    seconds: float = 0.0  # its part of the time that its batch took


def each_picture(
    sources: Iterable[ImageLike],
    engine: Engine,
    run: Callable[[list[Tensor]], list[Found]],
    batch: int,
    *,
    eager: bool = True,
) -> Iterator[Picture[Found]]:
    """Call `run` for `batch` pictures at a time; one that cannot be read results in its error, the others go on.

    Threads read the files: ahead, or the threads that call `run` if these are enough. If not `eager`, no source is
    taken before the results of the earlier ones have been.
    """
    side_by_side = lanes(engine) if eager else 1
    channels, busy = engine.network.input_shape.c, side_by_side == torch.get_num_threads() > 1

    def answered(part: list[Begun]) -> list[Picture[Found]]:
        opened = [_finished(begun, channels) for begun in part]
        images = [image for _, image in opened if isinstance(image, Tensor)]
        start = time.perf_counter()
        found = iter(run(images))
        seconds = (time.perf_counter() - start) / max(len(images), 1)
        return [
            Picture(source, image, next(found), seconds) if isinstance(image, Tensor) else Picture(source, None, image)
            for source, image in opened
        ]

    count = 2 * batch * side_by_side if eager and not busy else 0
    with closing(_begun_each(sources, channels, count)) as begun:
        for pictures in in_batches(begun, answered, size=batch, lanes=side_by_side):
            yield from pictures


def found_in(
    images: ImageLike | Images, engine: Engine, run: Callable[[list[Tensor]], list[Found]], batch: int | None = None
) -> Found | list[Found]:
    """What `run` finds in a picture, or in each of a list; an array or tensor of four dimensions is a list.

    Raises `ImageError` for a picture that cannot be used.
    """
    if batch is not None and batch < 1:
        raise DarknetError(f"batch is {batch}; it must be 1 or more")
    batch = batch or usual_batch(engine.network.device)
    several = isinstance(images, (list, tuple)) or (isinstance(images, (np.ndarray, Tensor)) and images.ndim == 4)
    listed: Iterable[ImageLike] = images if several else [images]  # type: ignore[assignment, list-item]
    results: list[Found] = []
    for picture in each_picture(listed, engine, run, batch, eager=several):
        if isinstance(picture.found, ImageError):
            raise picture.found
        results.append(picture.found)
    return results if several else results[0]


def _begun_each(sources: Iterable[ImageLike], channels: int, count: int) -> Generator[Begun, None, None]:
    """Pictures, read up to `count` ahead or not at all; only files and bytes are read in other threads."""
    waiting = (
        (source, None if isinstance(source, (str, os.PathLike, bytes)) else _opened(source, channels))
        for source in sources
    )
    if count:
        yield from ahead(waiting, lambda begun: _finished(begun, channels), count=count, threads=readers())
    else:
        yield from waiting


def _finished(begun: Begun, channels: int) -> tuple[ImageLike, Opened]:
    source, image = begun
    return source, _opened(source, channels) if image is None else image


def _opened(source: ImageLike, channels: int) -> Opened:
    try:
        return as_pixels(source, channels)
    except ImageError as error:
        return error
