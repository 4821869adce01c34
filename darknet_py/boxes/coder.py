"""Decodes a head's numbers into a box, and encodes a box as those numbers."""

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
    """How a number of a head encodes a width or a height, in anchors if there are any."""

    grow: Callable[[Tensor], Tensor]  # from the number to the size
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
    """Converts a head's numbers for a box to its centre and size as fractions of the input, and back.

    A method works along one axis. `place` and `size` are the head's numbers for it; `cell` is the column or row and
    `cells` how many of them there are; `anchor` is the anchor's side, and `units` the side of the input in the units
    of the anchor. Any shapes that broadcast will do, so tensors (..., 2) cover both axes at once. Without an anchor,
    sizes are fractions of the input.

    From get_region_box, get_yolo_box and get_detection_detections of the C program.
    """

    sizes: Sizes = EXP
    unit: Literal["cells", "pixels"] = "cells"  # the unit of the anchors; pixels of the network's input
    scale_x_y: float = 1.0  # the range of x and y in cells, centred on their cell

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
        """The numbers of the head that mean a box: `place` and `size` of `decode`, of broadcast shape (...)."""
        place = centre * cells - cell
        if self.scale_x_y != 1:
            place = (place + (self.scale_x_y - 1) / 2) / self.scale_x_y
        return place, self.sizes.shrink(size if anchor is None else size * units / anchor)

    def formulas(
        self, place: str, size: str, cell: str, cells: str, anchor: str | None = None, units: str = ""
    ) -> tuple[str, str]:
        """`decode` as source text, with these words for its arguments."""
        if self.scale_x_y != 1:
            place = f"{place} * {self.scale_x_y:g} - {(self.scale_x_y - 1) / 2:g}"
        size = self.sizes.text.format(size)
        return f"({cell} + {place}) / {cells}", size if anchor is None else f"{size} * {anchor} / {units}"
