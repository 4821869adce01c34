"""tools/demo.py draws a picture, finds what it drew, and shows commands that do the same."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageChops

from darknet_py.cli import main
from tools import demo

ROOT = Path(__file__).parents[2]

SEED = 1


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the demo in an empty folder and on the CPU; gives what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    def run(*arguments: str) -> str:
        assert demo.main(arguments) == 0
        return capsys.readouterr().out

    return run


def counts(text: str) -> list[tuple[int, ...]]:
    """How many shapes each detector found, and of how many."""
    return [tuple(map(int, pair)) for pair in re.findall(r"found (\d+) of the (\d+) shapes", text)]


def shapes_of(names: list[str]) -> list[str]:
    """The names without their colours."""
    return [name.split()[1] for name in names]


def steady(text: str) -> str:
    """The text without the times in it."""
    return re.sub(r"[0-9.]+ ?s(econds)?\b", "", text)


def test_the_demo_finds_what_it_drew(run, tmp_path):
    text = run("--seed", str(SEED))
    drawn = re.search("drawn, from back to front: (.*)", text).group(1).split(", ")
    for names, (found, truths) in zip((shapes_of(drawn), drawn), counts(text), strict=True):
        assert truths == len(drawn)
        assert 2 * found > truths
        printed = Counter(re.findall(rf"^({'|'.join(names)}): \d+%$", text, re.MULTILINE))
        assert 2 * (printed & Counter(names)).total() > truths
    assert float(re.search(r"largest difference .*: (\S+)", text).group(1)) < 1e-4
    with Image.open(tmp_path / "predictions.png") as boxes, Image.open(tmp_path / "shapes.png") as picture:
        assert boxes.size == picture.size == demo.SIZE
        assert ImageChops.difference(boxes, picture).getbbox()


def test_the_seed_decides_and_the_time_gives_it(run, tmp_path, monkeypatch):
    first = run("--seed", "5")
    picture = (tmp_path / "shapes.png").read_bytes()
    assert steady(run("--seed", "5")) == steady(first)
    assert (tmp_path / "shapes.png").read_bytes() == picture
    monkeypatch.setattr(demo.time, "time_ns", lambda: 123_456_000_000)
    text = run()
    assert "with seed 123456: " in text
    assert "--seed 123456\n" in text
    assert (tmp_path / "shapes.png").read_bytes() != picture


def test_its_commands_do_the_same(run, tmp_path, capsys):
    text = run("--seed", str(SEED), "--out", "found.png")
    before = (tmp_path / "found.png").read_bytes()
    commands = re.findall(r"^  (.* detector test .*)$", text, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        words = shlex.split(command)
        assert main(words[words.index("detector") :]) == 0
        for line in capsys.readouterr().out.splitlines()[1:]:
            assert line in text.splitlines()
    assert (tmp_path / "predictions.png").read_bytes() == before
    assert (tmp_path / "found9.png").is_file()


def test_a_missing_detector_is_said_in_a_line(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    assert demo.main([]) == 1
    text = capsys.readouterr()
    assert text.out == ""
    assert re.fullmatch(r"demo: weights/shapes\.weights is not here; .*weights/README\.md says\n", text.err)


@pytest.mark.parametrize("out", ["nowhere/found.png", ".", "found.nothing"])
def test_a_place_that_cannot_be_written_is_said_in_a_line(out, run, capsys):
    assert demo.main(["--seed", "0", "--out", out]) == 1
    assert re.fullmatch("demo: .*\n", capsys.readouterr().err)


def test_the_two_pictures_have_two_names(capsys):
    with pytest.raises(SystemExit, match="2"):
        demo.main(["--out", "somewhere/shapes.png"])
    assert "choose another name" in capsys.readouterr().err


def test_a_shape_counts_once_and_only_with_a_box_that_fits():
    corners = [(10.0, 10.0, 60.0, 60.0), (100.0, 100.0, 180.0, 160.0)]
    shapes = [demo.Shape(kind, 0, box, (0, 0), Image.new("L", (1, 1))) for kind, box in enumerate(corners)]
    boxes = torch.tensor([corners[0], corners[0], (150.0, 100.0, 230.0, 160.0), corners[1]])
    # The first twice, the second once beside its place; its place with another shape's name.
    found = demo.Detections(
        boxes.double(), torch.full((4,), 0.9), torch.tensor([0, 0, 1, 2]), ("",) * 4, demo.SIZE
    )  # fmt: skip
    assert demo.verdict(demo.SHAPES, found, shapes) == "found 1 of the 2 shapes; 3 boxes are wrong"


def test_with_a_tree_shapes_and_their_colours_are_counted():
    box = (10.0, 10.0, 60.0, 60.0)
    names = demo.SHAPES9.classes.names
    ring = demo.Shape(names.index("ring"), list(demo.COLOURS).index("blue"), box, (0, 0), Image.new("L", (1, 1)))
    wanted = {
        "blue ring": "found 1 of the 1 shapes, 1 with the right colour; 0 boxes are wrong",
        "red ring": "found 1 of the 1 shapes, 0 with the right colour; 0 boxes are wrong",
        "ring": "found 1 of the 1 shapes, 0 with the right colour; 0 boxes are wrong",
        "blue cross": "found 0 of the 1 shapes, 0 with the right colour; 1 box is wrong",
        "ellipse": "found 0 of the 1 shapes, 0 with the right colour; 1 box is wrong",
    }
    for name, verdict in wanted.items():
        label = torch.tensor([names.index(name)])
        found = demo.Detections(torch.tensor([box]).double(), torch.ones(1), label, (name,), demo.SIZE)
        assert demo.verdict(demo.SHAPES9, found, [ring]) == verdict, name
