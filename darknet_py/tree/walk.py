"""What the probabilities along a tree say of its classes, and the walk down to one that is sure enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import accumulate
from typing import TypeAlias

import torch
from torch import Tensor, nn

from darknet_py.devices import one_thread
from darknet_py.tree.tables import inverse, keep
from darknet_py.tree.wordtree import WordTree

Look: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # rows (M,) and nodes of each (M, W) to their values (M, W)


class TreeWalk(nn.Module):
    """The absolute probabilities of a tree's classes, and the class that a walk down the tree ends at.

    A walk goes down to the best child for as long as the product of the values on its way stays above the threshold,
    and ends at the last node that did, or else at the best of the top level. As in hierarchy_top_prediction of tree.c
    the values are absolute, so that ancestors count again at every step; a value must be above 0 to be the best, and
    of equal ones the first is.
    """

    group_start: Tensor  # (G,) the first node of every group
    group_size: Tensor  # (G,)
    child_group: Tensor  # (C,) the group of every node's children, or -1
    order: Tensor  # (C,) the nodes by their depth
    place: Tensor  # (C,) where each node is in that order
    parent_place: Tensor  # (C,) of the nodes in that order, where the parent is in its level

    def __init__(self, tree: WordTree) -> None:
        super().__init__()
        self.tree = tree
        keep(self, group_start=tree.group_offsets, group_size=tree.group_sizes, child_group=tree.children)
        self.widths = [0] * tree.depth  # of every level, the size of its largest group
        for first, size in zip(tree.group_offsets, tree.group_sizes, strict=True):
            level = tree.depths[first]
            self.widths[level] = max(self.widths[level], size)
        order = sorted(range(len(tree.depths)), key=tree.depths.__getitem__)
        place = inverse(order)
        self.level_sizes = [count for _, count in sorted(Counter(tree.depths).items())]
        starts = list(accumulate(self.level_sizes, initial=0))
        above = [max(0, place[tree.parents[node]] - starts[tree.depths[node] - 1]) for node in order]
        keep(self, order=order, place=place, parent_place=above)

    def absolute(self, conditional: Tensor) -> Tensor:  # (..., C) -> (..., C)
        """Multiply every class by its ancestors, from the top level down (hierarchy_predictions of tree.c)."""
        rows = conditional.movedim(-1, 0).contiguous().index_select(0, self.order).split(self.level_sizes)
        levels = [rows[0]]
        for row, parent in zip(rows[1:], self.parent_place.split(self.level_sizes)[1:], strict=True):
            levels.append(row * levels[-1].index_select(0, parent))
        return torch.cat(levels).index_select(0, self.place).movedim(0, -1)

    def leaves(self, conditional: Tensor) -> Tensor:  # (..., C) -> (..., C)
        """`absolute` for classes that have none below them, and 0 for the rest."""
        return self.absolute(conditional) * (self.child_group < 0)

    def forward(self, absolute: Tensor, threshold: float) -> Tensor:  # (..., C) -> (...) int64
        """Where the walk of every row ends; it takes the same steps whatever the values are, so a graph can have it."""
        rows = absolute.flatten(0, -2) if absolute.dim() > 1 else absolute[None]

        def look(_: Tensor, nodes: Tensor) -> Tensor:
            return rows.gather(1, nodes)

        return self._ends(look, torch.zeros_like(rows[:, 0], dtype=torch.int64), threshold).view(absolute.shape[:-1])

    @one_thread()
    def at(self, conditional: Tensor, where: tuple[Tensor, ...], threshold: float) -> Tensor:
        """The same for M places of conditional values (..., C), as `nonzero` gives them: (M,) int64.

        Values are multiplied on the way alone, for few of the walks go far.
        """

        def look(rows: Tensor, nodes: Tensor) -> Tensor:
            places = (*(index[rows][:, None] for index in where), nodes)
            return conditional[places]

        rows = torch.arange(len(where[0]), device=conditional.device)
        return self._ends(look, rows, threshold, multiplies=True)

    def _ends(self, look: Look, rows: Tensor, threshold: float, *, multiplies: bool = False) -> Tensor:
        """Where the walks of rows (M,) end; with `multiplies` those that have ended are left out of later steps."""
        value, node = self._best_child(look, rows, torch.zeros_like(rows), self.widths[0])
        product, ends = value, node
        for width in self.widths[1:]:
            group = self.child_group[node]
            going = (product > threshold) & (group >= 0)
            if multiplies:
                left = going.nonzero()[:, 0]
                if not len(left):
                    break
                rows, group, node, product, value = (x[left] for x in (rows, group, node, product, value))
                value, child = self._best_child(look, rows, group, width, value)
            else:
                product = product.where(going, 0.0)  # never above the threshold again
                value, child = self._best_child(look, rows, group.clamp(min=0), width)
            product = product * value
            node = torch.where(product > threshold, child, node)
            ends = ends.index_copy(0, rows, node) if multiplies else node
        return ends

    def _best_child(
        self, look: Look, rows: Tensor, group: Tensor, width: int, parent: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:  # (M,), (M,) and (M,) -> (M,), (M,)
        """The largest value of a group, of at most `width` nodes, times that of its parent, if given; and its node."""
        step = torch.arange(width, device=group.device)
        first = self.group_start[group]
        nodes = (first[:, None] + step).clamp(max=len(self.tree.parents) - 1)  # (M, width)
        values = look(rows, nodes)
        if parent is not None:
            values = values * parent[:, None]
        best, nth = values.where((step < self.group_size[group][:, None]) & (values > 0), 0.0).max(1)
        return best, first + nth


def walk_in(module: nn.Module) -> TreeWalk | None:
    """The walk of a layer whose classes are a tree."""
    return next((child for child in module.children() if isinstance(child, TreeWalk)), None)
