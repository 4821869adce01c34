"""Reads the trees of classes that layers name."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from darknet_py.cfg import find_file
from darknet_py.layers.base import Layer, Place
from darknet_py.layers.parts.text import helper
from darknet_py.tree.wordtree import WordTree


def tree_named(layer: Layer, name: str | None) -> WordTree | None:
    """The tree in the .tree file that a section names; None if it names none."""
    return None if name is None else WordTree.read(find_file(name, layer.where.file))


def groups_name(place: Place) -> str:
    """What source text calls the group sizes of a layer's tree."""
    return f"GROUPS_{place.index}"


@helper
def tree_softmax(x: Tensor, groups: Sequence[int], dim: int) -> Tensor:
    """Softmax inside each group of siblings of a tree, of a tensor of any shape."""
    return torch.cat([group.softmax(dim) for group in x.split(groups, dim)], dim)
