"""The cells of a head while it is trained, and boxes on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from darknet_py.boxes.coder import BoxCoder


@dataclass(frozen=True)
class Grid:
    """Cells, counted row by row, in the output of a head whose input is a picture of `network`."""

    width: int
    height: int
    coder: BoxCoder
    network: tuple[int, int]  # width, height of the pictures

    @classmethod
    def of(cls, raw: Tensor, coder: BoxCoder, network: tuple[int, int]) -> Grid:
        """The grid of a head's input (N, C, H, W)."""
        return cls(raw.shape[3], raw.shape[2], coder, network)

    @property
    def cells(self) -> int:
        """How many there are."""
        return self.width * self.height

    @property
    def units(self) -> tuple[int, int]:
        """The size of the input in units of the anchors."""
        return self.coder.units((self.width, self.height), self.network)

    def every_cell(self, like: Tensor) -> Tensor:
        """The numbers (H * W,) int64 of all cells, on the device of any tensor (...)."""
        return torch.arange(self.cells, device=like.device)

    def cell_of(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """The cell (...) int64 of the centres of boxes (..., 4), and whether they are on the grid at all."""
        column, row = (boxes[..., 0] * self.width).trunc(), (boxes[..., 1] * self.height).trunc()
        inside = (column >= 0) & (column < self.width) & (row >= 0) & (row < self.height)
        return torch.where(inside, row * self.width + column, 0).long(), inside

    def decode(self, values: Tensor, anchors: Tensor) -> Tensor:
        """The boxes (N, A, H*W, 4) that the numbers (N, A, 4 or more, H*W) mean with the anchors (A, 2)."""
        x, y, w, h = values[:, :, :4].unbind(2)
        cell, (along, down) = self.every_cell(values), self.units
        width, height = (side[:, None] for side in anchors.unbind(1))
        x, w = self.coder.decode(x, w, cell % self.width, self.width, width, along)
        y, h = self.coder.decode(y, h, cell // self.width, self.height, height, down)
        return torch.stack((x, y, w, h), 1).movedim(1, 3)  # coordinates apart: `iou` is faster so

    def encode(self, boxes: Tensor, cell: Tensor, anchors: Tensor) -> Tensor:
        """The numbers (..., 4) that would mean boxes (..., 4), in cells (...) and with anchors (..., 2)."""
        (x, y, w, h), (width, height), (along, down) = boxes.unbind(-1), anchors.unbind(-1), self.units
        x, w = self.coder.encode(x, w, cell % self.width, self.width, width, along)
        y, h = self.coder.encode(y, h, cell // self.width, self.height, height, down)
        return torch.stack((x, y, w, h), -2).mT
