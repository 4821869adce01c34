"""What is wrong inside a cfg: training, heads, input size, layers without use."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from darknet_py.check.outline import Outline
from darknet_py.check.problems import Problems
from darknet_py.devices.memory import lacking
from darknet_py.layers.heads import DEFAULT_ANCHOR, GridHead
from darknet_py.network.graph import INPUT, Graph
from darknet_py.train.advice import advice, differences
from darknet_py.train.settings import CLASSIFIER, DETECTOR

GRID_STRIDE: Final = 32  # pixels a cell of the coarsest grid in every official YOLO


def check_training(outline: Outline, problems: Problems) -> None:
    """The batch and the learning rate."""
    net = outline.net
    if net is None or not outline.net_is_sure:
        return
    batch, parts = net.batch, net.subdivisions
    if parts > batch:
        zero = f"subdivisions={parts} is more than batch={batch}: nothing is left of the batch"
        problems.error(zero, outline.where(INPUT, "subdivisions"))
    elif batch % parts:
        fewer = f"batch={batch} is no multiple of subdivisions={parts}: it counts as {batch // parts * parts}"
        problems.warning(fewer, outline.where(INPUT, "batch"))
    if net.policy == "steps" and len(net.steps) != len(net.scales):
        unequal = f"{len(net.scales)} scales, but {len(net.steps)} steps: every step needs one"
        problems.error(unequal, outline.where(INPUT, "scales"))
    if net.policy == "steps" and any(after <= before for before, after in pairwise(net.steps)):
        problems.warning("the steps do not rise", outline.where(INPUT, "steps"))
    if net.policy == "step" and net.step < 1:
        problems.error(f"step={net.step}: policy=step needs at least 1", outline.where(INPUT, "step"))
    if 0 < net.max_batches < net.burn_in:
        late = f"burn_in={net.burn_in} is more than max_batches={net.max_batches}: the rate never reaches its value"
        problems.warning(late, outline.where(INPUT, "burn_in"))


def check_advice(graph: Graph, problems: Problems, *, trains: bool) -> None:
    """What training obeys in a way of its own; and, where the network is to be trained, what it rarely wants."""
    found = [*differences(graph)]
    if trains:
        found += advice(graph, CLASSIFIER if graph.net.random else DETECTOR)
    for message, where in found:
        problems.warning(message, where)


def check_heads(outline: Outline, problems: Problems) -> None:
    """Anchors, and the classes of several heads."""
    for index, head in outline.grids:
        where, values, wanted = outline.where(index, "anchors"), head.anchors, 2 * head.num
        if not values:
            problems.warning(f"[{head.type}] has no anchors: all are {DEFAULT_ANCHOR} x {DEFAULT_ANCHOR}", where)
        elif len(values) != wanted:
            count = f"{len(values)} values in anchors; num={head.num} needs {wanted}, a width and a height each"
            problems.error(count, where)
        elif min(values) <= 0:
            problems.error(f"an anchor cannot be {min(values):g} wide or high", where)
        elif (unit := _wrong_unit(outline, index, head)) is not None:
            problems.warning(unit, where)
    for index, head in outline.grids[1:]:
        first_index, first = outline.grids[0]
        if head.classes != first.classes:
            line = outline.where(first_index, "classes").line
            different = f"classes={head.classes} here, but {first.classes} in line {line}"
            problems.error(different, outline.where(index, "classes"))


def check_input_size(outline: Outline, graph: Graph, problems: Problems) -> None:
    """A size that the grid of a detector does not divide; classifiers take any."""
    if not (outline.grids and graph.resizable):
        return
    for key, side in (("width", graph.net.width), ("height", graph.net.height)):
        if side % graph.stride:
            uneven = f"{key}={side} is no multiple of {graph.stride}, the pixels of a cell"
            problems.warning(uneven, outline.where(INPUT, key))


def check_memory(graph: Graph, problems: Problems) -> None:
    """A network or a picture on its way through it that this machine has no memory for."""
    wanted = {"this network": graph.stored_bytes, f"a picture of {graph.input_shape}": graph.picture_bytes}
    for lack in filter(None, (lacking(count, what) for what, count in wanted.items())):
        problems.warning(f"{lack} here", graph.net.where)


def check_uses(graph: Graph, problems: Problems) -> None:
    """Layers that nothing comes of."""
    last = max(graph.outputs)
    after = [node for node in graph.nodes[last + 1 :] if not node.layer.has_loss]
    if after:
        unused = f"nothing from here on is used: {graph.nodes[last]} is the last output"
        problems.warning(unused, after[0].layer.where)
    used = {source for node in graph.nodes for source in node.sources}.union(graph.outputs)
    for node in graph.nodes[:last]:
        if node.index not in used and not node.layer.has_loss and not node.layer.truth:
            problems.warning(f"nothing uses the output of {node}", node.layer.where)


def _wrong_unit(outline: Outline, index: int, head: GridHead) -> str | None:
    """Anchors that look like pixels where cells are meant, or the other way round."""
    largest, grid = max(head.anchors), outline.shape(index - 1)
    if head.coder.unit == "cells":
        # yolov2-tiny-voc.cfg has an anchor of 16.6 cells in a grid of 13
        if grid is not None and largest > 2 * max(grid.w, grid.h):
            many = f"an anchor of {largest:g} cells in a grid of {grid.w} x {grid.h}"
            return f"{many}: [{head.type}] takes cells, not pixels"
    elif outline.net is not None and largest <= outline.net.width / GRID_STRIDE:
        return f"no anchor is larger than {largest:g} pixels: [{head.type}] takes pixels, not cells"
    return None
