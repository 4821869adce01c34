"""torch's layers with uninitialised parameters, which a weights file or `initialize` fills.

`torch.nn.utils.skip_init` does the same, but its imports take .2 s.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import nn


@runtime_checkable
class Drawn(Protocol):
    """A module whose weights start at random."""

    def initialize(self, generator: torch.Generator | None) -> None:
        """Draw the weights as the C program does; the same generator state gives the same weights."""


class Conv2d(nn.Conv2d):
    """A convolution that is not initialised."""

    def reset_parameters(self) -> None:
        """Do nothing."""


class ConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution that is not initialised."""

    def reset_parameters(self) -> None:
        """Do nothing."""


class Linear(nn.Linear):
    """A matrix product that is not initialised."""

    def reset_parameters(self) -> None:
        """Do nothing."""
