from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from darknet_py.data import labels
from darknet_py.data.labels import LabelError, Labels, label_path, read_labels
from darknet_py.errors import CfgError
from tests.support.labelled import rows_of


@pytest.mark.parametrize(
    ("picture", "label"),
    [
        ("/data/VOC/JPEGImages/01.jpg", "/data/VOC/labels/01.txt"),
        ("coco/images/train/01.jpg", "coco/labels/train/01.txt"),
        ("/set/raw/01.png", "/set/labels/01.txt"),
        ("images/01.JPG", "labels/01.txt"),
        ("images/01.JPEG", "labels/01.txt"),
        ("images/01.jpeg", "labels/01.txt"),
        ("images/01.bmp", "labels/01.txt"),
        ("images/01.tar.PNG", "labels/01.tar.txt"),
        ("images/01", "labels/01.txt"),
        ("/data/obj/01.jpg", "/data/obj/01.txt"),
        ("a/images/b/images/01.jpg", "a/labels/b/images/01.txt"),  # the first, as Darknet
        ("/images/JPEGImages/01.jpg", "/labels/labels/01.txt"),
        ("C:\\set\\images\\01.jpg", "C:\\set\\labels\\01.txt"),
        ("images/drawing.jpg", "labels/dlabelsing.txt"),
        ("x.jpg.jpg", "x.txt.txt"),
    ],
)
def test_where_labels_are(picture: str, label: str) -> None:
    assert label_path(picture) == label


@pytest.mark.parametrize(
    ("picture", "label"),
    [
        ("images/set/images/01.jpg", "images/set/labels/01.txt"),
        ("images/drawing.jpg", "labels/drawing.txt"),
        ("images/set/01.jpg", "labels/set/01.txt"),
        ("my_images/01.jpg", "my_images/01.txt"),
        ("raw/x.jpg.jpg", "labels/x.jpg.txt"),
    ],
)
def test_where_labels_are_that_darknet_would_not_find(tmp_path: Path, picture: str, label: str) -> None:
    (tmp_path / label).parent.mkdir(parents=True)
    (tmp_path / label).touch()
    assert label_path(str(tmp_path / picture)) == str(tmp_path / label)


def read(tmp_path: Path, text: str | bytes, classes: int = labels.MOST, *, alone: int | None = None) -> Labels:
    path = tmp_path / "x.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_labels(path, classes, alone=alone)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", []),
        ("\n \r\n\n", []),
        ("3 .5 0.25 1e-1 +.2", [[3, 0.5, 0.25, 0.1, 0.2]]),
        ("0 .1 .2 .3 .4\r\n\r\n  19\t.5  .5 .5 .5 \r\n", [[0, 0.1, 0.2, 0.3, 0.4], [19, 0.5, 0.5, 0.5, 0.5]]),
        ("7 0 0 0 0\n", [[7, 0, 0, 0, 0]]),
        ("1 -.01 1.01 1.2 0\n", [[1, -0.01, 1.01, 1.2, 0]]),
        (b"\xef\xbb\xbf2 .5 .5 .5 .5", [[2, 0.5, 0.5, 0.5, 0.5]]),
    ],
)
def test_rows(tmp_path: Path, text: str | bytes, rows: list[list[float]]) -> None:
    found = read(tmp_path, text, 20)
    assert (found.label.dtype, found.boxes.dtype) == (torch.int64, torch.float32)
    torch.testing.assert_close(rows_of(found), torch.tensor(rows, dtype=torch.float32).reshape(-1, 5), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1 .5 .5 .5", "five numbers, but there are 4"),
        ("1 .5 .5 .5 .5 .5", "five numbers, but there are 6"),
        ("1 .5 .5 .5 .5 2 .5 .5 .5 .5", "five numbers, but there are 10"),
        ("dog .5 .5 .5 .5", "five numbers, not 'dog .5 .5 .5 .5'"),
        ("1 .5 .5 .5 0x", "five numbers, not "),
        ("20 .5 .5 .5 .5", "the class is 20, and has to be an integer from 0 to 19"),
        ("-1 .5 .5 .5 .5", "the class is -1"),
        ("1.5 .5 .5 .5 .5", "the class is 1.5"),
        ("nan .5 .5 .5 .5", "the class is nan"),
        ("1e400 .5 .5 .5 .5", "the class is 1e400"),
        ("1 nan .5 .5 .5", "shares of the picture, from 0 to 1, not nan .5"),
        ("1 .5 .5 inf .5", "shares of the picture"),
        ("1 320 240 50 50", "shares of the picture, from 0 to 1, not 320"),
        ("1 .5 .5 -.1 .5", "shares of the picture"),
    ],
)
def test_lines_that_cannot_be_used(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(LabelError, match=rf"x\.txt:3: .*{said}") as caught:
        read(tmp_path, f"0 .5 .5 .5 .5\n\n{line}\n", 20)
    assert len(caught.value.problems) == 1
    assert "\n" not in str(caught.value)


def test_every_bad_line_is_listed_up_to_a_limit(tmp_path: Path) -> None:
    with pytest.raises(LabelError) as caught:
        read(tmp_path, "1 2\n0 .5 .5 .5 .5\n99 0 0 0 0\n", 20)
    assert [problem.partition(": ")[0][-2:] for problem in caught.value.problems] == [":1", ":3"]
    with pytest.raises(LabelError) as caught:
        read(tmp_path, "bad\n" * 1000, 20)
    assert len(caught.value.problems) == labels.SHOWN + 1
    assert caught.value.problems[-1].endswith(": and 990 lines more")


def test_a_class_without_a_place_is_of_no_use_where_boxes_are_needed(tmp_path: Path) -> None:
    assert len(read(tmp_path, "1 0 0 0 0")) == 1
    assert len(read(tmp_path, "1 0 .1 .1 .1", alone=0)) == 1
    with pytest.raises(LabelError, match=r"x\.txt:1: .* \[region\] with a tree"):
        read(tmp_path, "1 0 0 .3 .3", alone=0)


def test_a_class_without_a_place_may_be_of_more_or_fewer_classes(tmp_path: Path) -> None:
    assert read(tmp_path, "2 .5 .5 .5 .5\n9 0 0 0 0\n", 3, alone=10).label.tolist() == [2, 9]
    with pytest.raises(LabelError) as caught:
        read(tmp_path, "3 .5 .5 .5 .5\n10 0 0 0 0\n2 0 0 0 0\n", 3, alone=10)
    said = ["class is 3, and has to be an integer from 0 to 2", "class is 10, and has to be an integer from 0 to 9"]
    assert [problem.partition("the ")[2] for problem in caught.value.problems] == said
    with pytest.raises(LabelError, match="the class is 2, and has to be an integer from 0 to 1"):
        read(tmp_path, "2 0 0 0 0\n", 3, alone=2)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(CfgError, match="this is not a text file"):
        read(tmp_path, "0 .5 .5 .5 .5\n\0")


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CfgError, match=r"gone\.txt: cannot be read: No such file"):
        read_labels(tmp_path / "gone.txt")
    with pytest.raises(CfgError, match="directory"):
        read_labels(tmp_path)
    monkeypatch.setattr(labels, "MAX_BYTES", 10)
    with pytest.raises(CfgError, match="larger than 10 bytes"):
        read(tmp_path, "0 .5 .5 .5 .5")


def test_errors_cross_processes() -> None:
    error = pickle.loads(pickle.dumps(LabelError("x:1: one", "x:2: two")))
    assert error.problems == ("x:1: one", "x:2: two")
    assert str(error) == "x:1: one"


@given(st.text(alphabet="0123456789.-+e \n\txn_", max_size=60))
def test_any_text_gives_rows_or_a_label_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_text(text)
    try:
        found = read_labels(path, 5)
    except LabelError as error:
        assert error.problems
    else:
        assert found.boxes.isfinite().all()
        assert (found.label < 5).all()
        assert len(found) == len([line for line in text.split("\n") if line.split()])


NUMBERS = ["1_0", "\uff11", "1e400", "0x1", "nan", "\t"]


@pytest.mark.parametrize("line", [*(f"{number} .5 .5 .3 .3" for number in NUMBERS), "1 .5 .5", "\t"])
def test_long_files_are_read_as_short_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    text = f"0 .1 .2 .3 .4\n\n{line}\n19 .5 .6 .7 .8\n"
    found = []
    for size in (1 << 16, 10):
        monkeypatch.setattr(labels, "A_PART", size)
        try:
            found.append(rows_of(read(tmp_path, text, 20)).tolist())
        except LabelError as error:
            found.append(error.problems)
    assert found[0] == found[1]


def test_of_a_million_bad_lines_the_first_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "LINES", 7)  # at a time
    with pytest.raises(LabelError) as caught:
        read(tmp_path, "0 .5 .5 .3 .3\nbad\n" * 30, 20)
    assert caught.value.problems[0].startswith(f"{tmp_path}/x.txt:2: ")
    assert caught.value.problems[-1] == f"{tmp_path}/x.txt: and 20 lines more"
