"""Boxes of many pictures as one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Rows:
    """Boxes of many pictures as one table: a row per box and class, found or annotated. On the CPU."""

    image: Tensor  # (N,) int64: which picture
    label: Tensor  # (N,) int64
    edges: Tensor  # (N, 4) float64: left, top, right, bottom in pixels
    score: Tensor  # (N,) float64; 1 for annotated boxes

    def __len__(self) -> int:
        return len(self.image)

    def rows(self, which: Tensor) -> Rows:
        """The rows that a mask (N,) or indices (M,) select."""
        return Rows(self.image[which], self.label[which], self.edges[which], self.score[which])

    def clipped(self, sizes: Tensor, pixel: float) -> Rows:
        """Boxes cut off `pixel` before the pictures' right and bottom borders; `sizes` (I, 2): widths and heights."""
        limit = (sizes[self.image].double() - pixel).repeat(1, 2)
        edges = torch.minimum(self.edges.clamp(min=0), limit.clamp(min=0))
        return Rows(self.image, self.label, edges, self.score)

    @classmethod
    def joined(cls, parts: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Rows:
        """The labels (n,), edges (n, 4) and scores (n,) of each picture, in their order."""
        if not parts:
            empty = torch.empty(0, 4, dtype=torch.float32)
            parts = [(empty[:, 0], empty, empty[:, 0])]
        counts = torch.tensor([len(label) for label, _, _ in parts], dtype=torch.int64)
        return cls(
            torch.arange(len(parts)).repeat_interleave(counts),
            torch.cat([label for label, _, _ in parts]).long(),
            torch.cat([edges for _, edges, _ in parts]).double(),
            torch.cat([score for _, _, score in parts]).double(),
        )
