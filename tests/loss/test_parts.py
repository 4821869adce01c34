"""The parts of the box losses: rows of truths, cells of a grid, and what a box loss is given."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darknet_py.boxes.coder import EXP, FOUR_SQUARES, BoxCoder
from darknet_py.boxes.overlap import iou
from darknet_py.loss.parts.grid import Grid
from darknet_py.loss.parts.mse import mse
from darknet_py.loss.parts.pairs import BoxPairs
from darknet_py.loss.truths import Truths, truth_row
from tests.support.losses import delta_of, loss_of

HEADS = {
    "yolo": ("[yolo]\nclasses=2\nnum=2\nanchors=3,5,2,8\ntruth_thresh=0.6", (20, 16)),
    "region": ("[region]\nclasses=2\nnum=2\nanchors=.8,1.2,1.5,.7\nthresh=0.6", (5, 4)),
}
shares = st.floats(2**-10, 1, width=32)
boxes = st.tuples(shares, shares, shares, shares)


@settings(deadline=None)
@given(st.lists(st.tuples(boxes, st.integers(0, 2**24)), max_size=6), st.integers(6, 8), st.integers(4, 7))
def test_truths_that_were_laid_out_are_read_again(rows, most, coords):
    given_boxes = torch.tensor([box for box, _ in rows], dtype=torch.float32).reshape(-1, 4)
    label = torch.tensor([label for _, label in rows], dtype=torch.int64)
    row = truth_row(given_boxes, label, most, coords)
    assert row.shape == (most * (coords + 1),)
    truths = Truths.read(row[None], most, coords)
    assert truths.listed.sum() == len(rows)
    assert torch.equal(truths.boxes[0, : len(rows)], given_boxes)
    assert torch.equal(truths.label[0, : len(rows)], label)
    assert truths.mask.shape == (1, most, coords - 4)
    assert not truths.boxes[0, len(rows) :].any()


def test_nothing_after_the_end_of_a_list_is_read():
    rows = torch.tensor([[0.5, 0.5, 0.1, 0.1, 3], [0, 0.5, 0.1, 0.1, 4], [0.5, 0.5, 0.1, 0.1, 5]])
    truths = Truths.read(rows.view(1, -1), 3)
    assert truths.listed.tolist() == [[True, False, False]]
    assert truths.label.tolist() == [[3, 0, 0]]
    assert Truths.read(torch.zeros(2, 0), 30).boxes.shape == (2, 1, 4)


@settings(deadline=None)
@given(
    st.lists(boxes, min_size=1, max_size=5),
    st.sampled_from((EXP, FOUR_SQUARES)),
    st.sampled_from(("cells", "pixels")),
    st.floats(1, 2),
)
def test_boxes_decoded_from_what_encodes_them_are_the_same(rows, sizes, unit, reach):
    grid = Grid(5, 4, BoxCoder(sizes, unit, reach), (160, 128))
    anchors = torch.tensor([[1.5, 2.5], [20, 8]], dtype=torch.float64)
    wanted = torch.tensor(rows, dtype=torch.float64)
    cell, inside = grid.cell_of(wanted)
    assert torch.equal(inside, (wanted[:, :2] < 1).all(1))
    values = torch.zeros(1, 2, 4, grid.cells, dtype=torch.float64)
    for number, box in enumerate(wanted):
        values[0, :, :, cell[number]] = grid.encode(box.expand(2, 4), cell[number], anchors)
        decoded = grid.decode(values, anchors)[0, :, cell[number]]
        torch.testing.assert_close(decoded, box.expand(2, 4), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("head", HEADS)
def test_a_box_loss_is_given_predictions_and_truths_in_both_forms(head):
    text, size = HEADS[head]
    loss = loss_of(text, 14, size)
    loss.input_size = (40, 32)
    raw = torch.randn(2, 14, size[1], size[0], generator=torch.Generator().manual_seed(0))
    box = torch.tensor([[0.31, 0.62, 0.2, 0.3], [0.8, 0.1, 0.1, 0.2]])
    truth = truth_row(box, torch.tensor([1, 0]), 90 if head == "yolo" else 30).expand(2, -1)
    found: list[BoxPairs] = []

    def spy(pairs: BoxPairs, weight: float) -> torch.Tensor:
        found.append(pairs)
        return mse(pairs, weight)

    expected, _ = delta_of(loss, raw, truth)
    loss.box_loss = spy
    delta, _ = delta_of(loss, raw, truth)
    assert torch.equal(delta, expected)
    (pairs,) = found
    shapes = {part.shape for part in (pairs.values, pairs.wanted, pairs.boxes, pairs.truths)}
    assert len(shapes) == 1
    same = (pairs.values - pairs.wanted).abs().amax(-1)
    apart = (pairs.boxes - pairs.truths).abs().amax(-1)
    assert torch.equal(same < 1e-6, apart < 1e-7)
    assert torch.isin(pairs.truths[pairs.truths[..., 2] > 0], box).all()


@pytest.mark.parametrize("head", HEADS)
def test_another_box_loss_takes_the_place_of_the_squared_error(head):
    """Its deltas are those of x, y, w, h, and of nothing else."""
    text, size = HEADS[head]
    loss = loss_of(text, 14, size)
    raw = torch.randn(1, 14, size[1], size[0], generator=torch.Generator().manual_seed(0))
    truth = truth_row(torch.tensor([[0.31, 0.62, 0.2, 0.3]]), torch.tensor([1]), 90 if head == "yolo" else 30)[None]
    before, _ = delta_of(loss, raw, truth, 20_000)
    loss.box_loss = lambda pairs, weight: (weight * iou(pairs.boxes, pairs.truths))[..., None].expand_as(pairs.values)
    after, _ = delta_of(loss, raw, truth, 20_000)
    changed = (before != after).unflatten(1, (2, 7))
    assert changed[:, :, :4].any()
    assert not changed[:, :, 4:].any()
