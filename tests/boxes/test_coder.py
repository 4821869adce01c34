"""Boxes out of a head's numbers and back again."""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darknet_py.boxes.coder import EXP, FOUR_SQUARES, PLAIN, SQUARE, BoxCoder, Sizes

ALL_SIZES = (EXP, FOUR_SQUARES, SQUARE, PLAIN)
shares = st.floats(1e-3, 1)
coders = st.builds(BoxCoder, st.sampled_from(ALL_SIZES), st.sampled_from(("cells", "pixels")), st.floats(1, 2))


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@settings(deadline=None)
@given(coders, shares, shares, st.integers(1, 76), st.floats(0.01, 600), st.floats(1, 1000))
def test_decoding_what_was_encoded_gives_the_box(coder, centre, size, cells, anchor, units):
    box = tensor(centre), tensor(size)
    place = int(centre * cells), cells, anchor, units
    torch.testing.assert_close(coder.decode(*coder.encode(*box, *place), *place), box, rtol=1e-9, atol=1e-12)
    bare = place[:2]  # without an anchor
    torch.testing.assert_close(coder.decode(*coder.encode(*box, *bare), *bare), box, rtol=1e-9, atol=1e-12)


@settings(deadline=None)
@given(coders, st.floats(0, 1), st.floats(0, 3), st.integers(0, 18), st.floats(0.1, 600), st.floats(1, 1000))
def test_encoding_what_was_decoded_gives_the_numbers(coder, place, size, cell, anchor, units):
    numbers, where = (tensor(place), tensor(size)), (cell, 19, anchor, units)
    torch.testing.assert_close(coder.encode(*coder.decode(*numbers, *where), *where), numbers, rtol=1e-9, atol=1e-6)


@settings(deadline=None)
@given(coders, st.floats(0, 1), st.floats(-2, 2))
def test_formulas_say_what_decoding_does(coder, place, size):
    words = {"x": place, "w": size, "column": 3.0, "columns": 13, "side": 1.5, "units": 7.0, "exp": math.exp}
    names = ("x", "w", "column", "columns", "side", "units")
    written = [eval(text, words) for text in coder.formulas(*names)]
    numbers = tensor(place), tensor(size)
    computed = coder.decode(*numbers, *(cast("float", words[name]) for name in names[2:]))
    assert written == pytest.approx([float(value) for value in computed], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("sizes", "expected"), [(EXP, math.exp(0.5)), (FOUR_SQUARES, 1.0), (SQUARE, 0.25), (PLAIN, 0.5)]
)
def test_sizes(sizes: Sizes, expected: float):
    _, size = BoxCoder(sizes).decode(tensor(0), tensor(0.5), 0, 1, 30, 60)
    assert float(size) == pytest.approx(expected / 2)


def test_x_and_y_reach_beyond_their_cell():
    centre, _ = BoxCoder(scale_x_y=2.0).decode(tensor(0, 0.5, 1), tensor(0), 4, 10)
    assert centre.tolist() == pytest.approx([0.35, 0.45, 0.55])


def test_both_axes_at_once_are_one_after_the_other():
    coder, cells, anchor, units = BoxCoder(unit="pixels"), tensor(13, 9), tensor(30, 60), tensor(416, 288)
    place, size, cell = tensor(0.2, 0.7), tensor(-1, 0.5), tensor(3, 4)
    both = coder.decode(place, size, cell, cells, anchor, units)
    for axis in (0, 1):
        one = coder.decode(place[axis], size[axis], cell[axis], cells[axis], anchor[axis], units[axis])
        assert all(map(torch.equal, one, (value[axis] for value in both)))


def test_anchors_are_in_cells_or_in_pixels():
    assert BoxCoder().units((13, 9), (416, 288)) == (13, 9)
    assert BoxCoder(unit="pixels").units((13, 9), (416, 288)) == (416, 288)
