"""Trees of classes (WordTree, YOLO9000): .tree and .map files, and probabilities along them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from darknet_py.devices import moved, one_thread
from darknet_py.errors import CfgError, DarknetError, Location
from darknet_py.files import read_text

MAX_BYTES: Final = 64 << 20
MAX_LINES: Final = 1_000_000
MAX_DEPTH: Final = 1_000
_NODE: Final = re.compile(r"\s*(\S+)(?:\s+(\S+))?", re.ASCII)
_PARENT: Final = re.compile(r"[+-]?[0-9]{1,18}")
_CLASS: Final = re.compile(r"\s*\+?([0-9]{1,18})(?![0-9])", re.ASCII)


@dataclass(frozen=True)
class WordTree:
    """Classes as nodes of a tree; -1 is the parent of the top level.

    The children of a parent follow each other, as a group, and come after it; `CfgError` where they do not. The
    line it names in `source` is the number of the node, from 1.
    """

    names: tuple[str, ...] = field(repr=False)
    parents: tuple[int, ...] = field(repr=False)
    source: str = field(default="tree", compare=False)

    def __post_init__(self) -> None:
        if not self.parents or len(self.names) != len(self.parents):
            raise CfgError("a tree needs nodes, and a name for each", Location(self.source))
        closed: set[int] = set()
        before = -1
        for node, parent in enumerate(self.parents):
            if parent != before:
                closed.add(before)
                before = parent
            if not -1 <= parent < node or parent in closed:
                raise CfgError(self._fault(node, parent), Location(self.source, node + 1))
        if self.depth > MAX_DEPTH:
            raise CfgError(f"more than {MAX_DEPTH} levels; is this the right file?", Location(self.source))
        for tables in ("leaves", "_tables", "_widths", "_by_depth"):  # now, as torch.compile could not make them
            getattr(self, tables)

    def _fault(self, node: int, parent: int) -> str:
        if not -1 <= parent < len(self.parents):
            return f"parent {parent} is neither a node, 0 to {len(self.parents) - 1}, nor -1"
        if parent >= node:
            return f"parent {parent} does not come before its child, node {node}"
        return f"the children of parent {parent} do not follow each other"

    @classmethod
    def read(cls, path: str | Path) -> WordTree:
        """Read a .tree file."""
        return cls.parse(read_text(path, MAX_BYTES), str(path))

    @classmethod
    def parse(cls, text: str, source: str = "tree") -> WordTree:
        """Read the text of a .tree file, a line `name parent` a node; as in the C program a missing parent is -1."""
        names, parents = [], []
        for number, line in enumerate(_lines(text, source), 1):
            match = _NODE.match(line)
            if match is None:
                raise CfgError("a line `name parent` was expected, but it is empty", Location(source, number))
            name, parent = match.groups(default="-1")
            if not _PARENT.fullmatch(parent):
                raise CfgError(f"the parent's number was expected, not {parent[:40]!r}", Location(source, number))
            names.append(name)
            parents.append(int(parent))
        return cls(tuple(names), tuple(parents), source)

    @cached_property
    def depths(self) -> tuple[int, ...]:
        """Of every node, the number of its ancestors."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(0 if parent < 0 else depths[parent] + 1)
        return tuple(depths)

    @property
    def depth(self) -> int:
        """The number of levels."""
        return max(self.depths) + 1

    @cached_property
    def group_offsets(self) -> tuple[int, ...]:
        """Of every group, its first node."""
        parents = self.parents
        return tuple(node for node, parent in enumerate(parents) if node == 0 or parent != parents[node - 1])

    @cached_property
    def group_sizes(self) -> tuple[int, ...]:
        """Of every group, the number of its nodes."""
        ends = (*self.group_offsets[1:], len(self.parents))
        return tuple(end - start for start, end in zip(self.group_offsets, ends, strict=True))

    @cached_property
    def group(self) -> tuple[int, ...]:
        """Of every node, the group it is in."""
        return tuple(group for group, size in enumerate(self.group_sizes) for _ in range(size))

    @cached_property
    def children(self) -> tuple[int, ...]:
        """Of every node, the group of its children, or -1."""
        children = [-1] * len(self.parents)
        for group, first in enumerate(self.group_offsets[1:], 1):
            children[self.parents[first]] = group
        return tuple(children)

    @cached_property
    def leaves(self) -> Tensor:  # (C,) bool
        """Which nodes have no children."""
        return lasting([group < 0 for group in self.children], torch.bool)

    def path(self, label: int) -> list[int]:
        """The ancestors of a node from the top level down, and the node itself."""
        if not 0 <= label < len(self.parents):
            raise DarknetError(f"there is no class {label} in {self.source}, which has {len(self.parents)} nodes")
        path = [label]
        while (parent := self.parents[path[-1]]) >= 0:
            path.append(parent)
        return path[::-1]

    def absolute(self, conditional: Tensor) -> Tensor:  # (..., C) -> (..., C)
        """Multiply every class by its ancestors, from the top level down (hierarchy_predictions of tree.c)."""
        (order, place, above), widths = self._by_depth
        rows = conditional.movedim(-1, 0).contiguous().index_select(0, order.to(conditional.device)).split(widths)
        parents = above.to(conditional.device).split(widths)
        levels = [rows[0]]
        for row, parent in zip(rows[1:], parents[1:], strict=True):
            levels.append(row * levels[-1].index_select(0, parent))
        return torch.cat(levels).index_select(0, place.to(conditional.device)).movedim(0, -1)

    def probability(self, conditional: Tensor, label: int) -> Tensor:  # (..., C) -> (...)
        """`absolute` of one class."""
        return conditional[..., self.path(label)].prod(-1)

    @one_thread()
    def walk(
        self, values: Tensor, threshold: float, *, conditional: bool = False, at: tuple[Tensor, ...] | None = None
    ) -> Tensor:
        """Go down to the best child while the product of the values on the way stays above `threshold`.

        Values are (..., C); gives (...) int64, the last node that did, or the best of the top level. As in
        hierarchy_top_prediction of tree.c the product is of `absolute` values, so that ancestors count again at every
        step, a value must be above 0 to be the best, and of equal ones the first is. With `conditional` they are
        multiplied here, those on the way alone. With `at`, M places as `nonzero` gives them, only these walk: (M,).
        """
        children = moved(self._tables[2], values.device)
        if at is None:
            shape = values.shape[:-1]
            at = torch.ones((1, *shape), dtype=torch.bool, device=values.device).nonzero(as_tuple=True)
        else:
            shape, at = at[0].shape, (torch.zeros_like(at[0]), *at)
        values = values[None]  # one dimension more, so that a single row has one to index
        row, top = torch.arange(len(at[0]), device=values.device), torch.zeros_like(at[0])
        best, node = self._best_child(values, at, top, self._widths[0], None)
        product, label = best, node.clone()
        for width in self._widths[1:]:
            group = children[node]
            going = ((product > threshold) & (group >= 0)).nonzero()[:, 0]  # few of the rows go far
            if not len(going):
                break
            row, at = row[going], tuple(index[going] for index in at)
            best, node = self._best_child(values, at, group[going], width, best[going] if conditional else None)
            product = product[going] * best
            label[row] = torch.where(product > threshold, node, label[row])
        return label.view(shape)

    def _best_child(
        self, values: Tensor, at: tuple[Tensor, ...], group: Tensor, width: int, parent: Tensor | None
    ) -> tuple[Tensor, Tensor]:  # (..., C), tuple of (M,), (M,), (M,) -> (M,), (M,)
        """The largest value of a group, of at most `width` nodes, times that of its parent, if given; and its node."""
        starts, sizes, _ = (moved(table, values.device) for table in self._tables)
        step = torch.arange(width, device=values.device)
        nodes = (starts[group, None] + step).clamp_(max=len(self.parents) - 1)  # (M, width)
        places = (*(index[:, None] for index in at), nodes)
        found = values[places]
        if parent is not None:
            found = found * parent[:, None]
        best, nth = found.masked_fill((step >= sizes[group, None]) | ~(found > 0), 0).max(1)
        return best, starts[group] + nth

    @cached_property
    def _tables(self) -> tuple[Tensor, Tensor, Tensor]:
        return lasting(self.group_offsets), lasting(self.group_sizes), lasting(self.children)

    @cached_property
    def _widths(self) -> list[int]:
        """The size of the largest group of every level."""
        widths = [0] * self.depth
        for first, size in zip(self.group_offsets, self.group_sizes, strict=True):
            widths[self.depths[first]] = max(widths[self.depths[first]], size)
        return widths

    @cached_property
    def _by_depth(self) -> tuple[tuple[Tensor, Tensor, Tensor], list[int]]:
        """Nodes ordered by depth, the place of each there, that of its parent in its level; nodes a level."""
        order = sorted(range(len(self.depths)), key=self.depths.__getitem__)
        place = inverse(order)
        widths = [count for _, count in sorted(Counter(self.depths).items())]
        starts = list(accumulate(widths, initial=0))
        above = [max(0, place[self.parents[node]] - starts[self.depths[node] - 1]) for node in order]
        return (lasting(order), lasting(place), lasting(above)), widths


def read_map(path: str | Path) -> tuple[int, ...]:
    """Read a .map file, a class number a line; what follows the number is passed over, as by atoi."""
    found = []
    for number, line in enumerate(_lines(read_text(path, MAX_BYTES), str(path)), 1):
        match = _CLASS.match(line)
        if match is None:
            raise CfgError(f"a class number was expected, not {line[:40]!r}", Location(str(path), number))
        found.append(int(match.group(1)))
    return tuple(found)


def lasting(values: Sequence[int], dtype: torch.dtype = torch.int64) -> Tensor:
    """Keep numbers as a tensor that autograd may use, wherever it was first asked for."""
    with torch.inference_mode(mode=False):
        return torch.tensor(values, dtype=dtype, device="cpu")


def inverse(order: Sequence[int]) -> list[int]:
    """Where each of a permutation of numbers from 0 is in it."""
    place = [0] * len(order)
    for position, node in enumerate(order):
        place[node] = position
    return place


def _lines(text: str, source: str) -> list[str]:
    text = text.removeprefix("\ufeff").removesuffix("\n")
    if not text:
        raise CfgError("the file is empty", Location(source))
    if "\0" in text:
        raise CfgError("this is not a text file", Location(source))
    if text.count("\n") >= MAX_LINES:
        raise CfgError(f"more than {MAX_LINES} lines; is this the right file?", Location(source))
    return text.split("\n")
