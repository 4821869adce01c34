from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from darknet_py.errors import ImageError
from darknet_py.pictures.draw import class_color, draw_detections

GREY = Image.new("RGB", (200, 150), (128, 128, 128))
ANY = st.floats(allow_nan=True, allow_infinity=True, width=32)


def changed(picture: Image.Image) -> tuple[int, int, int, int] | None:
    return ImageChops.difference(picture, GREY).getbbox()


@pytest.mark.parametrize(
    ("label", "classes", "color"),
    [
        (0, 80, (255, 0, 255)),
        (0, 1, (255, 0, 255)),
        (1, 80, (255, 15, 0)),
        (16, 80, (255, 255, 0)),
        (14, 20, (0, 127, 255)),
        (9417, 9418, (0, 138, 255)),
    ],
)
def test_class_colours(label: int, classes: int, color: tuple[int, int, int]) -> None:
    assert class_color(label, classes) == color


@given(data=st.data(), classes=st.integers(1, 100_000))
@settings(deadline=None)
def test_class_colours_are_bright(data: st.DataObject, classes: int) -> None:
    color = class_color(data.draw(st.integers(0, classes - 1)), classes)
    assert max(color) >= 127
    assert min(color) == 0


@pytest.mark.parametrize(("label", "classes"), [(0, 0), (-1, 5)])
def test_no_such_class(label: int, classes: int) -> None:
    with pytest.raises(ImageError, match="no colour"):
        class_color(label, classes)


def test_corners_have_the_colour_and_the_inside_is_untouched() -> None:
    drawn = draw_detections(GREY, [[40.9, 60.2, 120.7, 110]], [3], [0.9], ["a", "b", "c", "d"], classes=4)
    color = class_color(3, 4)
    assert {drawn.getpixel(at) for at in ((40, 60), (120, 60), (40, 110), (120, 110), (80, 110))} == {color}
    assert drawn.getpixel((80, 85)) == (128, 128, 128)
    assert changed(GREY) is None
    left, _, right, bottom = changed(drawn) or (0, 0, 0, 0)
    assert (left, right, bottom) == (40, 121, 111)


def test_line_width_grows_with_the_picture() -> None:
    tall = Image.new("RGB", (100, 1000))
    drawn = draw_detections(tall, [[20, 500, 80, 900]], [0], [1.0], ["x"], classes=1)
    column = np.array(drawn)[800:920, 50, 0]
    assert np.flatnonzero(column).tolist() == list(range(95, 101))


def test_label_is_above_the_box_or_inside_where_there_is_no_room() -> None:
    above = changed(draw_detections(GREY, [[40, 60, 120, 110]], [0], [1.0], ["dog"], classes=1))
    inside = changed(draw_detections(GREY, [[40, 3, 120, 110]], [0], [1.0], ["dog"], classes=1))
    assert above is not None
    assert inside is not None
    assert above[1] < 60
    assert inside[1] == 3


def test_label_stays_inside_on_the_right() -> None:
    drawn = draw_detections(GREY, [[195, 60, 199, 110]], [0], [1.0], ["dog"], classes=1)
    left, *_ = changed(drawn) or (0, 0, 0, 0)
    assert left < 190


def test_text_is_black_on_bright_and_white_on_dark() -> None:
    bright = draw_detections(GREY, [[40, 60, 120, 110]], [16], [1.0], ["dog"] * 80, classes=80)
    dark = draw_detections(GREY, [[40, 60, 120, 110]], [0], [1.0], ["dog"] * 80, classes=80)
    assert np.array(bright)[40:60, 40:120].max(2).min() < 60
    assert np.array(dark)[40:60, 40:120].min(2).max() > 195


def test_rows_with_the_same_box_share_a_label() -> None:
    box = [40, 60, 120, 110]
    shared = draw_detections(GREY, [box, box, box], [1, 0, 1], [0.6, 0.5, 0.4], ["dog", "wolf"], classes=2)
    alone = draw_detections(GREY, [box], [0], [0.5], ["dog, wolf"], classes=2)
    assert changed(shared) is not None
    assert shared.tobytes() == alone.tobytes()


def test_the_best_score_is_on_top() -> None:
    boxes = [[40, 60, 120, 110], [40, 61, 120, 110]]
    for scores, top in (([0.9, 0.2], 0), ([0.2, 0.9], 1)):
        drawn = draw_detections(GREY, boxes, [0, 1], scores, ["a", "b"], classes=2)
        assert drawn.getpixel((80, 110)) == class_color(top, 2)


def test_no_detections_is_a_copy() -> None:
    for empty in ([], torch.zeros(0, 4)):
        drawn = draw_detections(GREY, empty, [], [], [], classes=20)
        assert drawn is not GREY
        assert drawn.tobytes() == GREY.tobytes()


def test_tensors_are_taken() -> None:
    image = torch.full((3, 150, 200), 128 / 255)
    boxes = torch.tensor([[40.0, 60, 120, 110]], requires_grad=True)
    drawn = draw_detections(image, boxes, torch.tensor([0]), torch.tensor([0.5]), ["dog"], classes=2)
    plain = draw_detections(GREY, [[40, 60, 120, 110]], [0], [0.5], ["dog"], classes=2)
    assert drawn.tobytes() == plain.tobytes()


def test_grey_pictures_become_rgb() -> None:
    drawn = draw_detections(GREY.convert("L"), [[40, 60, 120, 110]], [0], [0.5], ["dog"], classes=1)
    assert drawn.mode == "RGB"
    assert drawn.getpixel((40, 110)) == (255, 0, 255)


@given(boxes=st.lists(st.tuples(ANY, ANY, ANY, ANY), max_size=6), size=st.tuples(*[st.integers(1, 60)] * 2))
@settings(deadline=None, max_examples=100)
def test_any_box_can_be_drawn(boxes: list[tuple[float, ...]], size: tuple[int, int]) -> None:
    n = len(boxes)
    drawn = draw_detections(Image.new("RGB", size), boxes, range(n), [0.5] * n, ["dog"] * n, classes=6)
    assert drawn.size == size


def test_a_box_of_no_size_is_a_dot() -> None:
    drawn = draw_detections(GREY, [[80, 80, 80, 80]], [0], [0.5], [""], classes=1)
    assert changed(drawn) == (80, 80, 81, 81)


@pytest.mark.parametrize("name", ["猫", "кошка", "قطة", "\udc80", "two\nlines\0", "🐱", "x" * 100_000])
def test_any_name_can_be_written(name: str) -> None:
    assert changed(draw_detections(GREY, [[40, 60, 120, 110]], [0], [0.5], [name], classes=1)) is not None


def test_a_class_without_a_name_is_a_number() -> None:
    numbered = draw_detections(GREY, [[40, 60, 120, 110]], [7], [0.5], [], classes=80)
    named = draw_detections(GREY, [[40, 60, 120, 110]], [7], [0.5], ["7"] * 80, classes=80)
    assert numbered.tobytes() == named.tobytes()


@pytest.mark.parametrize(
    ("boxes", "labels", "scores"),
    [
        ([[1, 2, 3, 4]], [], [0.5]),
        ([[1, 2, 3, 4]], [0], []),
        ([[1, 2, 3]], [0], [0.5]),
        ([1, 2, 3, 4], [0], [0.5]),
    ],
)
def test_lengths_must_agree(boxes: list[list[float]], labels: list[int], scores: list[float]) -> None:
    with pytest.raises(ImageError, match="do not go together"):
        draw_detections(GREY, boxes, labels, scores, ["a"], classes=1)
