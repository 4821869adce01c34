"""The losses of [softmax], [logistic] and [cost], value by value."""

from __future__ import annotations

import math

import pytest
import torch

from darknet_py.loss.truths import UNLABELLED
from tests.support.losses import delta_of, first_step, loss_of
from tests.support.recordings import relative_difference

SEED = 0


def rows(count: int = 6, pictures: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores, and a truth with ones, zeros and values between."""
    generator = torch.Generator().manual_seed(SEED)
    raw = 2 * torch.randn(pictures, count, 1, 1, generator=generator)
    truth = torch.rand(pictures, count, generator=generator)
    truth[:, 0], truth[:, 1] = 1, 0
    return raw, truth


def by_value(kind: str, p: float, t: float) -> tuple[float, float]:
    """Delta and error of one value."""
    difference = t - p
    sign = 1.0 if difference > 0 else -1.0
    if kind == "smooth" and abs(difference) >= 1:
        return sign, 2 * abs(difference) - 1
    if kind == "L1":
        return sign, abs(difference)
    if kind == "wgan":
        return (1.0 if t > 0 else -1.0), -p if t else p
    if kind == "masked" and t == UNLABELLED:
        return 0.0, 0.0
    return difference, difference**2


@pytest.mark.parametrize("kind", ["sse", "seg", "masked", "smooth", "L1", "wgan"])
def test_every_kind_of_cost_value_by_value(kind):
    raw, truth = rows()
    if kind == "masked":
        truth[:, 2] = UNLABELLED
    delta, head = delta_of(loss_of(f"[cost]\ntype={kind}\nscale=0.5", 6, (1, 1)), raw, truth)
    pairs = [by_value(kind, p, t) for p, t in zip(raw.flatten().tolist(), truth.flatten().tolist(), strict=True)]
    torch.testing.assert_close(delta.flatten(), torch.tensor([0.5 * d for d, _ in pairs]))
    assert float(head.cost) == pytest.approx(sum(error for _, error in pairs), rel=1e-5)


def test_seg_weighs_what_is_0():
    raw, truth = rows()
    plain, _ = delta_of(loss_of("[cost]\ntype=seg", 6, (1, 1)), raw, truth)
    delta, head = delta_of(loss_of("[cost]\ntype=seg\nnoobj=0.1", 6, (1, 1)), raw, truth)
    weight = torch.where(truth == 0, 0.1, 1.0)
    torch.testing.assert_close(delta.flatten(1), plain.flatten(1) * weight)
    assert float(head.cost) == pytest.approx(float((plain.flatten(1).square() * weight).sum()))


def test_thresh_leaves_small_errors_out_of_the_gradient_and_not_of_the_cost():
    raw = torch.tensor([[0.1, -0.1, 0.5, -0.5]])
    loss = loss_of("[cost]\nthresh=1", 4, (1, 1))  # a quarter a value
    delta, head = delta_of(loss, raw, torch.zeros(1, 4))
    assert delta.tolist() == [[0, 0, -0.5, 0.5]]
    assert float(head.cost) == pytest.approx(0.52)


def test_smooth_makes_the_truth_softer():
    raw, truth = rows()
    delta, _ = delta_of(loss_of("[cost]\nsmooth=0.3", 6, (1, 1)), raw, truth)
    torch.testing.assert_close(delta.flatten(1), truth * 0.7 + 0.3 / 6 - raw.flatten(1))


def test_ratio_is_without_effect():
    raw, truth = rows()
    delta, _ = delta_of(loss_of("[cost]\nratio=0.5", 6, (1, 1)), raw, truth)
    torch.testing.assert_close(delta.flatten(1), truth - raw.flatten(1))


@pytest.mark.parametrize(("groups", "temperature"), [(1, 1.0), (2, 1.0), (3, 0.7)])
def test_softmax_learns_truth_minus_probability(groups, temperature):
    raw, truth = rows()
    text = f"[softmax]\ngroups={groups}\ntemperature={temperature}"
    delta, head = delta_of(loss_of(text, 6, (1, 1)), raw, truth)
    p = (raw / temperature).view(3, groups, -1).softmax(2).view(3, 6)
    torch.testing.assert_close(delta.flatten(1), truth - p)
    assert float(head.cost) == pytest.approx(float(-p.log()[truth != 0].sum()), rel=1e-5)


def test_spatial_softmax_is_over_the_channels_of_a_pixel():
    raw = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(SEED))
    truth = torch.zeros(2, 3, 2, 2)
    truth[:, 1] = 1
    delta, _ = delta_of(loss_of("[softmax]\nspatial=1", 3, (2, 2)), raw, truth.flatten(1))
    torch.testing.assert_close(delta, truth - raw.softmax(1))


def test_a_probability_of_0_costs_much_and_not_infinitely_much():
    _, head = delta_of(loss_of("[softmax]", 2, (1, 1)), torch.tensor([[0.0, 500.0]]), torch.tensor([[1.0, 0.0]]))
    assert 80 < float(head.cost) < 200


def test_groups_of_a_tree_that_are_not_labelled_learn_nothing(tmp_path):
    path = tmp_path / "small.tree"
    path.write_text("thing -1\nanimal -1\ncar 0\nboat 0\ndog 1\ncat 1\n")
    raw, _ = rows()
    dog = [0, 1, UNLABELLED, UNLABELLED, 1, 0]
    thing = [1, 0, *[UNLABELLED] * 4]
    truth = torch.tensor([dog, thing, thing], dtype=torch.float32)
    delta, head = delta_of(loss_of(f"[softmax]\ntree={path}", 6, (1, 1)), raw, truth)
    p = raw.view(3, 3, 2).softmax(2).view(3, 6)
    torch.testing.assert_close(delta.flatten(1), torch.where(truth == UNLABELLED, 0, truth - p))
    wanted = -(p[0, 1].log() + p[0, 4].log() + p[1, 0].log() + p[2, 0].log())
    assert float(head.cost) == pytest.approx(float(wanted), rel=1e-5)


def test_logistic_learns_truth_minus_probability():
    raw, truth = rows()
    delta, head = delta_of(loss_of("[logistic]", 6, (1, 1)), raw, truth)
    p = raw.flatten(1).sigmoid()
    torch.testing.assert_close(delta.flatten(1), truth - p)
    wanted = torch.nn.functional.binary_cross_entropy(p, truth, reduction="sum")
    assert float(head.cost) == pytest.approx(float(wanted), rel=1e-5)


def test_logistic_costs_as_in_the_gpu_build_are_finite():
    _, head = delta_of(loss_of("[logistic]", 1, (1, 1)), torch.tensor([[-200.0]]), torch.ones(1, 1))
    assert float(head.cost) == pytest.approx(-math.log(1e-7), rel=1e-6)


@pytest.mark.parametrize(("case", "layer"), [("classifier", 6), ("residual", 6), ("adam", 6)])
def test_they_equal_the_recorded_steps(case, layer):
    first = first_step(case, layer)
    assert relative_difference(first.delta, first.recording["delta"]) < 1e-6
    assert float(first.losses.cost) == pytest.approx(float(first.recording["cost"][0]), rel=1e-6)
    assert not first.lines
