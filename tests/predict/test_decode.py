"""Decoding against slow loops, written from what region_layer.c, yolo_layer.c, detection_layer.c and box.c do."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darknet_py.boxes.suppress import Nms
from darknet_py.errors import DarknetError
from darknet_py.layers.detection import Detection
from darknet_py.layers.region import Region, RegionModule
from darknet_py.layers.yolo import Yolo, YoloModule
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.predict.candidates import Candidates
from darknet_py.predict.decode import Settings, decode, decode_detection, decode_region, decode_yolo
from darknet_py.predict.detector import Detector
from darknet_py.tree import TreeWalk, WordTree
from tests.support.places import GOLDEN
from tests.support.recordings import read_graph

F = np.float32
BOXES = GOLDEN / "boxes"
seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 4)
shares = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.8, 1.0])


@dataclass
class Found:
    """What a loop finds at one anchor of one cell: the box, its objectness, and a score a class."""

    box: tuple[float, float, float, float]
    objectness: float
    scores: dict[int, float]


def rows_of(found: list[Found] | Candidates) -> np.ndarray:
    """A row a (box, class): x, y, w, h, objectness, score, label."""
    if isinstance(found, Candidates):
        box = found.box_index
        columns = (found.objectness[box], found.score, found.label)
        return torch.cat((found.boxes[box], *(c[:, None] for c in columns)), 1).double().numpy().reshape(-1, 7)
    rows = [(*f.box, f.objectness, score, label) for f in found for label, score in f.scores.items()]
    return np.array(rows, np.float64).reshape(-1, 7)


def assert_same(mine: Candidates, slow: list[Found]) -> None:
    """The same set of (box, objectness, score, label), in whatever order."""
    rows, wanted = rows_of(mine), rows_of(slow)
    assert rows.shape == wanted.shape
    if len(rows):
        scale = np.maximum(np.abs(wanted), 1)
        apart = (np.abs(rows[:, None] - wanted[None]) / scale[None]).max(2)
        assert apart.min(0).max() < 1e-5
        assert apart.min(1).max() < 1e-5


def slow_nms(found: list[Found], threshold: float) -> list[Found]:
    """do_nms_sort: class by class, from the best score down, each box silences those that overlap it."""
    left = [Found(f.box, f.objectness, dict(f.scores)) for f in found]
    for label in sorted({label for f in found for label in f.scores}):
        ranked = sorted((f for f in left if label in f.scores), key=lambda f: -f.scores[label])
        for place, best in enumerate(ranked):
            if label in best.scores:
                for other in ranked[place + 1 :]:
                    if label in other.scores and slow_iou(best.box, other.box) > threshold:
                        del other.scores[label]
    return left


def slow_iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    inter = 1.0
    for n in (0, 1):
        low, high = max(a[n] - a[n + 2] / 2, b[n] - b[n + 2] / 2), min(a[n] + a[n + 2] / 2, b[n] + b[n + 2] / 2)
        inter *= max(high - low, 0)
    union = a[2] * a[3] + b[2] * b[3] - inter
    return inter / union if union else 0


def cells(h: int, w: int) -> Iterator[tuple[int, int]]:
    return ((row, column) for row in range(h) for column in range(w))


def grid_box(entry: np.ndarray, row: int, column: int, size: tuple[int, int], anchor: tuple[float, float]):
    """`anchor` in shares of the input."""
    w, h = size
    x, y = (column + float(entry[0])) / w, (row + float(entry[1])) / h
    return x, y, math.exp(entry[2]) * anchor[0], math.exp(entry[3]) * anchor[1]


def above(scores: dict[int, np.float32], thresh: float) -> dict[int, float]:
    return {label: float(score) for label, score in scores.items() if score > F(thresh)}


def slow_region(layer: Region, output: np.ndarray, how: Settings, tree: WordTree | None) -> list[Found]:
    entries = layer.coords + 1 + layer.classes
    _, h, w = output.shape
    found = []
    for row, column in cells(h, w):
        for n in range(layer.num):
            entry = output[n * entries : (n + 1) * entries, row, column]
            objectness = F(1) if layer.background else entry[layer.coords]
            if objectness > F(how.thresh):
                anchor = (layer.anchor_boxes[n][0] / w, layer.anchor_boxes[n][1] / h)
                box = grid_box(entry, row, column, (w, h), anchor)
                scores = region_scores(objectness, entry[layer.coords + 1 :], how, tree)
                found.append(Found(box, float(objectness), scores))
    return found


def region_scores(
    objectness: np.float32, classes: np.ndarray, how: Settings, tree: WordTree | None
) -> dict[int, float]:
    if tree is None:
        return above({j: objectness * p for j, p in enumerate(classes)}, how.thresh)
    absolute = list(classes)
    for node, parent in enumerate(tree.parents):
        if parent >= 0:
            absolute[node] = absolute[node] * absolute[parent]
    if how.map is not None:
        return above({j: objectness * absolute[node] for j, node in enumerate(how.map)}, how.thresh)
    return {slow_walk(absolute, tree, how.hier): float(objectness)}


def slow_walk(absolute: list[np.float32], tree: WordTree, threshold: float) -> int:
    """hierarchy_top_prediction: down to the best child while the product of the way stays above the threshold."""
    label, product = -1, F(1)
    while True:
        children = [node for node, parent in enumerate(tree.parents) if parent == label]
        if not children:
            return label
        best = max(children, key=lambda node: (absolute[node], -node))
        if not product * absolute[best] > F(threshold):
            return best if label < 0 else label
        label, product = best, product * absolute[best]


@st.composite
def trees(draw: st.DrawFn) -> WordTree:
    """A tree: groups of siblings, each below a node that is there already and has no children yet."""
    parents = [-1] * draw(st.integers(1, 3))
    for _ in range(draw(st.integers(0, 3))):
        childless = sorted(set(range(len(parents))) - set(parents))
        parents += [draw(st.sampled_from(childless))] * draw(st.integers(1, 3))
    return WordTree(tuple(f"n{node}" for node in range(len(parents))), tuple(parents))


@st.composite
def region_cases(draw: st.DrawFn) -> tuple[Region, WordTree | None, Settings]:
    num = draw(st.integers(1, 3))
    tree = draw(st.none() | trees())
    classes = draw(st.integers(1, 4)) if tree is None else len(tree.parents)
    chosen = None
    if tree is not None:
        chosen = draw(st.none() | st.lists(st.integers(0, classes - 1), min_size=1, max_size=4).map(tuple))
    anchors = tuple(draw(st.lists(st.floats(0.25, 8), min_size=0, max_size=2 * num)))
    layer = Region(
        num=num, classes=classes, anchors=anchors, coords=draw(st.integers(4, 6)),
        softmax=draw(st.booleans()), background=tree is None and draw(st.booleans()),
    )  # fmt: skip
    return layer, tree, Settings(draw(shares), draw(shares), chosen)


@settings(max_examples=80, deadline=None)
@given(region_cases(), sides, sides, seeds, st.sampled_from([0.2, 0.45]))
def test_region(case, h, w, seed, nms):
    layer, tree, how = case
    raw = torch.randn(1, layer.num * layer.entries, h, w, generator=torch.Generator().manual_seed(seed))
    output = RegionModule(layer, tree)(raw)
    mine = decode_region(layer, output, (w * 32, h * 32), how, None if tree is None else TreeWalk(tree))
    slow = slow_region(layer, output[0].numpy(), how, tree)
    assert_same(mine, slow)
    assert_same(mine.suppressed(Nms(threshold=nms)), slow_nms(slow, nms))


def test_an_objectness_at_the_threshold_is_not_above_it():
    walk = TreeWalk(WordTree(("a",), (-1,)))
    output = torch.tensor([0.5, 0.5, 0, 0, 0.5, 1]).view(1, 6, 1, 1)
    layer = Region(num=1, classes=1)
    assert [len(decode_region(layer, output, (32, 32), Settings(t), walk).box_index) for t in (0.5, 0.4999)] == [0, 1]
    assert [len(decode_region(layer, output, (32, 32), Settings(t), None).box_index) for t in (0.5, 0.4999)] == [0, 1]


def softmax(values: np.ndarray) -> np.ndarray:
    e = np.exp(values - values.max())
    return e / e.sum()


def slow_region_entry(layer: Region, raw: np.ndarray, tree: WordTree | None) -> np.ndarray:
    """What the layer makes of the numbers of one anchor in one cell."""
    out = 1 / (1 + np.exp(-raw))
    out[2:4] = raw[2:4]
    first = layer.coords + 1
    if tree is not None:
        for parent in set(tree.parents):
            group = [first + node for node, above in enumerate(tree.parents) if above == parent]
            out[group] = softmax(raw[group])
    elif layer.softmax:
        out[first - layer.background :] = softmax(raw[first - layer.background :])
    if layer.background and not layer.softmax:
        out[layer.coords] = raw[layer.coords]
    return out


@settings(max_examples=40, deadline=None)
@given(region_cases(), sides, sides, seeds)
def test_what_region_gives(case, h, w, seed):
    layer, tree, _ = case
    raw = torch.randn(2, layer.num * layer.entries, h, w, generator=torch.Generator().manual_seed(seed)) * 3
    output = RegionModule(layer, tree)(raw)
    wanted = np.empty(raw.shape)
    for b, n, (row, column) in ((b, n, at) for b in range(2) for n in range(layer.num) for at in cells(h, w)):
        entry = slice(n * layer.entries, (n + 1) * layer.entries)
        wanted[b, entry, row, column] = slow_region_entry(layer, raw[b, entry, row, column].double().numpy(), tree)
    np.testing.assert_allclose(output.numpy(), wanted, atol=2e-6)


def test_the_parent_is_the_answer_where_no_child_is_sure_enough():
    tree = WordTree(("a", "b", "c", "d"), (-1, -1, 0, 0))
    layer = Region(num=1, classes=4)
    output = torch.tensor([0.5, 0.5, 0, 0, 0.9, 0.9, 0.1, 0.55, 0.45]).view(1, 9, 1, 1)
    deep, shallow = (decode_region(layer, output, (32, 32), Settings(0.5, hier), TreeWalk(tree)) for hier in (0.4, 0.5))
    assert (deep.label.tolist(), shallow.label.tolist()) == ([2], [0])  # the way to c is worth .9 * (.9 * .55)
    assert shallow.score.tolist() == pytest.approx([0.9])  # a score is the objectness, however sure the class


def slow_yolo(layer: Yolo, output: np.ndarray, network: tuple[int, int], how: Settings) -> list[Found]:
    entries = 5 + layer.classes
    mask = range(layer.num) if layer.mask is None else layer.mask
    _, h, w = output.shape
    found = []
    for row, column in cells(h, w):
        for n, which in enumerate(mask):
            entry = output[n * entries : (n + 1) * entries, row, column]
            if entry[4] > F(how.thresh):
                anchor = tuple(layer.anchors[2 * which + side] / network[side] for side in (0, 1))
                scores = above({j: entry[4] * p for j, p in enumerate(entry[5:])}, how.thresh)
                found.append(Found(grid_box(entry, row, column, (w, h), anchor), float(entry[4]), scores))
    return found


@settings(max_examples=80, deadline=None)
@given(st.data(), sides, sides, seeds, shares)
def test_yolo(data, h, w, seed, thresh):
    num = data.draw(st.integers(1, 4))
    mask = data.draw(st.none() | st.lists(st.integers(0, num - 1), min_size=1, max_size=3).map(tuple))
    anchors = tuple(data.draw(st.lists(st.floats(4, 90), min_size=2 * num, max_size=2 * num)))
    layer = Yolo(num=num, mask=mask, anchors=anchors, classes=data.draw(st.integers(1, 4)))
    count = num if mask is None else len(mask)
    raw = torch.randn(1, count * layer.entries, h, w, generator=torch.Generator().manual_seed(seed))
    output = YoloModule(layer)(raw)
    mine = decode_yolo(layer, output, (w * 16, h * 16), Settings(thresh), None)
    slow = slow_yolo(layer, output[0].numpy(), (w * 16, h * 16), Settings(thresh))
    assert_same(mine, slow)
    assert_same(mine.suppressed(Nms(threshold=0.45)), slow_nms(slow, 0.45))


TWO_HEADS = (BOXES / "boxes_yolo.cfg").read_text()


@settings(max_examples=8, deadline=None)
@given(seeds, st.sampled_from([0.3, 0.5]))
def test_several_heads_suppress_each_other(seed, thresh):
    graph = Graph.parse(TWO_HEADS)
    generator = torch.Generator().manual_seed(seed)
    outputs = [YoloModule(head.layer)(torch.randn(1, *head.shape.dims, generator=generator)) for head in graph.heads]
    network, how = (graph.net.width, graph.net.height), Settings(thresh)
    mine = decode(graph.heads, outputs, network, how)
    slow = [
        found
        for head, output in zip(graph.heads, outputs, strict=True)
        for found in slow_yolo(head.layer, output[0].numpy(), network, how)
    ]
    assert {head.shape.w for head in graph.heads} == {16, 8}
    assert_same(mine, slow)
    assert_same(mine.suppressed(Nms(threshold=0.3)), slow_nms(slow, 0.3))


def slow_detection(layer: Detection, output: np.ndarray, how: Settings) -> list[Found]:
    side, found = layer.side, []
    objectness = side * side * layer.classes
    boxes = objectness + side * side * layer.num
    for cell in range(side * side):
        for n in range(layer.num):
            scale = output[objectness + cell * layer.num + n]
            x, y, w, h = output[boxes + (cell * layer.num + n) * 4 :][:4]
            if layer.sqrt:
                w, h = w * w, h * h
            box = (float((x + F(cell % side)) / F(side)), float((y + F(cell // side)) / F(side)), float(w), float(h))
            classes = output[cell * layer.classes :][: layer.classes]
            found.append(Found(box, float(scale), above({j: scale * p for j, p in enumerate(classes)}, how.thresh)))
    return found


@settings(max_examples=60, deadline=None)
@given(sides, st.integers(1, 3), st.integers(1, 4), st.booleans(), seeds, shares)
def test_detection(side, num, classes, sqrt, seed, thresh):
    layer = Detection(side=side, num=num, classes=classes, coords=4, sqrt=sqrt)
    size = side * side * (classes + num * 5)
    output = torch.rand(1, size, generator=torch.Generator().manual_seed(seed)) * 1.2 - 0.1  # v1 has no logistic
    mine = decode_detection(layer, output, (64, 64), Settings(thresh), None)
    slow = slow_detection(layer, output[0].numpy(), Settings(thresh))
    assert_same(mine, slow)
    assert_same(mine.suppressed(Nms(threshold=0.4)), slow_nms(slow, 0.4))


def test_detection_with_other_coordinates_gives_no_boxes():
    layer = Detection(side=2, num=1, classes=2, coords=5)
    with pytest.raises(DarknetError, match="coords=5"):
        decode_detection(layer, torch.zeros(1, 4 * (2 + 1 + 5)), (64, 64), Settings(), None)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(1, 4), seeds)
def test_rows_in_the_order_of_the_c_program(boxes, classes, seed):
    scores = np.random.default_rng(seed).integers(0, 4, (boxes, classes)) / 4  # many equal ones, and zeros
    box, label = scores.nonzero()
    mine = Candidates(
        boxes=torch.rand(boxes, 4),
        objectness=torch.ones(boxes),
        picture_index=torch.zeros(boxes, dtype=torch.int64),
        box_index=torch.from_numpy(box),
        label=torch.from_numpy(label),
        score=torch.from_numpy(scores[box, label]),
    ).as_printed(Nms())
    order = list(range(boxes))
    for j in range(classes):  # do_nms_sort sorts by every class, one after the other
        order.sort(key=lambda n: -scores[n, j])
    wanted = [(n, j) for n in order for j in range(classes) if scores[n, j]]
    assert list(zip(mine.box_index.tolist(), mine.label.tolist(), strict=True)) == wanted
    assert mine.score.tolist() == [scores[at] for at in wanted]


def test_best_first_keeps_the_order_of_equal_scores():
    rows = torch.arange(4)
    scores = torch.tensor([0.5, 0.7, 0.5, 0.7])
    candidates = Candidates(
        boxes=torch.rand(4, 4),
        objectness=torch.ones(4),
        picture_index=torch.zeros_like(rows),
        box_index=rows,
        label=rows,
        score=scores,
    )
    assert candidates.best_first().box_index.tolist() == [1, 3, 0, 2]


@pytest.mark.parametrize("name", ["boxes_region", "boxes_tree", "boxes_yolo", "boxes_detection"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_outputs_stay_as_they_are(name, dtype, monkeypatch):
    monkeypatch.chdir(BOXES)
    network = Network(read_graph(BOXES / f"{name}.cfg"), generator=torch.Generator().manual_seed(1)).eval()
    outputs = [output[0].to(dtype) for output in network.heads(torch.rand(1, *network.input_shape.dims))]
    before = [output.detach().clone() for output in outputs]
    for nms in (0, 0.45):
        for printed in (False, True):
            Detector(network, as_printed=printed).decode(outputs, (30, 50), Settings(0.1), Nms(threshold=nms))
    assert all(output.requires_grad for output in outputs)  # training outputs can be looked at too
    assert all(torch.equal(output, copy) for output, copy in zip(outputs, before, strict=True))


def test_nothing_found_is_no_box():
    layer = Region(num=2, classes=3)
    nothing = decode_region(layer, torch.zeros(1, 16, 3, 2), (64, 96), Settings(), None)
    for candidates in (
        nothing,
        nothing.suppressed(Nms()),
        nothing.best_first(),
        nothing.as_printed(Nms()),
    ):
        assert candidates.box_index.shape == candidates.label.shape == candidates.score.shape == (0,)
        assert candidates.in_picture([(10, 10)], (64, 96)).boxes.shape == (0, 4)


def test_values_that_are_no_numbers_are_not_found():
    output = torch.full((1, 8, 2, 2), torch.nan)
    layer = Region(num=1, classes=3)
    assert len(decode_region(layer, output, (64, 64), Settings(0), None).box_index) == 0
    walk = TreeWalk(WordTree(("a", "b", "c"), (-1, -1, 0)))
    output[:, 4] = 0.9  # sure of an object, and of no class
    assert decode_region(layer, output, (64, 64), Settings(), walk).label.tolist() == [0] * 4
    assert len(decode_region(layer, output, (64, 64), Settings(map=(2,)), walk).suppressed(Nms()).box_index) == 0


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan, math.inf])
@pytest.mark.parametrize("name", ["thresh", "hier"])
def test_thresholds_are_shares(name, value):
    with pytest.raises(DarknetError, match=f"^{name} is .*; it must be from 0 to 1$"):
        Settings(**{name: value})


@pytest.mark.parametrize("wrong", [3, -1])
def test_a_map_names_classes_of_the_tree(wrong):
    walk = TreeWalk(WordTree(("a", "b", "c"), (-1, -1, 0)))
    with pytest.raises(DarknetError, match=f"no class {wrong} in the tree, which has 3"):
        decode_region(Region(num=1, classes=3), torch.ones(1, 8, 1, 1), (32, 32), Settings(map=(0, wrong)), walk)


def test_heads_without_boxes_are_refused():
    graph = read_graph(GOLDEN / "layers" / "avgpool_softmax.cfg")
    with pytest.raises(DarknetError, match=r"\[softmax\] gives no boxes: is this a classifier\?"):
        decode(graph.heads, [torch.rand(1, 10)], (13, 11), Settings())
