"""Reads the trees of classes that layers name."""

from __future__ import annotations

from darknet_py.cfg import find_file
from darknet_py.layers.base import Layer
from darknet_py.tree.wordtree import WordTree


def tree_named(layer: Layer, name: str | None) -> WordTree | None:
    """The tree in the .tree file that a section names; None if it names none."""
    return None if name is None else WordTree.read(find_file(name, layer.where.file))
