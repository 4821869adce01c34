"""The loss of [yolo] against the C program's recording and against loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from darknet_py.loss.criterion import Criterion
from darknet_py.loss.yolo import YoloLoss
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from tests.support.losses import delta_of, first_step, loss_of
from tests.support.recordings import relative_difference
from tests.support.slow_heads import SlowYolo

ANCHORS = (0.05, 0.07, 0.6, 0.2, 0.3, 0.9, 2.0, 2.5)


def section(rng: np.random.Generator, classes: int, most: int = 90) -> str:
    """A head with two of the four anchors, in any order."""
    mask = ",".join(map(str, rng.permutation(4)[:2]))
    thresholds = f"ignore_thresh={rng.choice([0.2, 0.5, 0.7])}\ntruth_thresh={rng.choice([0.4, 0.7, 1.0])}"
    anchors = ",".join(map(str, ANCHORS))
    return f"[yolo]\nmask={mask}\nanchors={anchors}\nclasses={classes}\nnum=4\nmax={most}\n{thresholds}"


def truths_of(rng: np.random.Generator, pictures: int, classes: int, size: tuple[int, int], most: int = 90):
    """None to more than `most`: tiny and large ones, several in a cell, the same twice, some on borders of cells."""
    truth = np.zeros((pictures, most, 5), np.float32)
    for rows in truth:
        count = min(int(rng.choice([0, 1, 3, 8, 30])), most)
        rows[:count, :2] = rng.uniform(0.0005, 0.9995, (count, 2))
        rows[:count, 2:4] = np.exp(rng.uniform(math.log(0.001), 0, (count, 2)))
        rows[:count, 4] = rng.integers(0, classes, count)
        if count > 3:
            rows[1, :4] = rows[0, :4]  # two labels
            rows[2, :2] = rows[0, :2]
            rows[3, 0] = rng.integers(1, size[0] + 1) / (size[0] + 1)
            rows[3, 1] = rng.integers(1, size[1] + 1) / (size[1] + 1)
    return truth


def near_truths(rng: np.random.Generator, raw, truth, layer) -> None:
    """Let some predictions be close to truths, so that thresholds are passed."""
    _, _, _, height, width = raw.shape
    for picture, rows in enumerate(truth):
        for x, y, w, h in rows[:6, :4]:
            if x and x * width < width:
                anchor = rng.integers(2)
                own = layer.anchor_boxes[anchor]
                column, row = int(x * width), int(y * height)
                place = np.clip([x * width - column, y * height - row], 1e-3, 1 - 1e-3)
                sides = math.log(w * width / own[0]), math.log(h * height / own[1])
                exact = np.array([*np.log(place / (1 - place)), *sides])
                raw[picture, anchor, :4, row, column] = exact + rng.normal(0, 0.1, 4)


@pytest.mark.parametrize("seed", range(25))
def test_it_agrees_with_loops(seed):
    rng = np.random.default_rng(seed)
    classes, size, pictures = int(rng.integers(1, 5)), tuple(rng.integers(1, 5, 2).tolist()), 120
    loss = loss_of(section(rng, classes), 2 * (5 + classes), size)
    raw = rng.normal(0, 1.5, (pictures, 2, 5 + classes, size[1], size[0])).astype(np.float32)
    truth = truths_of(rng, pictures, classes, size)
    near_truths(rng, raw, truth, loss.layer)
    slow = SlowYolo(loss.layer, raw, truth, size)
    delta, head = delta_of(loss, torch.from_numpy(raw).flatten(1, 2), torch.from_numpy(truth).flatten(1))
    assert relative_difference(delta.view(raw.shape), slow.result.delta) < 1e-5
    assert float(head.cost) == pytest.approx(slow.result.cost, rel=1e-5)
    assert head.statistics.tolist() == pytest.approx(slow.statistics(), abs=1e-5)
    assert slow.result.count > 50


def test_it_equals_the_recorded_step():
    first = first_step("yolo", 5)
    assert relative_difference(first.delta, first.recording["delta"]) < 1e-6
    assert float(first.losses.cost) == pytest.approx(float(first.recording["cost"][0]), rel=1e-6)
    assert first.lines[0].startswith("Region 6 Avg IOU: 0.396974, Class: 0.528893, Obj: 0.44328")
    assert first.numbers_differ() < 2e-6


def test_without_truths_every_box_learns_that_there_is_none():
    loss = loss_of("[yolo]\nclasses=2\nanchors=1,1", 7, (3, 2))
    raw = torch.randn(2, 7, 2, 3, generator=torch.Generator().manual_seed(0))
    delta, head = delta_of(loss, raw, torch.zeros(2, 450))
    objectness = raw[:, 4].sigmoid()
    torch.testing.assert_close(delta[:, 4], -objectness)
    assert delta[:, [0, 1, 2, 3, 5, 6]].abs().max() == 0
    assert loss.line(head.statistics.tolist()) == (
        "Region 0 Avg IOU: -nan, Class: -nan, Obj: -nan, "
        f"No Obj: {objectness.mean():f}, .5R: -nan, .75R: -nan,  count: 0"
    )


def test_x_of_0_ends_the_list_and_max_cuts_it():
    loss = loss_of("[yolo]\nclasses=2\nanchors=1,1\nmax=3", 7, (4, 1))
    rows = torch.tensor([[(n + 0.5) / 4, 0.5, 0.2, 0.9, 1] for n in range(4)])
    raw = torch.zeros(1, 7, 1, 4)
    _, cut = delta_of(loss, raw, rows.view(1, -1))
    assert cut.statistics[-1] == 3
    rows[1, 0] = 0
    _, ended = delta_of(loss, raw, rows.view(1, -1))
    assert ended.statistics[-1] == 1


def test_a_box_learns_the_labels_of_all_its_truths_and_the_place_of_the_last():
    """The C program keeps the first labels unless class 0 is at exactly 0 or 1, where it forgets them."""
    loss = loss_of("[yolo]\nclasses=3\nanchors=1,1", 8, (1, 1))
    rows = torch.tensor([[0.3, 0.5, 0.2, 0.9, 0], [0.4, 0.5, 0.3, 0.8, 2]])
    truth = torch.zeros(1, 450)
    truth[0, :10] = rows.flatten()
    raw = torch.zeros(1, 8, 1, 1)
    delta, _ = delta_of(loss, raw, truth)
    assert delta[0, 5:].flatten().tolist() == [0.5, -0.5, 0.5]
    assert float(delta[0, 2]) == pytest.approx((2 - 0.3 * 0.8) * math.log(0.3))
    raw[0, 5] = 200
    delta, _ = delta_of(loss, raw, truth)
    assert delta[0, 5:].flatten().tolist() == [0, -0.5, 0.5]


@pytest.mark.parametrize("place", [(1.0, 0.5), (0.5, 1.5), (-0.6, 0.5), (0.5, -3.0), (1e30, 0.5), (math.nan, 0.5)])
def test_a_truth_outside_the_picture_belongs_to_no_cell(place):
    loss = loss_of("[yolo]\nclasses=1\nanchors=1,1", 6, (2, 2))
    truth = torch.zeros(1, 450)
    truth[0, :4] = torch.tensor([*place, 0.1, 0.1])
    delta, head = delta_of(loss, torch.zeros(1, 6, 2, 2), truth)
    assert head.statistics[-1] == 0
    assert (delta[0, 4] == -0.5).all()


@pytest.mark.parametrize("label", [-1, 3, 1e9])
def test_a_label_that_is_no_class_makes_all_classes_wrong(label):
    loss = loss_of("[yolo]\nclasses=3\nanchors=1,1", 8, (1, 1))
    truth = torch.zeros(1, 450)
    truth[0, :5] = torch.tensor([0.5, 0.5, 0.5, 0.5, label])
    delta, _ = delta_of(loss, torch.zeros(1, 8, 1, 1), truth)
    assert delta[0, 4:].flatten().tolist() == [0.5, -0.5, -0.5, -0.5]


def test_labels_go_through_the_map(tmp_path):
    path = tmp_path / "few.map"
    path.write_text("2\n0\n")
    loss = loss_of(f"[yolo]\nclasses=3\nanchors=1,1\nmap={path}", 8, (2, 1))
    truth = torch.zeros(1, 450)
    truth[0, :15] = torch.tensor([[0.2, 0.5, 0.5, 0.5, 0], [0.7, 0.5, 0.5, 0.5, 1], [0.8, 0.5, 0.5, 0.5, 7]]).flatten()
    delta, _ = delta_of(loss, torch.zeros(1, 8, 1, 2), truth)
    assert delta[0, 5:, 0, 0].tolist() == [-0.5, -0.5, 0.5]
    assert delta[0, 5:, 0, 1].tolist() == [0.5, -0.5, -0.5]


def test_anchors_are_pixels_of_the_size_that_is_trained_at():
    cfg = """
[net]
width=32
height=32
channels=3
[convolutional]
filters=6
size=3
stride=2
pad=1
activation=linear
[yolo]
classes=1
anchors=8,6
"""
    network = Network(Graph.parse(cfg), generator=torch.Generator().manual_seed(0)).train()
    criterion = Criterion(network)
    images = torch.rand(1, 3, 22, 26, generator=torch.Generator().manual_seed(1))  # 11 x 13 cells of two pixels
    truth = torch.zeros(1, 450)
    truth[0, :5] = torch.tensor([0.4, 0.6, 0.3, 0.2, 0])
    losses = criterion(images, truth, 1)
    raw = network.tap(images, [0])[0].detach().numpy().reshape(1, 1, 6, 11, 13)
    layer = network.graph.nodes[1].layer
    slow = SlowYolo(layer, raw, truth.view(1, -1, 5).numpy(), (26, 22))
    assert float(losses.cost) == pytest.approx(slow.result.cost, rel=1e-5)
    network.resize(26, 22)
    assert float(criterion(images, truth, 1).cost) == float(losses.cost)
    other = SlowYolo(layer, raw, truth.view(1, -1, 5).numpy(), (32, 32))
    assert abs(slow.result.cost - other.result.cost) > 0.01


def test_half_precision_in_is_float32_inside():
    loss = loss_of("[yolo]\nclasses=2\nanchors=1,1", 7, (2, 2))
    assert isinstance(loss, YoloLoss)
    raw = torch.randn(1, 7, 2, 2, generator=torch.Generator().manual_seed(0)).bfloat16()
    truth = torch.zeros(1, 450)
    truth[0, :5] = torch.tensor([0.4, 0.6, 0.3, 0.2, 1])
    delta, head = delta_of(loss, raw, truth)
    exact, head32 = delta_of(loss, raw.float(), truth)
    assert head.cost.dtype == torch.float32
    assert float(head.cost) == float(head32.cost)
    torch.testing.assert_close(delta, exact.bfloat16())


def test_no_value_is_fetched_from_the_device():
    loss = loss_of("[yolo]\nclasses=2\nanchors=1,1", 7, (2, 2)).to("meta")  # tensors that have no values to fetch
    raw = torch.empty(2, 7, 2, 2, device="meta", requires_grad=True)
    head = loss(raw, torch.zeros(2, 450, device="meta"), 1)
    head.objective.backward()
    assert (head.cost.shape, head.statistics.shape, raw.grad.shape) == ((), (7,), raw.shape)
