"""What classes learn from a label: to be the one right class of all, or the right one of each group along a tree."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from darknet_py.tree.wordtree import WordTree


class ClassTargets(nn.Module):
    """Classes without a tree; the class `count` stands for none of them."""

    map: Tensor  # (labels,) the class of each label in the truth; empty where that is the label
    path: Tensor  # (count + 1, L) the right classes for each class, filled up with `count`

    def __init__(self, count: int, mapping: Sequence[int] = ()) -> None:
        super().__init__()
        self.count = count
        self.register_buffer("map", torch.tensor(mapping, dtype=torch.int64), persistent=False)
        self.register_buffer("path", torch.arange(count + 1)[:, None], persistent=False)

    def mapped(self, label: Tensor) -> Tensor:
        """ClassTargets to what the map has for them, or -1."""
        if not len(self.map):
            return label
        inside = label.clamp(0, len(self.map) - 1)
        return torch.where(inside == label, self.map[inside], -1)

    def known(self, label: Tensor) -> Tensor:
        """The class itself, or `count` for one that is not there."""
        return torch.where((label >= 0) & (label < self.count), label, self.count)

    def right(self, label: Tensor) -> Tensor:  # (...) -> (..., count) bool
        """Which classes are right."""
        return self._marked(self.path[label])[..., : self.count]

    def asked(self, label: Tensor) -> Tensor:  # (...) -> (..., count) bool
        """Which classes learn from a label: all."""
        return torch.ones(*label.shape, self.count, dtype=torch.bool, device=label.device)

    def probability(self, values: Tensor, label: Tensor) -> Tensor:  # (N, count, ...), (N, ...) -> (N, ...)
        """The product of the values of the right classes; 0 where there are none."""
        path = self.path[label].movedim(-1, 1).expand(-1, -1, *values.shape[2:])  # (N, L, ...)
        product = values.gather(1, path.clamp(max=self.count - 1)).where(path < self.count, 1).prod(1)
        return product.where(label < self.count, 0)

    def _marked(self, numbers: Tensor) -> Tensor:  # (..., L) -> (..., count + 2)
        """Where the numbers are."""
        empty = torch.zeros(*numbers.shape[:-1], self.count + 2, dtype=torch.bool, device=numbers.device)
        return empty.scatter_(-1, numbers, value=True)


class TreeTargets(ClassTargets):
    """Classes in a tree: the label and its ancestors are right, and the groups they are in learn."""

    above: Tensor  # (count + 1, L) the parents of `path`; `count` + 1 is above the top level
    parent: Tensor  # (count,) the same of each class

    def __init__(self, tree: WordTree, mapping: Sequence[int] = ()) -> None:
        count = len(tree.parents)
        super().__init__(count, mapping)
        paths = [tree.path(label) for label in range(count)]
        rows = [path + [count] * (tree.depth - len(path)) for path in (*paths, [])]
        self.path = torch.tensor(rows, dtype=torch.int64)
        parent = torch.tensor([*tree.parents, count], dtype=torch.int64)  # and of none: none
        parent = torch.where(parent < 0, count + 1, parent)
        self.register_buffer("above", parent[self.path], persistent=False)
        self.register_buffer("parent", parent[:-1], persistent=False)

    def asked(self, label: Tensor) -> Tensor:
        """Which classes learn from a label: those next to a right one."""
        return self._marked(self.above[label])[..., self.parent]
