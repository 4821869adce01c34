"""The [region] loss against the loop version, on thousands of random pictures, and alone."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darknet_py.loss.region import RegionLoss
from darknet_py.network.graph import Graph
from tests.support.region_loops import Rules, region_loss

PARENTS = [-1, -1, 0, 0, 0, 1, 1, 3, 3]  # two levels below the top one
MAP = [4, 0, 2, 8, 1]
ANCHORS = [(0.75, 1.25), (1.5, 0.5)]
GRID = 3, 2  # columns, rows
MARK = 999_999.0  # what the loader writes for a label of zeros

KINDS = {
    "softmax": Rules(ANCHORS, 3, softmax=True),
    "logistic": Rules(ANCHORS, 3),
    "tree": Rules(ANCHORS, len(PARENTS), softmax=True, parents=PARENTS),
}
FLAGS = ("background", "rescore", "bias_match")
CASES = list(itertools.product(KINDS, *[(False, True)] * len(FLAGS), (4, 6), (False, True)))


def usable_map(rules: Rules) -> list[int]:
    return [label for label in MAP if label < rules.classes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("region")
    (folder / "tree").write_text("".join(f"n{n} {parent}\n" for n, parent in enumerate(PARENTS)))
    for rules in KINDS.values():
        (folder / f"{rules.classes}.map").write_text("".join(f"{label}\n" for label in usable_map(rules)))
    return folder


def make_loss(rules: Rules, folder: Path, kind: type[RegionLoss] = RegionLoss) -> RegionLoss:
    names = ("classes", "coords", "softmax", "background", "rescore", "bias_match", "thresh")
    scales = ("coord_scale", "object_scale", "noobject_scale", "mask_scale", "class_scale")
    keys = {name: getattr(rules, name) for name in (*names, *scales)}
    lines = [f"{name}={float(value) if isinstance(value, float) else int(value)}" for name, value in keys.items()]
    lines += [f"tree={folder / 'tree'}"] * bool(rules.parents) + [f"map={folder / f'{rules.classes}.map'}"] * bool(
        rules.map
    )
    lines += [f"num={len(rules.anchors)}", "anchors=" + ",".join(f"{w},{h}" for w, h in rules.anchors)]
    channels = len(rules.anchors) * (rules.coords + 1 + rules.classes)
    text = f"[net]\nwidth={GRID[0]}\nheight={GRID[1]}\nchannels={channels}\n[region]\n" + "\n".join(lines)
    graph = Graph.parse(text)
    return kind(graph.nodes[-1], graph)


def random_rules(case: tuple, rng: np.random.Generator) -> Rules:
    kind, background, rescore, bias_match, coords, mapped = case
    scales = dict(zip(("coord", "object", "noobject", "mask", "class"), rng.uniform(0.2, 4, 5).round(2), strict=True))
    scales["class"] *= rng.random() < 0.8
    return replace(
        KINDS[kind],
        background=background,
        rescore=rescore,
        bias_match=bias_match,
        coords=coords,
        thresh=float(rng.choice([0.2, 0.5, 0.7])),
        map=usable_map(KINDS[kind]) if mapped else [],
        **{f"{name}_scale": float(value) for name, value in scales.items()},
    )


def random_truths(rules: Rules, rng: np.random.Generator, count: int) -> np.ndarray:
    """Lists of every length, crowded or not, tiny and large boxes, on borders too, some without a box."""
    truths = np.zeros((count, 34, rules.coords + 1))
    for picture in truths:
        length = rng.choice([0, 1, 2, 5, 12, 30, 34])
        rows = picture[:length]
        rows[:, :2] = rng.random((length, 2)) if rng.random() < 0.7 else rng.choice([0.2, 0.25, 0.3], (length, 2))
        rows[:, 2:4] = np.exp(rng.uniform(-6, 0, (length, 2)))
        rows[:, 4:-1] = rng.random((length, rules.coords - 4))
        rows[:, -1] = rng.integers(0, len(rules.map) or rules.classes, length)
        on_border = rng.random((length, 2)) < 0.05
        rows[:, :2][on_border] = rng.choice([1 / 3, 0.5, 1.0, 1.2, -0.2, -0.9], on_border.sum())
        if length and rng.random() < 0.3:
            marked = rng.integers(0, length, 2)
            rows[marked, :4] = MARK
            rows[marked, -1] = rng.integers(0, rules.classes, 2)
    return truths


def both(rules: Rules, raw: np.ndarray, truths: np.ndarray, seen: int, folder: Path) -> None:
    """Compare the loss, in float64, with the loops."""
    loss = make_loss(rules, folder)
    rules = replace(rules, anchors=[tuple(map(float, anchor)) for anchor in loss.anchors])  # as float32 has them
    expected = region_loss(rules, raw, truths, seen)
    x = torch.from_numpy(raw).flatten(1, 2).requires_grad_()
    mine = loss(x, torch.from_numpy(truths).flatten(1), seen)
    mine.objective.backward()
    delta = -x.grad.view(raw.shape).numpy()
    np.testing.assert_allclose(delta, expected.delta, rtol=1e-6, atol=1e-6 * max(np.abs(expected.delta).max(), 1e-9))
    np.testing.assert_allclose(mine.cost.item(), expected.cost, rtol=1e-6)
    np.testing.assert_allclose(mine.statistics.numpy(), expected.statistics, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("seen", [12_799, 12_800])
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_pictures_agree_with_the_loops(kind: str, seen: int, folder: Path) -> None:
    rng = np.random.default_rng(seen)
    for case in (case for case in CASES if case[0] == kind):
        rules = random_rules(case, rng)
        raw = rng.normal(0, 1.5, (16, len(ANCHORS), rules.coords + 1 + rules.classes, *GRID[::-1]))
        both(rules, raw, random_truths(rules, rng, 16), seen, folder)


centres = st.sampled_from([0.0, 1e-7, 0.25, 1 / 3, 0.5, 0.6, 2 / 3, 0.9999, 1.0, 1.5, -0.2, MARK])
sides = st.sampled_from([1e-5, 0.001, 0.25, 1 / 3, 0.5, 1.0])
rows = st.lists(st.tuples(centres, centres, sides, sides, st.integers(-1, 9)), max_size=40)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(list(KINDS)),
    flags=st.fixed_dictionaries({name: st.booleans() for name in FLAGS}),
    class_scale=st.sampled_from([0.0, 1.0, 2.0]),
    thresh=st.sampled_from([0.0, 0.3, 0.5, 0.6, 1.0]),
    spread=st.sampled_from([0, 1, 8]),
    seed=st.integers(0, 1 << 30),
    pictures=st.lists(rows, min_size=1, max_size=3),
    seen=st.sampled_from([1, 12_799, 12_800, 10**9]),
)
def test_drawn_cases_agree_with_the_loops(
    kind, flags, class_scale, thresh, spread, seed, pictures, seen, folder
) -> None:
    rules = replace(KINDS[kind], class_scale=class_scale, thresh=thresh, **flags)
    truths = np.zeros((len(pictures), 40, 5))
    for n, picture in enumerate(pictures):
        truths[n, : len(picture)] = np.array(picture).reshape(-1, 5)
    shape = len(pictures), len(ANCHORS), 5 + rules.classes, *GRID[::-1]
    raw = np.random.default_rng(seed).integers(-spread, spread + 1, shape) / 4.0
    both(rules, raw, truths, seen, folder)


def picture(rules: Rules, *truths: tuple[float, ...], seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """The raw input for one picture, and its truths."""
    channels = len(rules.anchors) * (rules.coords + 1 + rules.classes)
    raw = torch.randn(1, channels, *GRID[::-1], generator=torch.Generator().manual_seed(seed))
    rows = torch.zeros(1, 30, rules.coords + 1)
    rows[0, : len(truths)] = torch.tensor(truths).reshape(-1, rules.coords + 1)
    return raw.requires_grad_(), rows.flatten(1)


def delta_of(loss: RegionLoss, raw: torch.Tensor, truth: torch.Tensor, seen: int = 20_000) -> torch.Tensor:
    """(N, anchors, entries, H, W)."""
    (gradient,) = torch.autograd.grad(loss(raw, truth, seen).objective, raw)
    return -gradient.unflatten(1, (len(loss.anchors), -1))


def test_a_truth_outside_of_the_grid_is_left_out_but_spares_the_boxes_on_it(folder: Path) -> None:
    rules = replace(KINDS["softmax"], thresh=0.0)
    loss = make_loss(rules, folder)
    raw, truth = picture(rules, (1.0, 0.5, 0.5, 0.5, 1))
    result = loss(raw, truth, 20_000)
    assert result.statistics[5] == 0
    delta = delta_of(loss, raw, truth)
    assert delta[:, :, [0, 1, 2, 3, 5, 6, 7]].abs().max() == 0
    assert 0 < (delta[:, :, 4] == 0).sum() < delta[:, :, 4].numel()


def test_a_picture_without_boxes_teaches_no_class_where_there_is_no_tree(folder: Path) -> None:
    rules = KINDS["softmax"]
    loss = make_loss(rules, folder)
    raw, mark = picture(rules, (MARK, MARK, MARK, MARK, 1))
    assert torch.equal(delta_of(loss, raw, mark), delta_of(loss, raw, torch.zeros_like(mark)))


def test_logistic_classes_at_an_anchor_add_up_even_if_the_first_class_is_certain(folder: Path) -> None:
    rules = replace(KINDS["logistic"], anchors=ANCHORS[:1])
    loss = make_loss(rules, folder)
    raw, truth = picture(rules, (0.5, 0.5, 0.3, 0.3, 0), (0.5, 0.5, 0.3, 0.3, 2))
    with torch.no_grad():
        raw[:, 5] = 100.0
    learns = delta_of(loss, raw, truth)[0, 0, 5:, 1, 1]
    classes = loss.head(raw)[0, 5:, 1, 1]
    torch.testing.assert_close(learns, torch.tensor([1.0, 0.0, 1.0]) - classes)


def test_a_mask_is_learnt_from_the_values_between_box_and_class(folder: Path) -> None:
    rules = replace(KINDS["softmax"], anchors=ANCHORS[:1], coords=6, mask_scale=2.5)
    loss = make_loss(rules, folder)
    raw, truth = picture(rules, (0.5, 0.5, 0.3, 0.3, 0.25, 0.75, 1))
    mask = loss.head(raw)[0, 4:6, 1, 1]
    wanted = 2.5 * (torch.tensor([0.25, 0.75]) - mask) * mask * (1 - mask)
    torch.testing.assert_close(delta_of(loss, raw, truth)[0, 0, 4:6, 1, 1], wanted)


def test_the_line_of_a_batch_without_truths(folder: Path) -> None:
    loss = make_loss(KINDS["softmax"], folder)
    raw, truth = picture(KINDS["softmax"])
    line = loss.line(loss(raw.detach() * 0, truth, 20_000).statistics.tolist())
    assert line == "Region Avg IOU: -nan, Class: -nan, Obj: -nan, No Obj: 0.500000, Avg Recall: -nan,  count: 0"


def test_only_thirty_truths_count(folder: Path) -> None:
    rules = KINDS["softmax"]
    loss = make_loss(rules, folder)
    raw, truth = picture(rules, *[(0.1 + 0.02 * n, 0.4, 0.2, 0.2, n % 3) for n in range(30)])
    longer = torch.cat((truth, torch.tensor([[0.9, 0.9, 0.2, 0.2, 1.0]])), 1)
    assert loss(raw, longer, 1).statistics[5] == 30
    assert torch.equal(delta_of(loss, raw, longer), delta_of(loss, raw, truth))


def test_max_above_thirty_is_obeyed(folder: Path) -> None:
    rules = KINDS["softmax"]
    loss = make_loss(rules, folder)
    raw, truth = picture(rules, *[(0.1 + 0.02 * n, 0.4, 0.2, 0.2, n % 3) for n in range(30)])
    longer = torch.cat((truth, torch.tensor([[0.9, 0.9, 0.2, 0.2, 1.0]])), 1)
    loss.layer = replace(loss.layer, max=31)
    assert loss(raw, longer, 1).statistics[5] == 31


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
def test_broken_inputs_do_no_harm_to_other_pictures(kind: str, value: float, folder: Path) -> None:
    rules = KINDS[kind]
    loss = make_loss(rules, folder)
    raw, truth = picture(rules, (0.5, 0.5, 0.3, 0.3, 0), (0.1, 0.2, 0.3, 0.3, 2))
    broken = torch.full_like(raw, value)
    both_raw, both_truth = torch.cat((raw, broken)).detach().requires_grad_(), truth.expand(2, -1)
    torch.testing.assert_close(delta_of(loss, both_raw, both_truth)[:1], delta_of(loss, raw, truth))
    mark = torch.zeros_like(truth)
    mark[0, :4] = MARK
    assert loss(broken, mark, 1).statistics.shape == (6,)


@pytest.mark.parametrize("kind", KINDS)
def test_no_value_is_fetched_from_the_device(kind: str, folder: Path) -> None:
    rules = replace(KINDS[kind], map=usable_map(KINDS[kind]), rescore=True)
    loss = make_loss(rules, folder).to("meta")  # tensors that have no values to fetch
    raw, truth = picture(rules, (0.5, 0.5, 0.3, 0.3, 0))
    raw = raw.detach().to("meta").requires_grad_()
    result = loss(raw, truth.to("meta"), 1)
    result.objective.backward()
    assert (result.cost.shape, result.statistics.shape, raw.grad.shape) == ((), (6,), raw.shape)


def test_half_precision_comes_in_and_single_is_computed(folder: Path) -> None:
    rules = KINDS["softmax"]
    loss = make_loss(rules, folder)
    raw, truth = picture(rules, (0.5, 0.5, 0.3, 0.3, 0))
    half = raw.detach().bfloat16().requires_grad_()
    result = loss(half, truth, 1)
    exact = loss(half.detach().float(), truth, 1)
    assert result.cost.dtype == result.objective.dtype == torch.float32
    assert torch.equal(result.cost, exact.cost)
    result.objective.backward()
    assert half.grad.dtype == torch.bfloat16


def test_other_sizes_of_the_grid_and_layouts_of_memory(folder: Path) -> None:
    rules = KINDS["softmax"]
    loss = make_loss(rules, folder)
    raw = torch.randn(2, 16, 5, 7, generator=torch.Generator().manual_seed(3))
    truth = picture(rules, (0.9, 0.9, 0.3, 0.3, 2))[1].expand(2, -1)
    delta = delta_of(loss, raw.requires_grad_(), truth)
    last = raw.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    torch.testing.assert_close(delta_of(loss, last, truth), delta)
    assert delta[:, :, :4].flatten(3).abs().sum((0, 1, 2)).argmax() == 4 * 7 + 6
