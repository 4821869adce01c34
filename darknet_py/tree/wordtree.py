"""Trees of classes (WordTree, YOLO9000), and the .tree and .map files that have them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

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

    @property
    def leaves(self) -> tuple[bool, ...]:
        """Of every node, whether it has no children."""
        return tuple(group < 0 for group in self.children)

    def path(self, label: int) -> list[int]:
        """The ancestors of a node from the top level down, and the node itself."""
        if not 0 <= label < len(self.parents):
            raise DarknetError(f"there is no class {label} in {self.source}, which has {len(self.parents)} nodes")
        path = [label]
        while (parent := self.parents[path[-1]]) >= 0:
            path.append(parent)
        return path[::-1]


def read_map(path: str | Path) -> tuple[int, ...]:
    """Read a .map file, a class number a line; what follows the number is passed over, as by atoi."""
    found = []
    for number, line in enumerate(_lines(read_text(path, MAX_BYTES), str(path)), 1):
        match = _CLASS.match(line)
        if match is None:
            raise CfgError(f"a class number was expected, not {line[:40]!r}", Location(str(path), number))
        found.append(int(match.group(1)))
    return tuple(found)


def _lines(text: str, source: str) -> list[str]:
    text = text.removeprefix("\ufeff").removesuffix("\n")
    if not text:
        raise CfgError("the file is empty", Location(source))
    if "\0" in text:
        raise CfgError("this is not a text file", Location(source))
    if text.count("\n") >= MAX_LINES:
        raise CfgError(f"more than {MAX_LINES} lines; is this the right file?", Location(source))
    return text.split("\n")
