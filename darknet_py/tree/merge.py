"""Merges label sets into one tree of classes, as YOLO9000 does with COCO and ImageNet.

A name may have several parents. Names with only one path to the top come first; each of the others takes the path that
adds the fewest nodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from darknet_py.errors import CfgError, DarknetError, Location
from darknet_py.tree.hypernyms import NAME_BYTES, SHOWN, Kinds, name_of
from darknet_py.tree.wordtree import WordTree


@dataclass(frozen=True)
class Merged:
    """A tree, the names of its nodes, and the node of every label for each label set."""

    tree: WordTree
    names: tuple[str, ...]
    maps: tuple[tuple[int, ...], ...]


def merge(
    kinds: Kinds, label_sets: Sequence[Sequence[str]] = (), base: WordTree | None = None, base_names: Sequence[str] = ()
) -> Merged:
    """Make a tree of every label in `label_sets` and its ancestors; without sets, of every name in `kinds`.

    All nodes of `base` keep their place and order; `base_names` are their names. The node of a label is that of its
    name, or the one that a line gives, or the only one of `base` with that name. Raises `DarknetError` for labels
    without such a node, and if several nodes have the name.
    """
    growing = _Growing(kinds, {} if base is None else _parents(base))
    called = _called(base, base_names)
    sets = [_nodes(labels, kinds, growing.parents, called) for labels in label_sets]
    wanted = dict.fromkeys(name for nodes in sets for name in nodes) if label_sets else kinds.lowest()
    if base is None and not wanted:
        raise DarknetError("there are no names to make a tree of")
    easy = kinds.with_one_way()
    for name in sorted(wanted, key=lambda name: name not in easy):
        growing.add(name)
    tree = growing.tree()
    place = {name: node for node, name in enumerate(tree.names)}
    words = dict(kinds.written)
    for labels, nodes in zip(label_sets, sets, strict=True):
        words.update({node: label for label, node in zip(labels, nodes, strict=True) if node not in words})
    if base is not None:
        words.update(zip(base.names, base_names or base.names, strict=True))
    maps = tuple(tuple(place[name] for name in nodes) for nodes in sets)
    return Merged(tree, tuple(words.get(name, name) for name in tree.names), maps)


def tree_text(tree: WordTree) -> str:
    """The text of a .tree file."""
    return "".join(f"{name} {parent}\n" for name, parent in zip(tree.names, tree.parents, strict=True))


def faults(tree: WordTree, names: Sequence[str] | None = None) -> Iterator[str]:
    """The mistakes in a readable tree: names that are too long for the C program, or a wrong number of names."""
    for node, name in enumerate(tree.names):
        if len(name.encode("utf-8", "surrogateescape")) > NAME_BYTES:
            yield f"{Location(tree.source, node + 1)}: the name is longer than {NAME_BYTES} bytes"
    if names is not None and len(names) != len(tree.names):
        yield f"{tree.source}: {len(tree.names)} nodes, but {len(names)} names"
    for node, name in enumerate((names or ())[: len(tree.names)]):
        if not name.strip():
            yield f"{tree.source}: node {node} has an empty name"


class _Growing:
    """A tree under construction; groups are in the order of their first child, and names in the order of addition."""

    def __init__(self, kinds: Kinds, base: Mapping[str, str | None]) -> None:
        self.kinds, self.base = kinds, base
        self.parents: dict[str, str | None] = {}
        self.groups: dict[str | None, list[str]] = {None: []}
        for name, parent in base.items():
            self._place(name, parent)

    def _place(self, name: str, parent: str | None) -> None:
        self.parents[name] = parent
        self.groups.setdefault(parent, []).append(name)

    def add(self, name: str) -> None:
        """Add a name and the missing names on its shortest path to the top."""
        below: dict[str | None, str | None] = {name: None}
        level: list[str | None] = [name]
        while (top := next((place for place in level if place is None or place in self.parents), "")) == "":
            steps = [(up, place) for place in level for up in self._above(place) if up not in below]
            below.update(reversed(steps))  # the first of several paths to a name
            level = list(dict(steps))
        while (child := below[top]) is not None:
            self._place(child, top)
            top = child

    def _above(self, name: str | None) -> Sequence[str | None]:
        return tuple(self.kinds.above[str(name)]) or (None,)

    def tree(self) -> WordTree:
        order = {name: rank for rank, name in enumerate(dict.fromkeys((*self.base, *self.kinds.above)))}
        names = [name for group in self.groups.values() for name in sorted(group, key=order.__getitem__)]
        place: dict[str | None, int] = {name: node for node, name in enumerate(names)}
        return WordTree(tuple(names), tuple(place.get(self.parents[name], -1) for name in names), "the merged tree")


def _parents(tree: WordTree) -> dict[str, str | None]:
    """The parent of every name; raises `CfgError` if two nodes have one name."""
    name, count = Counter(tree.names).most_common(1)[0]
    if count > 1:
        raise CfgError(f"{count} nodes have the name {name!r}; labels are found by name", Location(tree.source))
    return {
        name: tree.names[parent] if parent >= 0 else None for name, parent in zip(tree.names, tree.parents, strict=True)
    }


def _called(base: WordTree | None, names: Sequence[str]) -> dict[str, list[str]]:
    """The nodes of `base` by name."""
    found: dict[str, list[str]] = {}
    if base is None:
        return found
    if names and len(names) != len(base.names):
        raise DarknetError(f"{base.source} has {len(base.names)} nodes, but there are {len(names)} names for them")
    for node, name in zip(base.names, names, strict=False):
        found.setdefault(_plain(name), []).append(node)
    return found


def _nodes(
    labels: Iterable[str], kinds: Kinds, base: Mapping[str, str | None], called: Mapping[str, Sequence[str]]
) -> list[str]:
    """The node of every label."""
    found, lost = [], []
    for label in labels:
        name = kinds.same.get(name_of(label), name_of(label))
        near = [name] if name in kinds.above or name in base else called.get(_plain(name), ())
        if len(near) == 1:
            found.append(near[0])
        else:
            lost.append(f"{label!r} ({', '.join(near[:SHOWN])})" if near else repr(label))
    if lost:
        more = f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else ""
        raise DarknetError(
            f"{len(lost)} labels have no node, or several: {', '.join(lost[:SHOWN])}{more}; add lines such as "
            "`label = node` or `label parent`"
        )
    return found


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()
