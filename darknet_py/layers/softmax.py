"""``[softmax]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from darknet_py.cfg.keys import file_name, flag, key, number, positive
from darknet_py.layers.base import Layer, Place, Shape, register
from darknet_py.layers.parts.text import Lines, call, flat
from darknet_py.layers.parts.trees import groups_name, tree_named
from darknet_py.tree.softmax import TreeSoftmax
from darknet_py.tree.walk import TreeWalk
from darknet_py.tree.wordtree import WordTree


@register("softmax", "soft")
@dataclass(frozen=True, kw_only=True)
class Softmax(Layer):
    """``[softmax]``: probabilities from scores, with cross-entropy as its loss; the output is a row."""

    has_loss = True

    groups: int = key(positive, 1, "number of softmaxes that the row is split into")
    temperature: float = key(number, 1.0, "scores are divided by this first")
    tree: str | None = key(file_name, None, "a .tree file: a softmax inside each group of siblings")
    spatial: float = key(number, 0.0, "if not 0, a softmax over the channels of each pixel, without temperature")
    noloss: bool = key(flag, False, "no loss here")

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        (shape,) = inputs
        if self.spatial and self.tree is None:
            self.image(inputs)
        if shape.size % self.groups:
            raise self.error(f"groups={self.groups} does not divide {shape.size} values")
        if self.temperature == 0:
            raise self.error("temperature=0")
        return Shape(shape.size)

    def resized(self, old: Sequence[Shape], new: Sequence[Shape]) -> Softmax:
        """With a tree a new layer, so that its size is checked again."""
        return self if self.tree is None else replace(self)

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        (shape,) = inputs
        tree = self.word_tree
        if tree is None:
            return SoftmaxModule(self)
        if len(tree.names) != shape.size:
            raise self.error(f"{self.tree} has {len(tree.names)} nodes, but there are {shape.size} values")
        return TreeModule(tree, self.temperature)

    def text(self, place: Place, *xs: str) -> Lines:
        (x,) = xs
        if self.spatial and self.tree is None:
            return [f"{x}.softmax(1).flatten(1)"]
        row = flat(place, x)
        scaled = row if self.temperature == 1 else f"{row} / {self.temperature}"
        if self.tree is not None:
            return [call("tree_softmax", scaled, groups_name(place), 1)]
        row = row if self.temperature == 1 else f"({scaled})"
        if self.groups == 1:
            return [f"{row}.softmax(1)"]
        return [f"{row}.unflatten(1, ({self.groups}, -1)).softmax(2).flatten(1)"]

    @property
    def skips_loss(self) -> bool:
        return self.noloss

    @cached_property
    def word_tree(self) -> WordTree | None:
        return tree_named(self, self.tree)

    def count_classes(self, before: Shape | None) -> int | None:
        if before is None:
            return None
        return before.c if self.spatial else before.size


class SoftmaxModule(nn.Module):
    """(N, ...) -> (N, values)."""

    def __init__(self, layer: Softmax) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        if self.layer.spatial:
            return torch.softmax(x, 1).flatten(1)
        x = x.flatten(1).unflatten(1, (self.layer.groups, -1))
        return torch.softmax(x / self.layer.temperature, 2).flatten(1)


class TreeModule(nn.Module):
    """(N, ...) -> (N, nodes): conditional probabilities, each given the node's parent."""

    def __init__(self, tree: WordTree, temperature: float) -> None:
        super().__init__()
        self.tree, self.temperature = tree, temperature
        self.softmax = TreeSoftmax(tree)
        self.walk = TreeWalk(tree)

    def forward(self, x: Tensor) -> Tensor:
        return self.softmax(x.flatten(1) / self.temperature, 1)
