"""``[region]``: the head of YOLOv2 and YOLO9000."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from darknet_py.boxes.coder import BoxCoder
from darknet_py.cfg.keys import file_name, flag, integer, key, list_of, number, positive
from darknet_py.layers.base import Place, Shape, register
from darknet_py.layers.heads import JOINED, GridHead
from darknet_py.layers.parts.text import Lines, call, parts_of
from darknet_py.layers.parts.trees import groups_name, tree_named
from darknet_py.tree.softmax import TreeSoftmax
from darknet_py.tree.walk import TreeWalk
from darknet_py.tree.wordtree import WordTree


@register("region")
@dataclass(frozen=True, kw_only=True)
class Region(GridHead):
    """``[region]``: boxes on a grid, `num` anchors per cell; per anchor x, y, w, h, [mask], objectness, classes."""

    original_truths = 30

    anchors: tuple[float, ...] = key(list_of(number), (), "width, height of each anchor in cells; .5 if not given")
    coords: int = key(positive, 4, "4, or more if a mask follows the box")
    num: int = key(positive, 1, "anchors per cell")
    softmax: bool = key(flag, False, "softmax over the classes; otherwise a logistic of each")
    background: bool = key(flag, False, "objectness is one more class, the background")
    tree: str | None = key(file_name, None, "a .tree file: classes form a hierarchy, softmax inside each group")
    max: int = key(integer, 30, "truths per picture; Darknet reads it but always takes 30")
    rescore: bool = key(flag, False, "objectness learns the IoU instead of 1")
    thresh: float = key(number, 0.5, "boxes with a higher IoU with a truth learn no missing object")
    bias_match: bool = key(flag, False, "truths go to the anchor of the nearest shape, not to the nearest prediction")
    coord_scale: float = key(number, 1.0, "weight of the box loss")
    object_scale: float = key(number, 1.0, "weight of the objectness loss of anchors with an object")
    noobject_scale: float = key(number, 1.0, "weight of the objectness loss of anchors without")
    mask_scale: float = key(number, 1.0, "weight of the mask loss")
    class_scale: float = key(number, 1.0, "weight of the class loss")
    log: bool = key(flag, False, "read by Darknet, without effect")
    sqrt: bool = key(flag, False, "read by Darknet, without effect")
    classfix: int = key(integer, 0, "read by Darknet, without effect")
    absolute: bool = key(flag, False, "read by Darknet, without effect")

    @property
    def truth_size(self) -> int:
        return self.truths * (self.coords + 1)

    @property
    def leading(self) -> int:
        return self.coords + 1

    @property
    def formula(self) -> str:
        return f"num*(classes+coords+1) = {self.num}*({self.classes}+{self.coords}+1) = {self.channels}"

    @property
    def coder(self) -> BoxCoder:
        return BoxCoder()

    @cached_property
    def word_tree(self) -> WordTree | None:
        return tree_named(self, self.tree)

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        shape = super().out_shape(inputs)
        if self.coords < 4:
            raise self.error(f"coords={self.coords} is below 4")
        return shape

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        tree = self.word_tree
        if tree is not None and len(tree.names) != self.classes:
            raise self.error(f"{self.tree} has {len(tree.names)} nodes, but classes={self.classes}")
        return RegionModule(self, tree)

    def text(self, place: Place, *xs: str) -> Lines:
        parts = [("xy", 2, "xy.sigmoid()"), ("wh", 2, "wh")]
        if self.coords > 4:
            parts.append(("mask", self.coords - 4, "mask.sigmoid()"))
        if self.softmax and self.background and self.tree is None:
            parts.append(("classes", 1 + self.classes, "classes.softmax(2)"))
        else:
            parts.append(("objectness", 1, "objectness" if self.background else "objectness.sigmoid()"))
            parts.append(("classes", self.classes, self._classes_text))
        names, sizes, results = zip(*parts, strict=True)
        tree = f"classes = {call('tree_softmax', 'classes', groups_name(place), 2)}"
        return [
            f"entries = {xs[0]}.unflatten(1, ({self.num}, {self.entries}))",
            f"{', '.join(names)} = entries.split({sizes}, 2)",
            *([] if self.tree is None else [tree]),
            *parts_of(results),
            JOINED,
        ]

    @property
    def _classes_text(self) -> str:
        if self.tree is not None:
            return "classes"
        return "classes.softmax(2)" if self.softmax else "classes.sigmoid()"


class RegionModule(nn.Module):
    """(N, anchors * entries, H, W) -> the same shape: logistic, softmax and tree applied, boxes still in cells."""

    def __init__(self, layer: Region, tree: WordTree | None) -> None:
        super().__init__()
        self.layer, self.tree = layer, tree
        self.tree_softmax = None if tree is None else TreeSoftmax(tree)
        self.walk = None if tree is None else TreeWalk(tree)

    def forward(self, x: Tensor) -> Tensor:
        layer = self.layer
        b, c, h, w = x.shape
        x = x.reshape(b, layer.num, layer.entries, h, w)
        sizes = (2, 2, layer.coords - 4, 1, layer.classes)
        xy, wh, mask, objectness, classes = x.split(sizes, 2)
        if not layer.background:
            objectness = torch.sigmoid(objectness)
        if self.tree_softmax is not None:
            classes = self.tree_softmax(classes, 2)
        elif layer.softmax and layer.background:
            objectness, classes = torch.cat((objectness, classes), 2).softmax(2).split((1, layer.classes), 2)
        elif layer.softmax:
            classes = classes.softmax(2)
        else:
            classes = torch.sigmoid(classes)
        parts = (torch.sigmoid(xy), wh, torch.sigmoid(mask), objectness, classes)
        return torch.cat(parts, 2).reshape(b, c, h, w)
