"""Frames of a camera, and a window that shows pictures, by OpenCV."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from importlib import import_module
from typing import Any, final

import numpy as np
import torch
from PIL import Image

from darknet_py.errors import DarknetError, ImageError
from darknet_py.pictures.opening import Size
from darknet_py.pictures.video import RATE, Frame

ESCAPE = 27


@final
class Camera:
    """Frames of camera `index`, from now on; close it, or use it in a `with`.

    Raises `ImageError` if there is no such camera, and `DarknetError` if OpenCV is missing.
    """

    frames = None

    def __init__(self, index: int) -> None:
        self.path, cv2 = f"camera {index}", opencv()
        self._capture = cv2.VideoCapture(index)
        if not self._capture.isOpened():
            raise ImageError(f"{self.path}: there is none, or it does not answer")
        width, height, rate = map(
            self._capture.get, (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)
        )
        self.size: Size = int(width), int(height)
        self.rate = Fraction(rate).limit_denominator(1001) if rate > 0 else RATE

    def __iter__(self) -> Iterator[Frame]:
        start, index = time.monotonic(), 0
        while True:
            works, bgr = self._capture.read()
            if not works:
                return
            rgb = np.ascontiguousarray(bgr[..., ::-1])
            yield Frame(index, time.monotonic() - start, torch.from_numpy(rgb).permute(2, 0, 1))
            index += 1

    def close(self) -> None:
        """Release the camera."""
        self._capture.release()

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def show(picture: Image.Image, title: str) -> bool:
    """Show an RGB picture in a window; False after Escape. Raises `DarknetError` if no window can be opened."""
    cv2 = opencv()
    try:
        cv2.imshow(title, np.asarray(picture)[..., ::-1])
        return bool(cv2.waitKey(1) & 0xFF != ESCAPE)
    except cv2.error as error:
        raise DarknetError("this OpenCV cannot open a window: pip install opencv-python, or write with -out") from error


def opencv() -> Any:
    """The module cv2; raises `DarknetError` if it is missing."""
    try:
        return import_module("cv2")
    except ImportError as error:
        raise DarknetError("cameras and windows need OpenCV: pip install opencv-python") from error
