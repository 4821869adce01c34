"""What heads have in common: classes, truths, and anchors on a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Final

from darknet_py.boxes.coder import BoxCoder
from darknet_py.cfg import find_file
from darknet_py.cfg.keys import file_name, integer, key, list_of, number, positive
from darknet_py.layers.base import Layer, Shape
from darknet_py.tree.wordtree import read_map

DEFAULT_ANCHOR: Final = 0.5
UNITS: Final = {"cells": "cells", "pixels": "pixels of the input"}  # of anchors, for people
JOINED: Final = "torch.cat(parts, 2).flatten(1, 2)"  # source text: the parts of an anchor, as channels again
MOST_TRUTHS: Final = 10_000  # the most truths that are learnt per picture


@dataclass(frozen=True, kw_only=True)
class Head(Layer):
    """A layer that locates objects of some classes; it is an output of the network anywhere in the cfg."""

    is_head = True
    has_loss = True
    gives_boxes = True

    classes: int = key(positive, 20, "how many classes")

    def count_classes(self, before: Shape | None) -> int | None:
        return self.classes


@dataclass(frozen=True, kw_only=True)
class GridHead(Head):
    """Boxes on a grid with several anchors per cell; the output has box, objectness and classes for each anchor."""

    original_truths: ClassVar[int | None] = None  # per picture in the C program, if its cfg cannot choose

    anchors: tuple[float, ...] = key(list_of(number), (), "width, height of all anchors in pixels of the input")
    num: int = key(positive, 1, "anchors in all layers together")
    max: int = key(integer, 90, "truths per picture")
    jitter: float = key(number, 0.2, "how far pictures are cropped in training, as a fraction of their size")
    random: int = key(integer, 0, "if not 0, another input size every 10 batches during training")
    map: str | None = key(file_name, None, "a .map file: the class here of each class in the labels")

    @property
    def skips_loss(self) -> bool:
        return self.onlyforward

    @property
    def draws_sizes(self) -> bool:
        return bool(self.random)

    @property
    def truths(self) -> int:
        """Truths per picture; raises `CfgError` for an absurd number."""
        count = max(self.max, self.original_truths or 0)
        if count > MOST_TRUTHS:
            raise self.error(f"max={count}: more than {MOST_TRUTHS} truths per picture are not accepted")
        return count

    @property
    def truth_size(self) -> int:
        return 5 * self.truths

    @cached_property
    def label_map(self) -> tuple[int, ...] | None:
        return None if self.map is None else read_map(find_file(self.map, self.where.file))

    @property
    def all_anchors(self) -> tuple[tuple[float, float], ...]:
        """The `num` pairs (width, height) that all layers with this list share."""
        return tuple(self._anchor(n) for n in range(self.num))

    @property
    def own_anchors(self) -> Sequence[int]:
        """The indices of this layer's anchors."""
        return range(self.num)

    @property
    def anchor_boxes(self) -> tuple[tuple[float, float], ...]:
        """(width, height) of this layer's anchors, in the units of `coder`."""
        return tuple(self._anchor(n) for n in self.own_anchors)

    def _anchor(self, n: int) -> tuple[float, float]:
        """One of the list; .5 if the cfg does not give it."""
        width, height = (*self.anchors[2 * n : 2 * n + 2], DEFAULT_ANCHOR, DEFAULT_ANCHOR)[:2]
        return width, height

    @property
    def coder(self) -> BoxCoder:
        """How its numbers mean boxes, and the units of its anchors."""
        return BoxCoder(unit="pixels")

    @property
    def leading(self) -> int:
        """Channels per anchor before its classes; the last of them is objectness."""
        return 5

    @property
    def entries(self) -> int:
        """Channels per anchor."""
        return self.leading + self.classes

    @property
    def channels(self) -> int:
        """Channels of its input and output."""
        return len(self.own_anchors) * self.entries

    @property
    def formula(self) -> str:
        """The formula for that number, in the words of the cfg."""
        return f"num*(classes+5) = {self.num}*({self.classes}+5) = {self.channels}"

    @property
    def beyond(self) -> str | None:
        """The message about an anchor that does not exist."""
        return None

    @property
    def meaning(self) -> str:
        mask = f"{self.leading - 5} mask values, " if self.leading > 5 else ""
        tree = ", each among its siblings in a tree" if self.word_tree else ""
        anchors = ", ".join(f"{w:g}x{h:g}" for w, h in self.anchor_boxes)
        return (
            f"For each of {len(self.own_anchors)} anchors x, y, w, h, {mask}objectness and {self.classes} "
            f"classes{tree}. The anchors, in {UNITS[self.coder.unit]}, are {anchors}."
        )

    @property
    def box_formulas(self) -> tuple[str, str]:
        units = self.coder.units(("columns", "rows"), ("input width", "input height"))
        return formulas_of(self.coder, ("columns", "anchor width", units[0]), ("rows", "anchor height", units[1]))

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        shape = self.image(inputs)
        if self.beyond is not None:
            raise self.error(self.beyond)
        if shape.c != self.channels:
            before = f"the layer before it gives {shape.c}"
            raise self.error(f"needs {self.formula} channels, but {before}: set its filters")
        return shape


def formulas_of(coder: BoxCoder, across: tuple[str, ...], down: tuple[str, ...]) -> tuple[str, str]:
    """The source text of a box's centre and size; for each axis what is called cells, anchor and units."""
    x, w = coder.formulas("x", "w", "column", *across)
    y, h = coder.formulas("y", "h", "row", *down)
    return f"{x}, {y}", f"{w}, {h}"
