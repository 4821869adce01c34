"""Draws, against recorded.npz and against compositions of operations.py.

In recorded.npz is what load_data_detection (`detection`), load_data_region (`grid`) and load_data_augment
(`classifier`, `tree`) of the C program gave for one picture and its labels: of each case the amounts, the size, the
numbers that rand() gave as rolls and as the order of the labels, the image and the truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from darknet_py.data.amounts import ROLLS, Amounts, Extent, coin, factor, roll, uniform
from darknet_py.data.augment import BoxDraw, ClassifierDraw, Colours, CropDraw, DetectionDraw
from darknet_py.data.base import generator_for
from darknet_py.data.truth import classified, framed, gridded, listed
from darknet_py.network.graph import Graph
from darknet_py.pictures import operations as im
from darknet_py.tree import WordTree
from tests.support.labelled import labels_of

RECORDED = np.load(Path(__file__).with_name("recorded.npz"))
CASES = sorted({key.partition("_")[0] for key in RECORDED if "_" in key})
CLASSES = 5
TREE = WordTree(("dog", "cat", "ca", "bird", "husky"), (-1, -1, -1, 1, 0))
DRAWS = {"detection": DetectionDraw, "grid": CropDraw, "classifier": ClassifierDraw, "tree": ClassifierDraw}
FULL = Amounts(0.2, 0.1, 1.5, 1.5, 7, 0.75, 0.5, 2)


def truth_of(kind: str, draw: BoxDraw, order: Tensor) -> Tensor:
    if kind in ("classifier", "tree"):
        return classified([1, 2], CLASSES, TREE if kind == "tree" else None)  # cat and ca, in images/cat.png
    rows = framed(labels_of(torch.from_numpy(RECORDED["labels"])[order]), draw.frame)
    return listed(rows, 10) if kind == "detection" else gridded(rows, 3, CLASSES)


@pytest.mark.parametrize("case", CASES)
def test_samples_are_those_of_the_c_program(case: str) -> None:
    *numbers, center = RECORDED[f"{case}_amounts"].tolist()
    size = Extent(*RECORDED[f"{case}_size"].tolist())
    pixels = torch.from_numpy(RECORDED["picture"])
    kind = case.rstrip("0123456789")
    rolls = iter(RECORDED[f"{case}_rolls"].tolist())
    draw = DRAWS[kind].of(Amounts(*numbers, center=bool(center)), Extent(50, 40), size, rolls)
    assert next(rolls, None) is None
    torch.testing.assert_close(draw.apply(pixels), torch.from_numpy(RECORDED[f"{case}_image"]), rtol=0, atol=1e-5)
    truth = truth_of(kind, draw, torch.from_numpy(RECORDED[f"{case}_order"]))
    torch.testing.assert_close(truth, torch.from_numpy(RECORDED[f"{case}_truth"]), rtol=0, atol=1e-6)


def test_every_kind_was_recorded() -> None:
    assert {case.rstrip("0123456789") for case in CASES} == DRAWS.keys()


def noise(h: int, w: int, c: int = 3) -> Tensor:
    return torch.randint(0, 256, (h, w, c), dtype=torch.uint8, generator=torch.Generator().manual_seed(h + 99 * w))


def composed(draw: DetectionDraw | CropDraw | ClassifierDraw, pixels: Tensor) -> Tensor:
    """What a draw does, by operations.py alone."""
    image = pixels.permute(2, 0, 1) / 255
    width, height = draw.canvas
    if isinstance(draw, DetectionDraw):
        placed = torch.full((len(image), height, width), 0.5)
        if int(draw.width) and int(draw.height):
            placed = im.place(image, int(draw.width), int(draw.height), int(draw.dx), int(draw.dy), placed)
    elif isinstance(draw, CropDraw):
        placed = im.resize(im.crop(image, draw.left, draw.top, *draw.kept), width, height)
    elif draw.center:
        placed = im.center_crop(image, width, height)
    else:
        placed = im.rotate_crop(image, draw.radians, draw.scale, width, height, draw.dx, draw.dy, draw.aspect)
    if len(image) == 3:
        placed = im.distort(placed, draw.colours.hue, draw.colours.saturation, draw.colours.exposure)
    return im.flip(placed) if draw.flip else placed


@given(
    kind=st.sampled_from([DetectionDraw, CropDraw, ClassifierDraw]), seed=st.integers(0, 10**6),
    jitter=st.floats(0, 0.49), center=st.booleans(), c=st.sampled_from([1, 3, 4]),
    w=st.integers(4, 60), h=st.integers(4, 60), width=st.integers(4, 60), height=st.integers(4, 60),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_draws_are_compositions_of_image(
    kind: type[BoxDraw], seed: int, jitter: float, center: bool, c: int, w: int, h: int, width: int, height: int
) -> None:
    amounts = replace(FULL, jitter=jitter, center=center)
    draw = kind.of(amounts, Extent(w, h), Extent(width, height), roll(generator_for(seed, 0)))
    pixels = noise(h, w, c)
    image = draw.apply(pixels)
    assert image.shape == (c, height, width)
    assert image.is_contiguous()
    torch.testing.assert_close(image, composed(draw, pixels), rtol=0, atol=2e-6)
    assert torch.equal(draw.apply(pixels), image)


@given(seed=st.integers(0, 10**6), jitter=st.floats(0, 0.5), w=st.integers(60, 300), h=st.integers(60, 300))
@settings(deadline=None, max_examples=60)
def test_boxes_lie_where_the_pixels_are(seed: int, jitter: float, w: int, h: int) -> None:
    """The box of a whole picture is what is not grey; C cuts off decimals of the pixels, and of them alone."""
    draw = DetectionDraw.of(Amounts(jitter), Extent(w, h), Extent(64, 48), roll(generator_for(seed, 0)))
    image = draw.apply(torch.full((h, w, 3), 51, dtype=torch.uint8))
    ((x, y, width, height),) = framed(labels_of(torch.tensor([[0, 0.5, 0.5, 1, 1]])), draw.frame).boxes.tolist()
    for across, middle, side, limit in ((1, x, width, 64), (0, y, height, 48)):
        (seen,) = (image[0] != 0.5).any(1 - across).nonzero(as_tuple=True)
        assert abs((middle - side / 2) * limit - seen.min()) < 2
        assert abs((middle + side / 2) * limit - seen.max() - 1) < 2


def test_a_picture_that_jitter_makes_thinner_than_a_pixel_leaves_grey() -> None:
    draw = DetectionDraw(Extent(8, 8), 0.5, 8.0, 3.0, 0.0, Colours(exposure=1.5))
    assert torch.equal(draw.apply(noise(900, 1)), torch.full((3, 8, 8), 0.75))


def test_grey_follows_the_exposure() -> None:
    draw = DetectionDraw(Extent(8, 8), 4.0, 4.0, 0.0, 0.0, Colours(0.1, 1.3, 1.5))
    image = draw.apply(noise(4, 4))
    assert (image[:, 4:] == 0.75).all()
    one = DetectionDraw(Extent(8, 8), 4.0, 4.0, 0.0, 0.0, Colours(0.1, 1.3, 1.5)).apply(noise(4, 4, 1))
    assert (one[:, 4:] == 0.5).all()


def test_nothing_is_changed_without_amounts() -> None:
    draw = DetectionDraw.of(Amounts(), Extent(40, 40), Extent(40, 40), iter([0.7] * 9 + [0.1]))
    pixels = noise(40, 40)
    assert draw.frame == (0, 0, 1, 1, False)
    torch.testing.assert_close(draw.apply(pixels), pixels.permute(2, 0, 1) / 255, rtol=0, atol=1e-6)


def many(
    kind: type[BoxDraw], amounts: Amounts, count: int = 400
) -> Iterator[DetectionDraw | CropDraw | ClassifierDraw]:
    for number in range(count):
        yield kind.of(amounts, Extent(100, 80), Extent(64, 64), roll(generator_for(1, number)))


@pytest.mark.parametrize("kind", [DetectionDraw, CropDraw, ClassifierDraw])
def test_draws_stay_within_the_amounts_and_fill_them(kind: type[BoxDraw]) -> None:
    draws = list(many(kind, FULL))
    hues = [draw.colours.hue for draw in draws]
    assert -0.1 <= min(hues) < -0.09
    assert 0.09 < max(hues) <= 0.1
    for values in ([d.colours.saturation for d in draws], [d.colours.exposure for d in draws]):
        assert 1 / 1.5 - 1e-6 <= min(values) < 0.7
        assert 1.4 < max(values) <= 1.5
        assert 150 < sum(value > 1 for value in values) < 250
    assert 150 < sum(draw.flip for draw in draws) < 250


def test_where_pictures_come_to_lie() -> None:
    draws = list(many(DetectionDraw, FULL))
    assert all(max(draw.width, draw.height) == 64 for draw in draws)
    assert all(0 <= draw.dx <= 64 - draw.width and 0 <= draw.dy <= 64 - draw.height for draw in draws)
    aspects = [draw.width / draw.height for draw in draws]
    assert 80 / 96 - 1e-4 <= min(aspects) < 0.95
    assert 1.6 < max(aspects) <= 120 / 64
    cropped = list(many(CropDraw, FULL))
    assert {draw.left for draw in cropped} == set(range(-19, 20))  # C cuts decimals off, so that -20 and 20 are rare
    assert {draw.bottom for draw in cropped} == set(range(-15, 16))
    turned = list(many(ClassifierDraw, FULL))
    assert 6.5 < max(abs(draw.radians) for draw in turned) * 57.29578 <= 7.0001
    assert all(abs(draw.dx) <= abs(100 * draw.scale / draw.aspect - 64) / 2 + 1e-3 for draw in turned)


def test_amounts_are_those_of_the_cfg() -> None:
    text = "[net]\nwidth=224\nheight=224\nchannels=3\n{}\n[avgpool]\n"
    net = Graph.parse(text.format("hue=.1\nsaturation=0\nexposure=.75\nangle=7\naspect=0\nmax_crop=320")).net
    amounts = Amounts.of(net, 0.3)
    assert amounts == Amounts(0.3, 0.1, 1.0, 0.75, 7.0, 1.0, 1.0, float(np.float32(320) / np.float32(224)))
    assert Amounts.of(Graph.parse(text.format("")).net) == Amounts()
    ratios = Amounts.of(Graph.parse(text.format("min_ratio=.5\nmax_ratio=3\ncenter=1\nmin_crop=7")).net)
    assert (ratios.smallest, ratios.largest, ratios.center) == (0.5, 3.0, True)


def test_dice() -> None:
    assert uniform(3, 1, iter([0.25])) == 1.5
    assert factor(2, iter([0.5, 0.5])) == 1.5
    assert factor(2, iter([0.5, 0.49])) == np.float32(1) / np.float32(1.5)
    assert not coin(iter([0.499]))
    rolls = list(roll(torch.Generator().manual_seed(1)))
    assert len(rolls) == ROLLS
    assert rolls == list(roll(torch.Generator().manual_seed(1)))
