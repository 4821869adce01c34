"""Textured backgrounds: two dull colours mixed by a pattern, and noise over a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from colorsys import hsv_to_rgb
from typing import Final, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

Floats: TypeAlias = NDArray[np.float32]
Size: TypeAlias = tuple[int, int]  # width, height

DULL: Final = 0.4  # the highest saturation
LENGTHS: Final = (6, 60)  # of a wave, in pixels
NOISE: Final = 10.0  # of 255: the most that is laid over a picture, as its deviation


def background(rng: Generator, size: Size) -> Image.Image:
    """Two dull colours, mixed by a pattern."""
    hues, saturations, values = rng.uniform(0, 1, 2), rng.uniform(0, DULL, 2), rng.uniform(0.1, 0.95, 2)
    first, second = (
        np.array(hsv_to_rgb(*hsv), np.float32) * 255 for hsv in zip(hues, saturations, values, strict=True)
    )
    mix = list(PATTERNS.values())[rng.integers(len(PATTERNS))](rng, size)
    return Image.fromarray((first + (second - first) * mix[..., None]).astype(np.uint8))


def along(rng: Generator, size: Size) -> tuple[Floats, Floats]:
    """How far each pixel is along a direction, and along the one across it, in pixels: (height, width) each."""
    angle = rng.uniform(0, 2 * np.pi)
    x, y = np.arange(size[0], dtype=np.float32), np.arange(size[1], dtype=np.float32)[:, None]
    sin, cos = np.float32(np.sin(angle)), np.float32(np.cos(angle))
    return x * cos + y * sin, y * cos - x * sin


def gradient(rng: Generator, size: Size) -> Floats:
    """From one side to the other."""
    distance, _ = along(rng, size)
    return (distance - distance.min()) / np.float32(np.ptp(distance))


def waves(rng: Generator, distance: Floats) -> Floats:
    """Up and down along a distance, softly or at once."""
    length, sharpness = np.exp(rng.uniform(*np.log(LENGTHS))), np.exp(rng.uniform(-0.7, 2.3))
    return np.sin(distance * np.float32(2 * np.pi / length)) * np.float32(sharpness)


def stripes(rng: Generator, size: Size) -> Floats:
    """Stripes of any direction."""
    return np.clip(waves(rng, along(rng, size)[0]) + 0.5, 0, 1)


def checker(rng: Generator, size: Size) -> Floats:
    """A chequered board of any direction."""
    one, other = along(rng, size)
    return np.clip(waves(rng, one) * waves(rng, other) + 0.5, 0, 1)


def clouds(rng: Generator, size: Size) -> Floats:
    """Noise without small details."""
    coarse = Image.fromarray(rng.random(rng.integers(3, 14, 2), np.float32))
    return np.clip(np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)), 0, 1)


def grain(rng: Generator, size: Size) -> Floats:
    """Noise from pixel to pixel."""
    return rng.random(size[::-1], np.float32)


PATTERNS: Final[Mapping[str, Callable[[Generator, Size], Floats]]] = {
    "gradient": gradient,
    "stripes": stripes,
    "checker": checker,
    "clouds": clouds,
    "grain": grain,
}


def noisy(rng: Generator, picture: Image.Image) -> Image.Image:
    """The picture with some noise over it."""
    pixels = np.asarray(picture, np.float32)
    noise = rng.standard_normal(pixels.shape, np.float32) * np.float32(rng.uniform(0, NOISE))
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
