from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from darknet_py.data.truth import Frame, classified, framed, gridded, listed
from darknet_py.loss.truths import NO_BOX
from darknet_py.tree import WordTree
from tests.support.labelled import labels_of, rows_of

SHARE = st.floats(0, 1, width=32)
ROWS = st.lists(st.tuples(st.integers(0, 4), SHARE, SHARE, SHARE, SHARE), max_size=40)
MOVE = st.floats(-1, 1, width=32)
SCALE = st.floats(0.0625, 4, width=32)
FRAMES = st.builds(Frame, MOVE, MOVE, SCALE, SCALE, st.booleans())
PLAIN = Frame(0, 0, 1, 1, flip=False)


def as_rows(rows: list[tuple[float, ...]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)


def slowly_framed(rows: Tensor, frame: Frame) -> list[tuple[np.float32, ...]]:
    """Boxes one after another, in floats as C has them."""
    found = []
    for label, x, y, w, h in rows.numpy():
        if x == 0 and y == 0:
            found.append((label, *(np.float32(NO_BOX),) * 4))
            continue
        left, right = ((x + side * w / 2) * np.float32(frame.sx) - np.float32(frame.dx) for side in (-1, 1))
        top, bottom = ((y + side * h / 2) * np.float32(frame.sy) - np.float32(frame.dy) for side in (-1, 1))
        if frame.flip:
            left, right = 1 - right, 1 - left
        left, right, top, bottom = (min(max(edge, np.float32(0)), np.float32(1)) for edge in (left, right, top, bottom))
        found.append((label, (left + right) / 2, (top + bottom) / 2, max(right - left, 0), max(bottom - top, 0)))
    return found


@given(rows=ROWS, frame=FRAMES)
@settings(deadline=None, max_examples=60)
def test_framed_boxes_are_those_of_a_loop(rows: list[tuple[float, ...]], frame: Frame) -> None:
    expected = slowly_framed(as_rows(rows), frame)
    torch.testing.assert_close(rows_of(framed(labels_of(as_rows(rows)), frame)), as_rows(expected), rtol=0, atol=2e-7)


def test_mirroring_keeps_the_size() -> None:
    labels = labels_of(as_rows([(3, 0.25, 0.5, 0.125, 0.5)]))
    assert rows_of(framed(labels, PLAIN._replace(flip=True))).tolist() == [[3, 0.75, 0.5, 0.125, 0.5]]
    assert torch.equal(framed(labels, PLAIN).boxes, labels.boxes)


def test_boxes_are_cut_off_at_the_canvas() -> None:
    labels = labels_of(as_rows([(0, 0.0, 0.5, 0.5, 0.5)]))
    assert framed(labels, PLAIN).boxes.tolist() == [[0.125, 0.5, 0.25, 0.5]]
    beyond = framed(labels, Frame(0.75, 0, 1, 1, flip=False))
    assert beyond.boxes[0, 2] == 0


@given(rows=ROWS, frame=FRAMES, most=st.integers(0, 35), coords=st.integers(4, 6))
@settings(deadline=None, max_examples=60)
def test_listed_truths_are_those_of_a_loop(rows: list[tuple[float, ...]], frame: Frame, most: int, coords: int) -> None:
    labels = framed(labels_of(as_rows(rows)), frame)
    expected = torch.zeros(most, coords + 1)
    dropped = 0
    for number, (label, x, y, w, h) in enumerate(rows_of(labels)[:most]):
        if w < 0.001 or h < 0.001:
            dropped += 1
            continue
        expected[number - dropped, :4] = torch.stack((x, y, w, h))
        expected[number - dropped, coords] = label
    assert torch.equal(listed(labels, most, coords), expected.flatten())


def test_a_picture_with_a_class_alone() -> None:
    truth = listed(framed(labels_of(as_rows([(7, 0, 0, 0, 0), (2, 0.5, 0.5, 0.5, 0.5)])), PLAIN), 3)
    assert truth.tolist() == [NO_BOX] * 4 + [7] + [0.5] * 4 + [2] + [0] * 5


@given(rows=ROWS, frame=FRAMES, side=st.integers(1, 7))
@settings(deadline=None, max_examples=60)
def test_gridded_truths_are_those_of_a_loop(rows: list[tuple[float, ...]], frame: Frame, side: int) -> None:
    labels = framed(labels_of(as_rows(rows)), frame)
    labels = labels[labels.boxes[:, 0] != NO_BOX]
    expected = np.zeros((side * side, 10), np.float32)
    for label, x, y, w, h in rows_of(labels).numpy():
        if w < 0.005 or h < 0.005:
            continue
        column, row = int(x * np.float32(side)), int(y * np.float32(side))
        cell = expected[column + row * side]
        if not cell[0]:
            cell[0] = cell[1 + int(label)] = 1
            cell[6:] = x * np.float32(side) - column, y * np.float32(side) - row, w, h
    assert torch.equal(gridded(labels, side, 5), torch.from_numpy(expected).flatten())


@pytest.fixture
def tree() -> WordTree:
    return WordTree(("animal", "thing", "cat", "dog", "car", "husky", "poodle"), (-1, -1, 0, 0, 1, 3, 3))


def test_a_class_of_several() -> None:
    assert classified([2], 4).tolist() == [0, 0, 1, 0]
    assert classified([0, 2], 4).tolist() == [1, 0, 1, 0]
    assert classified([], 2).tolist() == [0, 0]


def test_classes_of_a_tree_have_their_ancestors(tree: WordTree) -> None:
    unknown = -1234
    assert classified([6], 7, tree).tolist() == [1, 0, 0, 1, unknown, 0, 1]
    assert classified([2], 7, tree).tolist() == [1, 0, 1, 0, unknown, unknown, unknown]
    assert classified([2, 4], 7, tree).tolist() == [1, 1, 1, 0, 1, unknown, unknown]
    assert classified([], 7, tree).tolist() == [unknown] * 7
