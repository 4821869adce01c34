"""tools/datasets/coco.py: COCO's JSON to labels, a list and names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from darknet_py.data.labels import label_path, read_labels
from tools.datasets import coco as tool
from tools.datasets.annotations import label_file


def box(picture: object, category: object, *bbox: object, crowd: int = 0) -> dict[str, object]:
    return {
        "image_id": picture, "category_id": category, "bbox": list(bbox), "iscrowd": crowd,
        "segmentation": {"counts": [1, 2], "size": [3, 4]} if crowd else [[1.0, 2.0, 3.0]],
    }  # fmt: skip


def instances() -> dict[str, list[dict[str, object]]]:
    return {
        "images": [
            {"id": 7, "file_name": "a.jpg", "width": 640, "height": 480},
            {"id": 3, "file_name": "sub/b.jpg", "width": 100, "height": 200},
            {"id": 9, "file_name": "empty.jpg", "width": 10, "height": 10},
        ],
        "annotations": [
            box(7, 90, 64, 48, 128, 96), box(3, 1, 0, 0, 100, 200), box(7, 18, 0, 0, 640, 480, crowd=1),
            box(7, 18, 1, 1, 0, 5), box(7, 1, 10.5, 20.25, 30.125, 40),
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 18, "name": "dog"}],
    }  # fmt: skip


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Converts what it is given, or `instances()`: exit code, lines of stdout, and of stderr without the first."""
    monkeypatch.chdir(tmp_path)
    Path("coco/images/train").mkdir(parents=True)

    def run(*arguments: str, data: object = None) -> tuple[int, list[str], list[str]]:
        text = data if isinstance(data, str) else json.dumps(instances() if data is None else data)
        Path("inst.json").write_text(text)
        code = tool.main(["inst.json", "coco/images/train", *arguments])
        out, err = capsys.readouterr()
        return code, out.splitlines(), [line for line in err.splitlines() if not line.startswith("reading ")]

    return run


def test_boxes_become_shares_of_the_picture(run, tmp_path) -> None:
    code, out, err = run()
    assert (code, out, err) == (0, ["inst.txt: 3 pictures, 3 classes"], [])
    folder = tmp_path / "coco/images/train"
    assert Path("inst.txt").read_text().splitlines() == [f"{folder}/{n}.jpg" for n in ("a", "sub/b", "empty")]
    assert Path("inst.names").read_text() == "person\ndog\ntoothbrush\n"
    assert Path("coco/labels/train/a.txt").read_text().splitlines()[0] == "2 0.2 0.2 0.2 0.2"
    labels = read_labels(label_path(f"{folder}/a.jpg"))
    expected = torch.tensor([(10.5 + 30.125 / 2) / 640, (20.25 + 20) / 480, 30.125 / 640, 40 / 480])
    assert labels.label.tolist() == [2, 0]
    torch.testing.assert_close(labels.boxes[1], expected, rtol=1e-5, atol=0)
    assert Path("coco/labels/train/sub/b.txt").read_text() == "0 0.5 0.5 1 1\n"
    assert Path("coco/labels/train/empty.txt").read_text() == ""


def test_crowds_when_asked(run) -> None:
    assert run("--crowd")[0] == 0
    assert [line[0] for line in Path("coco/labels/train/a.txt").read_text().splitlines()] == ["2", "1", "0"]


def test_classes_of_a_names_file(run) -> None:
    Path("my.names").write_text("toothbrush\nunicorn\nperson\n")
    code, out, _ = run("--names", "my.names", "--out", "mine")
    assert (code, out) == (0, ["mine.txt: 3 pictures, 3 classes"])
    assert [line[0] for line in Path("coco/labels/train/a.txt").read_text().splitlines()] == ["0", "2"]
    assert not Path("mine.names").exists()


def test_files_with_something_else_stay_without_force(run) -> None:
    label = Path("coco/labels/train/a.txt")
    label.parent.mkdir(parents=True)
    label.write_text("mine\n")
    code, _, err = run()
    assert code == 1
    assert len(err) == 1
    assert "a.txt is there and says something else; --force writes over it" in err[0]
    assert label.read_text() == "mine\n"
    assert Path("inst.txt").read_text().count("\n") == 2
    assert run("--force")[0] == 0
    assert label.read_text().startswith("2 0.2")
    assert run()[0] == 0  # nothing is different now


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file_name": "../a.jpg"}, "the file_name '../a.jpg' leads out of"),
        ({"file_name": "/etc/a.jpg"}, "the file_name '/etc/a.jpg' leads out of"),
        ({"file_name": 5}, "picture 7 has no file_name"),
        ({"file_name": "a\nb.jpg"}, "picture 7 has no file_name"),
        ({"width": 0}, "the size is 0 x 480"),
        ({"width": None}, "size: numbers were expected, not None, 480"),
        ({"height": "x"}, "size: numbers were expected, not 640, x"),
    ],
)
def test_a_picture_that_is_wrong_is_named_and_the_rest_goes_on(run, change, message) -> None:
    data = instances()
    data["images"][0].update(change)
    code, _, err = run(data=data)
    assert code == 1
    assert len(err) == 1
    assert message in err[0]
    assert Path("inst.txt").read_text().count("\n") == 2


@pytest.mark.parametrize("bbox", [[1, 2, 3], [1, 2, 3, "x"], [1, 2, 3, float("nan")], None, [[1], 2, 3, 4]])
def test_a_box_that_is_wrong(run, bbox) -> None:
    data = instances()
    data["annotations"][0]["bbox"] = bbox
    code, _, err = run(data=data)
    assert code == 1
    assert err[0].startswith("inst.json: a.jpg: ")
    assert not Path("coco/labels/train/a.txt").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "inst.json: this is no JSON"),
        ("[" * 100_000, "inst.json: this is no JSON"),
        ("[]", "inst.json: there is no list under 'images'"),
        ({"images": [], "annotations": {}}, "there is no list under 'annotations'"),
        ({"images": [1], "annotations": [], "categories": []}, "not every one of 'images' is an object"),
        ({"images": [], "annotations": [], "categories": [{"id": 1}]}, "a category has no id or no name"),
        (
            {"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]},
            "two categories have the same id",
        ),
    ],
)
def test_a_file_that_is_no_file_of_instances(run, data, message) -> None:
    code, _, err = run(data=data)
    assert code == 1
    assert message in err[0]
    assert not Path("inst.txt").exists()


def test_labels_go_beside_pictures_that_are_in_no_images_folder(tmp_path) -> None:
    assert label_file(Path("/a/images/b/images/c/x.y.jpg")) == Path("/a/images/b/labels/c/x.y.txt")
    assert label_file(Path("/a/JPEGImages/x.png")) == Path("/a/labels/x.txt")
    assert label_file(Path("/a/b/images.jpg")) == Path("/a/b/images.txt")
