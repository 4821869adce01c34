"""A softmax inside each group of a tree, as a module."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor, nn

from darknet_py.tree.tables import inverse, keep
from darknet_py.tree.wordtree import WordTree


class TreeSoftmax(nn.Module):
    """Softmax inside each group of a tree, along the dimension that holds its nodes: the shape stays."""

    order: Tensor  # (C,) nodes by the size of their group
    place: Tensor  # (C,) where each node is in that order

    def __init__(self, tree: WordTree) -> None:
        super().__init__()
        sizes = [size for size in tree.group_sizes for _ in range(size)]
        order = sorted(range(len(sizes)), key=sizes.__getitem__)
        self.blocks = sorted(Counter(sizes).items())  # (size of group, nodes in such groups)
        keep(self, order=order, place=inverse(order))

    def forward(self, logits: Tensor, dim: int, temperature: float = 1.0) -> Tensor:
        # All groups of one size at a time, with the nodes in front: nothing is padded or scattered, which is slow.
        rows = logits.movedim(dim, 0).contiguous().index_select(0, self.order)
        if temperature != 1:
            rows = rows / temperature
        parts = rows.split([count for _, count in self.blocks])
        done = [
            part.unflatten(0, (-1, size)).softmax(1).flatten(0, 1)
            for part, (size, _) in zip(parts, self.blocks, strict=True)
        ]
        return torch.cat(done).index_select(0, self.place).movedim(0, dim)
