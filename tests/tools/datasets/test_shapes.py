"""tools/datasets/shapes.py draws what its labels say, and the networks for it in cfg/ are small."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from darknet_py import cfg
from darknet_py.layers.region import Region
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.tree import WordTree
from darknet_py.weights import expected_bytes
from tools.datasets import drawing as shapes
from tools.datasets import shapes as tool

ROOT = Path(__file__).parents[3]

SIZE = (96, 80)
COMMON = ("--size", "96x80", "--quiet")
LIMIT = 4_000_000  # bytes of a weights file


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, bytes]:
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert tool.main([*COMMON, *arguments]) == 0
    return files(folder)


def labels(made: dict[str, bytes], part: str) -> list[np.ndarray]:
    """The rows class, x, y, w, h of each picture of a part."""
    texts = [made[name].decode() for name in sorted(made) if f"labels/{part}/" in name]
    return [np.array([line.split() for line in text.splitlines()], float).reshape(-1, 5) for text in texts]


def solid(shape: shapes.Shape) -> np.ndarray:
    """The pixels of a shape, as a mask of the whole picture."""
    mask = np.zeros(SIZE[::-1], bool)
    (left, top), (width, height) = shape.corner, shape.mask.size
    mask[top : top + height, left : left + width] = np.asarray(shape.mask) > 127
    return mask


@pytest.mark.parametrize("tree", [(), ("--tree",)], ids=["shapes", "tree"])
def test_the_same_seed_gives_the_same_bytes(tree, tmp_path, monkeypatch):
    first = make(tmp_path / "a", monkeypatch, "--train", "12", "--valid", "4", *tree)
    assert len(first) == 2 * 16 + 2 + (3 if tree else 2)
    assert make(tmp_path / "b", monkeypatch, "--train", "12", "--valid", "4", *tree) == first
    fewer = make(tmp_path / "c", monkeypatch, "--train", "2", "--valid", "1", *tree)
    assert {name: first[name] for name in fewer if "/train/" in name or "/valid/" in name} == {
        name: data for name, data in fewer.items() if "/train/" in name or "/valid/" in name
    }
    other = make(tmp_path / "d", monkeypatch, "--train", "2", "--valid", "1", "--seed", "2", *tree)
    assert not {data for name, data in other.items() if name.endswith(".jpg")} & set(first.values())


def test_lists_pictures_and_labels_go_together(tmp_path, monkeypatch):
    made = make(tmp_path / "a", monkeypatch, "--train", "3", "--valid", "2")
    data = cfg.read_data("data/shapes/shapes.data")
    assert data.names() == shapes.SHAPES
    for part, count in (("train", 3), ("valid", 2)):
        listed = cfg.read_list(data.path(part))
        assert len(listed) == count
        for path in listed:
            with Image.open(path) as picture:
                assert picture.size == SIZE
                assert picture.mode == "RGB"
            assert path.replace("images", "labels").replace(".jpg", ".txt") in made


def test_boxes_are_inside_the_picture_and_say_what_was_drawn(tmp_path, monkeypatch):
    made = make(tmp_path / "a", monkeypatch, "--train", "40", "--valid", "0")
    rows = np.concatenate(labels(made, "train"))
    corners = np.concatenate((rows[:, 1:3] - rows[:, 3:] / 2, rows[:, 1:3] + rows[:, 3:] / 2), 1)
    assert corners.min() >= -2e-6
    assert corners.max() <= 1 + 2e-6
    assert set(rows[:, 0]) == set(range(len(shapes.SHAPES)))
    assert rows[:, 3:].min() < 0.15
    assert rows[:, 3:].max() > 0.5
    _, drawn = shapes.draw(np.random.default_rng((1, 0, 1)), SIZE)  # seed 1, the first part, picture 1
    assert [int(row[0]) for row in labels(made, "train")[0]] == [shape.kind for shape in drawn]


def test_every_shape_comes_in_every_colour_about_as_often():
    drawn = [shape for seed in range(150) for shape in shapes.draw(rng(seed), SIZE)[1]]
    counts = Counter((shape.kind, shape.colour) for shape in drawn)
    assert len(counts) == len(shapes.SHAPES) * len(shapes.COLOURS)
    assert min(counts.values()) > len(drawn) / len(counts) / 3


@pytest.mark.parametrize("seed", range(60))
def test_a_box_is_tight_around_the_pixels_that_a_shape_changes(seed, monkeypatch):
    monkeypatch.setattr(shapes, "background", lambda rng, size: Image.new("RGB", size, (128, 128, 128)))
    monkeypatch.setattr(shapes, "noisy", lambda rng, picture: picture)
    picture, (shape,) = shapes.draw(rng(seed), SIZE, most=1)
    changed = np.argwhere((np.asarray(picture) != 128).any(-1))  # rows and columns
    (top, left), (bottom, right) = changed.min(0), changed.max(0) + 1
    # A shape that covers less than a pixel's 1/64 does not change it.
    assert np.abs(np.array(shape.box) - (left, top, right, bottom)).max() <= 1 + 1 / shapes.FINER


def test_shapes_hide_little_of_others_and_none_of_their_own_colour():
    overlaps = 0
    for seed in range(60):
        _, drawn = shapes.draw(rng(seed), SIZE)
        masks = [solid(shape) for shape in drawn]
        for n, shape in enumerate(drawn):
            front = np.zeros_like(masks[n])
            for mask in masks[n + 1 :]:
                front |= mask
                overlaps += bool((mask & masks[n]).any())
            assert (masks[n] & front).sum() <= shapes.MOST_HIDDEN * masks[n].sum(), (seed, shape)
    assert overlaps > 30


def test_two_shapes_of_one_colour_never_lie_over_each_other(monkeypatch):
    monkeypatch.setattr(shapes, "COLOURS", {"red": 0.0})
    for seed in range(20):
        owners = np.zeros(SIZE[::-1], int)
        for shape in shapes.draw(rng(seed), SIZE)[1]:
            owners += solid(shape)
        assert owners.max() == 1


@pytest.mark.parametrize("kind", range(len(shapes.SHAPES)))
def test_a_shape_has_its_colour(kind, monkeypatch):
    picture, shape = next(
        found for found in (shapes.draw_one(rng(seed), SIZE) for seed in range(200)) if found[1].kind == kind
    )
    hsv = np.asarray(picture.convert("HSV"))[solid(shape)].astype(float) / 256
    hue = np.exp(2j * np.pi * hsv[:, 0]).mean()
    assert abs(np.angle(hue / np.exp(2j * np.pi * list(shapes.COLOURS.values())[shape.colour]))) < 2 * np.pi * 0.06


def test_a_shape_alone_is_large_and_in_the_middle():
    for seed in range(20):
        _, shape = shapes.draw_one(rng(seed), SIZE)
        left, top, right, bottom = shape.box
        assert abs((left + right) / 2 / SIZE[0] - 0.5) < 0.25
        assert abs((top + bottom) / 2 / SIZE[1] - 0.5) < 0.25
        assert max(right - left, bottom - top) > 0.25 * min(SIZE)


def test_a_tree_mixes_boxes_shapes_without_colour_and_pictures_without_boxes(tmp_path, monkeypatch):
    made = make(tmp_path / "a", monkeypatch, "--train", "120", "--valid", "20", "--tree")
    first_leaf = len(shapes.SHAPES)
    kinds = Counter()
    for rows in labels(made, "train"):
        leaves = rows[:, 0] >= first_leaf
        if (rows[:, 1:] == 0).all():
            assert len(rows) == 1
            assert leaves.all()
            kinds["class"] += 1
        else:
            assert (rows[:, 3:] > 0).all()
            assert leaves.all() or not leaves.any()
            kinds["colour" if leaves.all() else "shape"] += 1
    assert 12 <= kinds["class"] <= 36
    assert 12 <= kinds["shape"] <= 36
    valid = np.concatenate(labels(made, "valid"))
    assert (valid[:, 0] >= first_leaf).all()
    assert (valid[:, 3:] > 0).all()


def test_the_tree_has_the_colours_of_a_shape_below_it():
    classes = tool.Classes(tree=True)
    tree = WordTree.parse("\n".join(classes.lines))
    assert len(tree.names) == len(classes.names) == 6 + 6 * 4
    shape = shapes.Shape(shapes.SHAPES.index("star"), list(shapes.COLOURS).index("blue"), (0, 0, 1, 1), (0, 0), None)
    leaf = classes.label(shape, coloured=True)
    assert [classes.names[node] for node in tree.path(leaf)] == ["star", "blue star"]
    assert classes.names[classes.label(shape, coloured=False)] == "star"
    assert tool.Classes(tree=False).label(shape, coloured=True) == shape.kind


@pytest.mark.parametrize("tree", [False, True], ids=["shapes", "shapes9"])
def test_files_in_cfg_are_what_the_tool_writes(tree, tmp_path):
    classes = tool.Classes(tree)
    data = cfg.read_data(ROOT / "cfg" / f"{classes.stem}.data")
    assert data.names() == classes.names
    assert data.integer("classes", 0) == len(classes.names)
    assert [data.get(part) for part in ("train", "valid")] == [
        f"data/{classes.stem}/{part}.txt" for part in ("train", "valid")
    ]
    if tree:
        assert WordTree.read(ROOT / "cfg" / "shapes9.tree") == WordTree.parse("\n".join(classes.lines))


@pytest.mark.parametrize("name", ["shapes", "shapes9"])
def test_networks_are_small_yolov2s(name):
    graph = Graph.read(ROOT / "cfg" / f"{name}.cfg", strict=True)
    assert max(expected_bytes(graph)) < LIMIT
    assert {"reorg", "route"} <= {type(node.layer).__name__.lower() for node in graph.nodes}
    head = graph.heads[-1].layer
    assert isinstance(head, Region)
    assert head.num == 5
    assert len(head.anchors) == 10
    assert head.random
    assert head.classes == len(tool.Classes(name == "shapes9").names)
    assert (head.tree is not None) == (name == "shapes9")
    network = Network(graph, generator=torch.Generator().manual_seed(0)).eval()
    with torch.inference_mode():
        for side in (128, graph.net.width, 256):
            assert network(torch.rand(1, 3, side, side)).shape[-1] == side // 16


@pytest.mark.parametrize("arguments", [("--size", "31x40"), ("--size", "big"), ("--train", "-1"), ("--seed", "x")])
def test_wrong_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        tool.main(arguments)
    assert "expected" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["my_images", "JPEGImages"])
def test_a_folder_whose_labels_darknet_would_not_find_is_refused(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert tool.main(["--folder", folder, *COMMON]) == 1
    assert "choose another folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_an_error_of_one_line(tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    assert tool.main(["--folder", str(tmp_path / "taken"), *COMMON]) == 1
    assert capsys.readouterr().err.count("\n") == 1
