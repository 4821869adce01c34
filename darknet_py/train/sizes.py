"""The input sizes of random=1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from darknet_py.errors import DarknetError


@dataclass(frozen=True)
class Sizes:
    """Which sizes are drawn and when: one of `low`, `low + step`, ... `high` every `every` batches."""

    low: int = 320
    high: int = 608
    step: int = 32
    every: int = 10  # batches between two draws
    last: int = 200  # the last batches, which all have the size `high`; 0 for none

    def __post_init__(self) -> None:
        """Raise `DarknetError` for a range without a size."""
        if not 0 < self.step <= self.low <= self.high or self.low % self.step or self.high % self.step:
            raise DarknetError(
                f"sizes from {self.low} to {self.high}: both have to be multiples of {self.step}, the smaller first"
            )


DETECTOR: Final = Sizes()  # examples/detector.c
CLASSIFIER: Final = Sizes(low=128, high=448, every=40, last=0)  # examples/classifier.c


def size_at(seed: int, batch: int, max_batches: int, sizes: Sizes = DETECTOR) -> int:
    """Width and height of the input after `batch` updates.

    They depend on nothing else, so a resumed run continues as it would have.
    """
    turn = batch // sizes.every
    if sizes.last and turn * sizes.every + sizes.last > max_batches:
        return sizes.high
    count = (sizes.high - sizes.low) // sizes.step + 1
    return sizes.low + sizes.step * int(np.random.default_rng((seed, turn)).integers(count))
