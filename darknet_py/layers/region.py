"""``[region]``: the head of YOLOv2 and YOLO9000."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from darknet_py.boxes.coder import BoxCoder
from darknet_py.cfg import find_file
from darknet_py.cfg.keys import file_name, flag, integer, key, list_of, number, positive
from darknet_py.layers.base import Layer, Shape, register
from darknet_py.tree.softmax import TreeSoftmax
from darknet_py.tree.walk import TreeWalk
from darknet_py.tree.wordtree import WordTree, read_map

DEFAULT_ANCHOR = 0.5
TRUTHS: Final = 30  # of a picture in the C program, whatever its cfg says
MOST_TRUTHS: Final = 10_000  # that are learnt of one


def pair_anchors(values: Sequence[float], count: int) -> tuple[tuple[float, float], ...]:
    """So many (width, height): what the cfg does not give is .5, and what it gives beyond is not used."""
    padded = [*values, *(DEFAULT_ANCHOR,) * (2 * count)][: 2 * count]
    return tuple(zip(padded[::2], padded[1::2], strict=True))


def limited_truths(layer: Layer, count: int) -> int:
    """So many truths a picture; raises `CfgError` for more than can be meant."""
    if count > MOST_TRUTHS:
        raise layer.error(f"max={count}: more than {MOST_TRUTHS} truths a picture are not accepted")
    return count


@register("region")
@dataclass(frozen=True, kw_only=True)
class Region(Layer):
    """``[region]``: boxes on a grid, `num` anchors a cell; per anchor x, y, w, h, [mask], objectness, classes."""

    is_head = True

    anchors: tuple[float, ...] = key(list_of(number), (), "width, height of each anchor in cells; .5 where not given")
    classes: int = key(positive, 20, "how many classes")
    coords: int = key(positive, 4, "4, or more where a mask comes after the box")
    num: int = key(positive, 1, "anchors a cell")
    softmax: bool = key(flag, False, "softmax over the classes; otherwise a logistic of each")
    background: bool = key(flag, False, "objectness is one more class, the background")
    tree: str | None = key(file_name, None, "a .tree file: classes form a hierarchy, softmax inside each group")
    map: str | None = key(file_name, None, "a .map file: the class here of each class in the labels")
    max: int = key(integer, TRUTHS, "truths a picture, where above 30; Darknet reads it and keeps to 30")
    jitter: float = key(number, 0.2, "how much pictures are cropped while training, as a share of their size")
    rescore: bool = key(flag, False, "objectness learns the IoU instead of 1")
    thresh: float = key(number, 0.5, "boxes with a higher IoU with a truth learn no missing object")
    random: int = key(integer, 0, "not 0: another input size every 10 batches while training")
    bias_match: bool = key(flag, False, "truths go to the anchor of the nearest shape, not to the nearest prediction")
    coord_scale: float = key(number, 1.0, "weight of the box loss")
    object_scale: float = key(number, 1.0, "weight of the objectness loss where there is an object")
    noobject_scale: float = key(number, 1.0, "weight of the objectness loss where there is none")
    mask_scale: float = key(number, 1.0, "weight of the mask loss")
    class_scale: float = key(number, 1.0, "weight of the class loss")
    log: bool = key(flag, False, "read by Darknet, without effect")
    sqrt: bool = key(flag, False, "read by Darknet, without effect")
    classfix: int = key(integer, 0, "read by Darknet, without effect")
    absolute: bool = key(flag, False, "read by Darknet, without effect")

    @property
    def truths(self) -> int:
        """Truths a picture; raises `CfgError` for more than can be meant."""
        return limited_truths(self, max(self.max, TRUTHS))

    @property
    def anchor_boxes(self) -> tuple[tuple[float, float], ...]:
        """(width, height) of each anchor, in cells."""
        return pair_anchors(self.anchors, self.num)

    @property
    def coder(self) -> BoxCoder:
        """How its numbers are boxes."""
        return BoxCoder()

    @property
    def entries(self) -> int:
        """Channels an anchor."""
        return self.coords + 1 + self.classes

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        shape = self.image(inputs)
        if shape.c != self.num * self.entries:
            raise self.error(
                f"needs num*(classes+coords+1) = {self.num}*({self.classes}+{self.coords}+1) = "
                f"{self.num * self.entries} channels, but the layer before it gives {shape.c}: set its filters"
            )
        if self.coords < 4:
            raise self.error(f"coords={self.coords} is below 4")
        return shape

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        tree = self.read_tree()
        if tree is not None and len(tree.names) != self.classes:
            raise self.error(f"{self.tree} has {len(tree.names)} nodes, but classes={self.classes}")
        return RegionModule(self, tree)

    def read_tree(self) -> WordTree | None:
        """The tree named by the key, or None."""
        return None if self.tree is None else WordTree.read(find_file(self.tree, self.where.file))

    def read_map(self) -> tuple[int, ...] | None:
        """The map named by the key, or None."""
        return None if self.map is None else read_map(find_file(self.map, self.where.file))


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
