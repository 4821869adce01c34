"""How the numbers that a head gives become a box, and a box becomes those numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import torch
from torch import Tensor

Value = float | Tensor
T = TypeVar("T")


@dataclass(frozen=True)
class Sizes:
    """How one number of a head says a width or a height, in anchors where there are anchors."""

    grow: Callable[[Tensor], Tensor]  # the number to the size
    shrink: Callable[[Tensor], Tensor]  # and back
    text: str  # the same as source text, with {} for the number


def _four_squares(values: Tensor) -> Tensor:
    return 4 * values.square()


def _root_of_quarter(sizes: Tensor) -> Tensor:
    return (sizes / 4).sqrt()


def _same(values: Tensor) -> Tensor:
    return values


EXP: Final = Sizes(torch.exp, torch.log, "exp({})")
FOUR_SQUARES: Final = Sizes(_four_squares, _root_of_quarter, "4 * {0} * {0}")  # new_coords=1 of AlexeyAB's [yolo]
SQUARE: Final = Sizes(torch.square, torch.sqrt, "{0} * {0}")  # sqrt=1 of [detection]
PLAIN: Final = Sizes(_same, _same, "{}")


@dataclass(frozen=True)
class BoxCoder:
    """Turns what a head says about a box into its centre and size as shares of the input, and back.

    A method works along one axis. `place` and `size` are the head's numbers for it; `cell` is the column or row and
    `cells` how many of them there are; `anchor` is the anchor's side, and `units` the side of the input in the units
    of the anchor. All shapes that broadcast will do, so that tensors (..., 2) are both axes at once. Without an
    anchor sizes are shares of the input.

    From get_region_box, get_yolo_box and get_detection_detections of the C program.
    """

    sizes: Sizes = EXP
    unit: Literal["cells", "pixels"] = "cells"  # of the anchors; pixels are those of the network's input
    scale_x_y: float = 1.0  # x and y reach so much beyond their cell, on both sides together

    def units(self, grid: T, network: T) -> T:
        """The size of the input in units of the anchors, given the sizes of the grid and of the network's input."""
        return grid if self.unit == "cells" else network

    def decode(
        self, place: Tensor, size: Tensor, cell: Value, cells: Value, anchor: Value | None = None, units: Value = 1
    ) -> tuple[Tensor, Tensor]:
        """The centre and the size of a box, each with the broadcast shape (...) of its arguments."""
        if self.scale_x_y != 1:
            place = place * self.scale_x_y - (self.scale_x_y - 1) / 2
        size = self.sizes.grow(size)
        return (place + cell) / cells, size if anchor is None else size * anchor / units

    def encode(
        self, centre: Tensor, size: Tensor, cell: Value, cells: Value, anchor: Value | None = None, units: Value = 1
    ) -> tuple[Tensor, Tensor]:
        """What the head would have to give for a box: `place` and `size` of `decode`, of broadcast shape (...)."""
        place = centre * cells - cell
        if self.scale_x_y != 1:
            place = (place + (self.scale_x_y - 1) / 2) / self.scale_x_y
        return place, self.sizes.shrink(size if anchor is None else size * units / anchor)

    def formulas(
        self, place: str, size: str, cell: str, cells: str, anchor: str | None = None, units: str = ""
    ) -> tuple[str, str]:
        """What `decode` does, as source text with these words for its arguments."""
        if self.scale_x_y != 1:
            place = f"{place} * {self.scale_x_y:g} - {(self.scale_x_y - 1) / 2:g}"
        size = self.sizes.text.format(size)
        return f"({cell} + {place}) / {cells}", size if anchor is None else f"{size} * {anchor} / {units}"
