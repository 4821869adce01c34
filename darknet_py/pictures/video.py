"""Videos in files, by PyAV: their frames with time stamps, and new ones with frames of one size at a steady rate."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from darknet_py.errors import DarknetError, ImageError, os_reason
from darknet_py.files import opened, replacing
from darknet_py.pictures.files import to_pil
from darknet_py.pictures.opening import MAX_PIXELS, Size

RATE: Final = Fraction(25)  # frames a second, where a file does not say
MOST_RATE: Final = 1000
TEXT: Final = {"tty", "ass", "srt", "webvtt"}  # what FFmpeg takes text for
BITS: Final = 0.2  # a pixel, where a codec wants to know


class Container(NamedTuple):
    """What FFmpeg calls a kind of file, and codecs for it, the best first."""

    name: str
    codecs: tuple[str, ...]


_H264: Final = ("libx264", "h264", "mpeg4")
FORMATS: Final = {
    ".avi": Container("avi", ("mpeg4", "mjpeg")),
    ".mkv": Container("matroska", _H264),
    ".mov": Container("mov", _H264),
    ".mp4": Container("mp4", _H264),
    ".webm": Container("webm", ("libvpx-vp9", "libvpx")),
}
OPTIONS: Final = {
    "libx264": {"preset": "veryfast", "crf": "20"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "6", "crf": "30", "b": "0"},
}


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture of a video."""

    index: int
    time: float  # seconds from the start of the video
    image: Tensor  # (3, H, W) uint8, RGB


@final
class VideoReader:
    """The frames of a video file, or of a URL; to be closed, or used in a `with`.

    Raises `ImageError` where there is no video, and `DarknetError` where PyAV is missing. Parts of a file that are
    damaged are left out, as players do. Turns that a file asks for are not made.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._stack, self._busy = ExitStack(), threading.Lock()
        with ExitStack() as opening, _named(self.path):
            self._container = _opened(self.path, opening)
            streams = self._container.streams.video
            if not streams or self._container.format.name in TEXT:
                raise ImageError("there is no video in it")
            self._stream = streams[0]
            self._stream.thread_type = "AUTO"
            self.size: Size = _checked(self._stream.width, self._stream.height)
            rate = self._stream.average_rate or self._stream.guessed_rate
            self.rate: Fraction = Fraction(rate) if rate and 0 < rate <= MOST_RATE else RATE
            self._stack = opening.pop_all()

    @property
    def frames(self) -> int | None:
        """About how many frames there are, if that is known."""
        seconds = (self._container.duration or 0) / 1e6
        return self._stream.frames or round(seconds * self.rate) or None

    def __iter__(self) -> Iterator[Frame]:
        frames = self._frames()
        while True:
            with self._busy:
                frame = next(frames, None)
            if frame is None:
                return
            yield frame

    def _frames(self) -> Iterator[Frame]:
        index = 0
        with _named(self.path):
            for packet in self._container.demux(self._stream):
                with suppress(_av().error.InvalidDataError):
                    for frame in packet.decode():
                        _checked(frame.width, frame.height)
                        pixels = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)
                        yield Frame(index, float(index / self.rate if frame.time is None else frame.time), pixels)
                        index += 1
            if not index:
                raise ImageError("there is no frame in it that can be read")

    def close(self) -> None:
        """Close the file, unless a thread hangs in it."""
        if self._busy.acquire(timeout=0):
            self._stack.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@final
class VideoWriter:
    """A new video of `rate` frames a second, all of `size`; the suffix of `path` says of which kind.

    To be used in a `with`: after that the file has its name and can be played. So it has after an error or Ctrl-C if
    there was a frame before; else there is none, or the old one. Sides are made even, as codecs want them.
    """

    def __init__(self, path: str | os.PathLike[str], size: Size, rate: Fraction | float = RATE) -> None:
        self.path, self.count = Path(path), 0
        kind = FORMATS.get(self.path.suffix.lower())
        if kind is None:
            raise ImageError(f"{path}: videos are {', '.join(FORMATS)} files, not {self.path.suffix!r}")
        self.size = size[0] // 2 * 2, size[1] // 2 * 2
        if not min(self.size):
            raise ImageError(f"{path}: a video of {size[0]} x {size[1]} pixels is too small")
        av, self._stack = _av(), ExitStack()
        codec = next(name for name in kind.codecs if name in av.codecs_available)
        with ExitStack() as opening, _named(str(path)):
            file = opening.enter_context(replacing(self.path))
            self._container = opening.enter_context(av.open(file, "w", format=kind.name))
            self._stream = self._container.add_stream(codec, rate=_steady(rate), options=OPTIONS.get(codec, {}))
            self._stream.width, self._stream.height = self.size
            self._stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            if codec not in OPTIONS:
                self._stream.bit_rate = int(BITS * self.size[0] * self.size[1] * rate)
            self._stack = opening.pop_all()

    def write(self, image: Tensor | Image.Image) -> None:
        """Add a frame, a PIL picture or (C, H, W); one of another size is resized to that of the video."""
        picture = (to_pil(image) if isinstance(image, Tensor) else image).convert("RGB")
        width, height = self.size
        if abs(picture.width - width) > 1 or abs(picture.height - height) > 1:
            picture = picture.resize(self.size)
        pixels = np.ascontiguousarray(np.asarray(picture)[:height, :width])
        with _named(str(self.path)):
            self._container.mux(self._stream.encode(_av().VideoFrame.from_ndarray(pixels, format="rgb24")))
        self.count += 1

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.count:
            nothing = ImageError(f"{self.path}: no frame was written")
            self._stack.__exit__(kind or ImageError, error or nothing, trace)
            if error is None:
                raise nothing
            return
        with self._stack, _named(str(self.path)):
            self._container.mux(self._stream.encode())


def _opened(path: str, stack: ExitStack) -> Any:
    if "://" in path:
        return stack.enter_context(_av().open(path))
    file = stack.enter_context(opened(path))
    return stack.enter_context(_av().open(file, options={"protocol_whitelist": "none"}))  # no files that it names


def _checked(width: int, height: int) -> Size:
    if not 0 < width * height <= MAX_PIXELS:
        raise ImageError(f"frames of {width} x {height} pixels are not read")
    return width, height


def _steady(rate: Fraction | float) -> Fraction:
    """The rate in whole numbers that every codec takes."""
    return min(max(Fraction(rate), Fraction(1, 100)), Fraction(MOST_RATE)).limit_denominator(1001)


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Turn what PyAV and the system raise into an `ImageError` of one line that starts with the path."""
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    except _av().error.FFmpegError as error:
        raise ImageError(f"{path}: {error.strerror}") from error
    except OSError as error:
        raise ImageError(f"{path}: {' '.join(os_reason(error).split())}") from error


def _av() -> Any:
    try:
        return import_module("av")
    except ImportError as error:
        raise DarknetError("videos need PyAV: pip install 'darknet-torch[video]'") from error
