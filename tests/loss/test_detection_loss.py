"""The loss of [detection] against the C program's recording and against loops."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from darknet_py.errors import CfgError
from darknet_py.loss.detection import DetectionLoss
from tests.support.losses import delta_of, first_step, loss_of
from tests.support.recordings import relative_difference
from tests.support.slow_heads import SlowDetection

SCALES = "object_scale=1.5\nnoobject_scale=0.4\nclass_scale=0.7\ncoord_scale=5"


def head(side: int, num: int, classes: int, **keys: int) -> DetectionLoss:
    lines = "\n".join(f"{name}={value}" for name, value in keys.items())
    text = f"[detection]\nside={side}\nnum={num}\nclasses={classes}\ncoords=4\n{SCALES}\n{lines}"
    loss = loss_of(text, num * 5 + classes, (side, side))
    assert isinstance(loss, DetectionLoss)
    return loss


def batch_of(rng: np.random.Generator, side: int, num: int, classes: int, pictures: int):
    """Outputs, some of them on their truth, and truths from tiny to as large as the picture; some cells have none."""
    cells = side**2
    truth = np.zeros((pictures, cells, 5 + classes), np.float32)
    truth[..., 0] = rng.random((pictures, cells)) < rng.choice([0, 0.5, 1], (pictures, 1))
    np.put_along_axis(truth, 1 + rng.integers(0, classes, (pictures, cells, 1)), 1, 2)
    truth[..., 1 + classes : 3 + classes] = rng.uniform(0, 1, (pictures, cells, 2))
    truth[..., 3 + classes :] = np.exp(rng.uniform(math.log(0.005), 0, (pictures, cells, 2)))
    truth *= truth[..., :1]
    raw = rng.normal(0, 0.5, (pictures, cells * (5 * num + classes))).astype(np.float32)
    boxes = raw[:, cells * (num + classes) :].reshape(pictures, cells, num, 4)
    near = rng.random((pictures, cells, num, 1)) < 0.5
    np.copyto(boxes, truth[:, :, None, 1 + classes :] + 0.1 * boxes, where=near)
    return raw, truth


@pytest.mark.parametrize(("softmax", "sqrt", "rescore", "forced"), list(itertools.product((0, 1), repeat=4)))
def test_it_agrees_with_loops(softmax, sqrt, rescore, forced):
    rng = np.random.default_rng(softmax + 2 * sqrt + 4 * rescore + 8 * forced)
    for side, num, classes in ((1, 2, 3), (3, 3, 1), (2, 2 if forced else 1, 4)):
        loss = head(side, num, classes, softmax=softmax, sqrt=sqrt, rescore=rescore, forced=forced)
        raw, truth = batch_of(rng, side, num, classes, 50)
        slow = SlowDetection(loss.layer, raw, truth)
        delta, found = delta_of(loss, torch.from_numpy(raw), torch.from_numpy(truth).flatten(1))
        assert relative_difference(delta, slow.delta) < 1e-5
        assert float(found.cost) == pytest.approx(slow.result.cost, rel=1e-5)
        assert found.statistics.tolist() == pytest.approx(slow.statistics(), abs=1e-5)
        assert slow.result.count > 10


def test_it_equals_the_recorded_step():
    first = first_step("detection", 5)
    assert relative_difference(first.delta, first.recording["delta"]) < 1e-6
    assert float(first.losses.cost) == pytest.approx(float(first.recording["cost"][0]), rel=1e-6)
    assert first.lines[0].startswith("Detection Avg IOU: 0.06455")
    assert first.numbers_differ() < 2e-6


def test_random_draws_any_box_for_the_first_64000_pictures():
    loss = head(3, 3, 2, random=1)
    raw, truth = (torch.from_numpy(a) for a in batch_of(np.random.default_rng(0), 3, 3, 2, 40))
    torch.manual_seed(5)
    delta, found = delta_of(loss, raw, truth.flatten(1), seen=63_999)
    torch.manual_seed(5)
    drawn = torch.randint(3, (40, 9))
    slow = SlowDetection(loss.layer, raw.numpy(), truth.numpy(), drawn.numpy())
    assert relative_difference(delta, slow.delta) < 1e-5
    assert drawn.unique().tolist() == [0, 1, 2]
    _, later = delta_of(loss, raw, truth.flatten(1), seen=64_000)
    assert float(later.cost) == pytest.approx(SlowDetection(loss.layer, raw.numpy(), truth.numpy()).result.cost)
    assert float(later.cost) != pytest.approx(float(found.cost))


def test_with_forced_small_truths_go_to_the_second_box():
    loss = head(1, 2, 1, forced=1)
    for size, best in ((0.3, 1), (0.4, 0)):
        truth = torch.tensor([[1, 1, 0.5, 0.5, size, size]])
        delta, _ = delta_of(loss, torch.zeros(1, 11), truth)
        boxes = delta[0, 3:].view(2, 4)
        assert boxes[best].tolist() == pytest.approx([2.5, 2.5, 5 * size, 5 * size])
        assert boxes[1 - best].abs().max() == 0


def test_pictures_without_objects_print_what_the_c_program_prints():
    loss = head(2, 1, 1)
    _, found = delta_of(loss, torch.full((1, 24), 0.25), torch.zeros(1, 24))
    assert loss.line(found.statistics.tolist()) == (
        "Detection Avg IOU: -nan, Pos Cat: -nan, All Cat: -nan, Pos Obj: -nan, Any Obj: 0.250000, count: 0"
    )
    assert float(found.cost) == pytest.approx(4 * (0.4 * 0.25) ** 2)


def test_coordinates_beyond_four_learn_nothing():
    loss = loss_of("[detection]\nside=1\nnum=1\nclasses=1\ncoords=6", 8, (1, 1))
    truth = torch.tensor([[1, 1, 0.5, 0.5, 0.5, 0.5, 9, 9]])
    delta, _ = delta_of(loss, torch.zeros(1, 8), truth)
    assert delta.tolist() == [[1, 1, 0.5, 0.5, 0.5, 0.5, 0, 0]]


@pytest.mark.parametrize(
    ("keys", "channels", "message"),
    [("coords=1\nnum=1", 3, "coords=1 cannot be trained"), ("coords=4\nnum=1\nforced=1", 6, "needs two boxes a cell")],
)
def test_what_cannot_be_trained_is_an_error(keys, channels, message):
    with pytest.raises(CfgError, match=message):
        loss_of(f"[detection]\nside=1\nclasses=1\n{keys}", channels, (1, 1))
