"""`tree join`: pictures with boxes and pictures with a class in one list, up to the truth that training gets."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from darknet_py.cfg import read_data, read_list
from darknet_py.cli import main
from darknet_py.data.base import Key
from darknet_py.data.boxes import DetectionData
from darknet_py.data.joint import LabelFinder
from darknet_py.data.labels import label_path, read_labels
from darknet_py.errors import DarknetError
from darknet_py.loss.region import RegionLoss
from darknet_py.network.graph import Graph
from tests.support.labelled import rows_of

TREE = "shape -1\ncircle 0\nsquare 0\nred_circle 1\nblue_circle 1\n"
CFG = """[net]
width=32
height=32
channels=3
[convolutional]
filters=20
size=1
stride=1
activation=linear
[region]
anchors=1,1, 2,2
classes=5
num=2
coords=4
softmax=1
tree=x.tree
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs `tree join x.tree ...` in a folder with three pictures with boxes and three with a class in their name."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "det/images/0.png",
        "det/images/1.png",
        "det/images/2.png",
        "cls/red_circle/a.jpg",
        "cls/square_b.jpeg",
        "cls/x.jpg",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (200, 10, 10)).save(name)
    Path("det/labels").mkdir()
    for n in range(2):
        Path(f"det/labels/{n}.txt").write_text(f"{n} 0.5 0.5 0.25 0.125\n")
    Path("det/train.txt").write_text("images/0.png\nimages/1.png\n")
    Path("cls.txt").write_text("cls/red_circle/a.jpg\ncls/square_b.jpeg\n")
    Path("x.tree").write_text(TREE)
    Path("x.names").write_text("shape\ncircle\nsquare\nred circle\nblue circle\n")
    Path("det.map").write_text("2\n4\n")
    Path("x.cfg").write_text(CFG)

    def run(*arguments: str) -> tuple[int, list[str], list[str]]:
        lists = ["--detection", "det/train.txt", "--classification", "cls.txt"]
        code = main(["tree", "join", "x.tree", "out", *lists, *arguments])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    run.folder = tmp_path
    return run


def test_one_list_of_both(run) -> None:
    code, out, err = run("--names", "x.names")
    folder = run.folder
    assert (code, err) == (0, [])
    assert out == [f"2 pictures with boxes, 2 with only a class: {folder}/out/train.list, {folder}/out/joint.data"]
    paths = read_list("out/train.list")
    assert paths == (
        f"{folder}/det/images/0.png", f"{folder}/det/images/1.png",
        f"{folder}/out/images/0000/00000000.jpg", f"{folder}/out/images/0000/00000001.jpg",
    )  # fmt: skip
    assert [rows_of(read_labels(label_path(path))).tolist() for path in paths[2:]] == [
        [[3, 0, 0, 0, 0]],
        [[2, 0, 0, 0, 0]],
    ]
    assert Path(paths[3]).resolve() == folder / "cls/square_b.jpeg"
    assert not Path("cls/square_b.txt").exists()
    data = read_data("out/joint.data")
    assert data.integer("classes", 0) == 5
    assert len(data.names()) == 5


def test_training_gets_boxes_and_classes(run) -> None:
    assert run("--map", "det.map")[0] == 0
    found = set()
    problems: list[str] = []
    data = DetectionData.from_cfg(Graph.read("x.cfg"), read_data("out/joint.data"), report=problems.append)
    for index in range(40):
        _, truth = data[Key(index, 32, 32)]
        first = truth.view(30, 5)[0]
        found.add((bool(first[0] > 100_000), int(first[4])))
    assert found == {(False, 2), (False, 4), (True, 3), (True, 2)}
    assert not problems


def test_the_map_of_the_cfg_is_for_the_classes_of_boxes(run) -> None:
    assert run()[0] == 0
    Path("x.cfg").write_text(f"{CFG}map=det.map\n")
    graph = Graph.read("x.cfg")
    data = DetectionData.from_cfg(graph, read_data("out/joint.data"))
    loss = RegionLoss(graph.nodes[-1], graph)
    found = {}
    for index in range(40):
        _, truth = data[Key(index, 32, 32)]
        raw = torch.zeros(1, 20, 32, 32, requires_grad=True)
        loss(raw, truth[None], 20_000).objective.backward()
        learnt = (raw.grad.view(2, 10, -1)[:, 5:] < 0).any(2).any(0)
        first = truth[:5]
        found[bool(first[0] > 100_000), int(first[4])] = learnt.nonzero().flatten().tolist()
    # Labels 0 and 1 of boxes are nodes 2 and 4; 3 and 2 of classes alone are nodes. The top level has one node.
    assert found == {(False, 0): [2], (False, 1): [1, 4], (True, 3): [1, 3], (True, 2): [2]}


def test_a_map_rewrites_the_classes_of_boxes(run) -> None:
    assert run("--map", "det.map", "--repeat", "3")[0] == 0
    paths = read_list("out/train.list")
    assert len(paths) == 8
    assert paths[0] == paths[2] == paths[4] == f"{run.folder}/out/images/0000/00000000.png"
    assert Path(label_path(paths[0])).read_text() == "2 0.5 0.5 0.25 0.125\n"
    assert Path(label_path(paths[1])).read_text() == "4 0.5 0.5 0.25 0.125\n"
    assert Path("det/labels/1.txt").read_text() == "1 0.5 0.5 0.25 0.125\n"
    assert len(list(Path("out/images/0000").iterdir())) == 4


def test_labels_of_another_set(run) -> None:
    Path("cls.names").write_text("_b\nred\n")
    Path("cls.map").write_text("4\n1\n")
    assert run("--labels", "cls.names", "--labels-map", "cls.map")[0] == 0
    paths = read_list("out/train.list")[2:]
    assert [int(read_labels(label_path(path)).label[0]) for path in paths] == [1, 4]


def test_pictures_that_cannot_be_used_are_named(run) -> None:
    Path("cls.txt").write_text("cls/red_circle/a.jpg\ncls/x.jpg\ncls/square/blue_circle.jpg\n")
    Path("det/train.txt").write_text("images/0.png\nimages/2.png\n")
    code, out, err = run("--map", "det.map")
    assert code == 1
    assert out[0].startswith("1 pictures with boxes, 1 with only a class")
    assert "det/labels/2.txt" in err[0]
    assert err[1] == "darknet-py: cls/x.jpg: no class in this path; it has to name one"
    assert err[2] == (
        "darknet-py: cls/square/blue_circle.jpg: the classes blue_circle, square in this path; it has to name one"
    )
    assert len(read_list("out/train.list")) == 2


def test_a_folder_in_use_is_left_alone(run) -> None:
    Path("out").mkdir()
    Path("out/mine").write_text("x")
    code, _, err = run()
    assert (code, err) == (1, [f"darknet-py: {run.folder}/out is there and not empty; give a new folder, or remove it"])
    assert [path.name for path in Path("out").iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("files", "arguments", "message"),
    [
        ({"det.map": "2\n5\n"}, ["--map", "det.map"], "det.map: class 5 is beyond x.tree, which has 5 nodes"),
        ({"l.map": "2\n"}, ["--labels-map", "l.map"], "l.map: 1 lines for 5 labels"),
        ({"l": "a\n" * 6}, ["--labels", "l"], "l: class 5 is beyond x.tree, which has 5 nodes"),
        ({"l": "a\n\n"}, ["--labels", "l"], "the labels of classes must not be empty"),
        ({"cls.txt": "cls/x.jpg\n"}, [], "there are no pictures with classes that can be used"),
    ],
)
def test_what_goes_wrong_is_one_line(run, files, arguments, message) -> None:
    for name, text in files.items():
        Path(name).write_text(text)
    code, _, err = run(*arguments)
    assert code == 1
    assert err[-1] == f"darknet-py: {message}"
    assert not Path("out/train.list").exists()


def test_the_longest_name_in_a_path_counts() -> None:
    finder = LabelFinder({"car": 0, "cart": 1, "n02084071": 2, "dog": 3})
    assert finder("images/cart/1.jpg") == 1
    assert finder("images/car/1.jpg") == 0
    assert finder("/inet/n02084071_12.JPEG") == 2
    for path in ("", "x", "dog/car.jpg"):
        with pytest.raises(DarknetError, match="it has to name one"):
            finder(path)
