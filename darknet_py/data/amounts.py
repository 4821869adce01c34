"""How far augmentation may go, and the random numbers it is drawn with.

`rolls` are numbers in [0, 1), in the order in which data.c and image.c draw them. Arithmetic on them is in C's floats,
so that the same rolls give the same pixels and boxes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import torch

from darknet_py.network.net import Net

ROLLS: Final = 12  # the most that a draw takes
Float = np.float32


class Extent(NamedTuple):
    """Of a picture or a canvas, in pixels."""

    width: int
    height: int


@dataclass(frozen=True)
class Amounts:
    """How far pictures may be changed, by the keys of the cfg."""

    jitter: float = 0.0
    hue: float = 0.0
    saturation: float = 1.0
    exposure: float = 1.0
    angle: float = 0.0
    aspect: float = 1.0
    smallest: float = 1.0  # range of the whole picture's shorter side, in canvas widths
    largest: float = 2.0
    center: bool = False

    @classmethod
    def of(cls, net: Net, jitter: float = 0.0) -> Amounts:
        """The amounts of a [net]; factors of 0 mean 1, as in load_thread of data.c."""
        width = Float(net.width or 1)
        smallest = Float(net.width if net.min_crop is None else net.min_crop) / width
        largest = Float(net.width * 2 if net.max_crop is None else net.max_crop) / width
        return cls(
            jitter,
            net.hue,
            net.saturation or 1.0,
            net.exposure or 1.0,
            net.angle,
            net.aspect or 1.0,
            float(smallest) if net.min_ratio is None else net.min_ratio,
            float(largest) if net.max_ratio is None else net.max_ratio,
            net.center,
        )


def roll(generator: torch.Generator) -> Iterator[float]:
    """Draw the random numbers of one sample."""
    return iter(torch.rand(ROLLS, generator=generator, dtype=torch.float32).tolist())


def uniform(low: float, high: float, rolls: Iterator[float]) -> np.float32:
    """A number between two limits in either order (rand_uniform of utils.c)."""
    low, high = sorted((Float(low), Float(high)))
    return Float(next(rolls)) * (high - low) + low


def factor(most: float, rolls: Iterator[float]) -> np.float32:
    """A factor from 1 to `most`, or with probability 1/2 its inverse (rand_scale of utils.c)."""
    factor = uniform(1, most, rolls)
    return factor if coin(rolls) else Float(1) / factor


def coin(rolls: Iterator[float]) -> bool:
    """True with probability 1/2: ``rand()%2``."""
    return next(rolls) >= 0.5
