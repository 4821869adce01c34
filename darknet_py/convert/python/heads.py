"""The source text of heads, and what a docstring says about their outputs."""

from __future__ import annotations

from collections.abc import Sequence

from darknet_py.layers.detection import Detection
from darknet_py.layers.iseg import Iseg
from darknet_py.layers.region import Region
from darknet_py.layers.yolo import Yolo
from darknet_py.network.graph import Node

Lines = list[str]  # statements, and last the expression of the output
JOINED = "torch.cat(parts, 2).flatten(1, 2)"


def groups_name(node: Node) -> str:
    """The name of the constant with the group sizes of a layer's tree."""
    return f"GROUPS_{node.index}"


def parts_of(expressions: Sequence[str]) -> Lines:
    """A tuple called `parts`, on one line if it fits."""
    joined = ", ".join(expressions)
    if len(joined) <= 68:
        return [f"parts = ({joined})"]
    return ["parts = (", *(f"    {expression}," for expression in expressions), ")"]


def region(node: Node, layer: Region, x: str) -> Lines:
    """Lines of a [region]."""
    parts = [("xy", 2, "xy.sigmoid()"), ("wh", 2, "wh")]
    if layer.coords > 4:
        parts.append(("mask", layer.coords - 4, "mask.sigmoid()"))
    if layer.softmax and layer.background and layer.tree is None:
        parts.append(("classes", 1 + layer.classes, "classes.softmax(2)"))
    else:
        parts.append(("objectness", 1, "objectness" if layer.background else "objectness.sigmoid()"))
        parts.append(("classes", layer.classes, _classes(layer)))
    names, sizes, results = zip(*parts, strict=True)
    lines = [
        f"entries = {x}.unflatten(1, ({layer.num}, {layer.entries}))",
        f"{', '.join(names)} = entries.split({sizes}, 2)",
        *parts_of(results),
        JOINED,
    ]
    if layer.tree is not None:
        lines.insert(2, f"classes = tree_softmax(classes, {groups_name(node)}, 2)")
    return lines


def _classes(layer: Region) -> str:
    if layer.tree is not None:
        return "classes"
    return "classes.softmax(2)" if layer.softmax else "classes.sigmoid()"


def yolo(_node: Node, layer: Yolo, x: str) -> Lines:
    """Lines of a [yolo]."""
    return [
        f"entries = {x}.unflatten(1, ({len(layer.anchor_boxes)}, {layer.entries}))",
        f"xy, wh, scores = entries.split((2, 2, {layer.entries - 4}), 2)",
        "parts = (xy.sigmoid(), wh, scores.sigmoid())",
        JOINED,
    ]


def detection(node: Node, layer: Detection, x: str) -> Lines:
    """Lines of a [detection]."""
    flat = f"{x}.flatten(1)"
    if not layer.softmax:
        return [flat]
    count = layer.side**2 * layer.classes
    return [
        f"classes, boxes = {flat}.split(({count}, {node.shape.size - count}), 1)",
        f"classes = classes.unflatten(1, (-1, {layer.classes})).softmax(2).flatten(1)",
        "torch.cat((classes, boxes), 1)",
    ]


def iseg(_node: Node, layer: Iseg, x: str) -> Lines:
    """Lines of an [iseg]."""
    c = layer.classes
    return [f"torch.cat((torch.sigmoid({x}[:, :{c}]), {x}[:, {c}:]), 1)"]


def meaning(node: Node) -> str:
    """The meaning of an output's values, or nothing."""
    layer = node.layer
    if isinstance(layer, (Region, Yolo)):
        mask = f"{layer.coords - 4} mask values, " if isinstance(layer, Region) and layer.coords > 4 else ""
        tree = ", each among its siblings in a tree" if isinstance(layer, Region) and layer.tree else ""
        anchors = ", ".join(f"{w:g}x{h:g}" for w, h in layer.anchor_boxes)
        unit = "cells" if isinstance(layer, Region) else "pixels of the input"
        return (
            f"For each of {len(layer.anchor_boxes)} anchors x, y, w, h, {mask}objectness and {layer.classes} "
            f"classes{tree}. The anchors, in {unit}, are {anchors}."
        )
    if isinstance(layer, Detection):
        return (
            f"For each of {layer.side} x {layer.side} cells {layer.classes} classes, then for each "
            f"{layer.num} times objectness, then for each {layer.num} times x, y, w, h."
        )
    if isinstance(layer, Iseg):
        return f"For each pixel {layer.classes} classes and {layer.ids} values that tell instances apart."
    return ""


def boxes(node: Node) -> str:
    """How values become a box, as fractions of the input, or nothing."""
    layer = node.layer
    if isinstance(layer, Detection):
        across: tuple[str, ...] = (str(layer.side),)
        down = across
    elif isinstance(layer, (Region, Yolo)):
        units = layer.coder.units(("columns", "rows"), ("input width", "input height"))
        across, down = ("columns", "anchor width", units[0]), ("rows", "anchor height", units[1])
    else:
        return ""
    x, w = layer.coder.formulas("x", "w", "column", *across)
    y, h = layer.coder.formulas("y", "h", "row", *down)
    return f"Boxes, as shares of the input:\n\n    centre = {x}, {y}\n    size = {w}, {h}"
