"""Detects boxes in the frames of a video as the C program's demo does."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from darknet_py.boxes.suppress import Nms
from darknet_py.errors import DarknetError
from darknet_py.pictures.video import Frame
from darknet_py.predict.ahead import in_batches, lanes, taken_ahead
from darknet_py.predict.decode import Settings
from darknet_py.predict.detections import Detections
from darknet_py.predict.detector import Detector

AVERAGE: Final = 3  # frames
NMS: Final = Nms("objectness", 0.4)  # the surest boxes suppress others whatever their classes


@dataclass(frozen=True, eq=False)
class Seen:
    """A frame and its detections."""

    frame: Frame
    found: Detections
    seconds: float  # its share of the time that its batch took


def detect_frames(
    detector: Detector,
    frames: Iterable[Frame],
    settings: Settings,
    nms: Nms = NMS,
    *,
    average: int = AVERAGE,
    batch: int = 1,
    live: bool = False,
) -> Generator[Seen, None, None]:
    """Detect in frames, which a thread reads ahead.

    As in demo.c, boxes are decoded from the mean of the outputs for the last `average` frames. There the first frames
    are averaged with zeros, here with each other. With `live`, each frame is computed as soon as it arrives.
    """
    if average < 1 or batch < 1:
        raise DarknetError(f"average is {average} and batch is {batch}; they must be 1 or more")

    def run(part: list[Frame]) -> list[tuple[Frame, tuple[Tensor, ...], float]]:
        start = time.perf_counter()
        outputs = detector.outputs([frame.image for frame in part])
        seconds = (time.perf_counter() - start) / len(part)
        return [(frame, output, seconds) for frame, output in zip(part, outputs, strict=True)]

    side_by_side, batch = (1, 1) if live else (lanes(detector.engine), batch)
    last: deque[tuple[Tensor, ...]] = deque(maxlen=average)
    with closing(taken_ahead(frames, 1 if live else 2 * batch * side_by_side)) as read:
        for part in in_batches(read, run, size=batch, lanes=side_by_side):
            for frame, outputs, seconds in part:
                last.append(outputs)
                with torch.inference_mode():
                    mean = [torch.stack(heads).mean(0) for heads in zip(*last, strict=True)]
                size = frame.image.shape[2], frame.image.shape[1]
                yield Seen(frame, detector.decode(mean, size, settings, nms), seconds)
