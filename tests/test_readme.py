"""README, recipes and the demo do what they say.

Pieces of Python and commands run in a folder where the files they name exist as small stand-ins: `yolov2.weights` there
is not the 195 MiB of the official file but the weights of a recorded network, beside the cfg of that network.
"""

from __future__ import annotations

import importlib.util
import io
import json
import re
import shlex
import shutil
import warnings
from argparse import ArgumentParser
from pathlib import Path
from types import ModuleType

import pytest
from conftest import GOLDEN
from PIL import Image

import darknet_py
from darknet_py.cli import VERBS, main
from darknet_py.download import MODELS

ROOT = Path(__file__).parents[1]
README, USAGE, DESIGN = ROOT / "README.md", ROOT / "docs" / "usage.md", ROOT / "docs" / "design.md"
DOCUMENTS = [
    path for folder in (".", "docs", "weights", "tests/golden") for path in sorted((ROOT / folder).glob("*.md"))
]
STAND_INS = {
    "yolov2": "boxes/boxes_region",
    "yolo9000": "boxes/boxes_tree",
    "yolov1": "boxes/boxes_detection",
    "darknet19": "layers/avgpool_softmax",
}


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a document in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(path: Path) -> list[str]:
    """The lines with our command in the shell blocks of a document, without their comments."""
    lines = [line.partition(" #")[0].strip() for block in blocks(path, "sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("darknet-py ")]


def verb_of(command: str) -> str:
    words = shlex.split(command)[1:3]
    return " ".join(words) if " ".join(words) in VERBS else words[0]


def sessions(path: Path) -> list[tuple[str, list[str]]]:
    """The commands in the console blocks of a document, each with the lines of output shown below it."""
    parts = [part for block in blocks(path, "console") for part in block.removeprefix("$ ").split("\n$ ")]
    return [(part.splitlines()[0], part.splitlines()[1:]) for part in parts]


def assert_in_order(wanted: list[str], text: str) -> None:
    lines = iter(text.splitlines())
    for line in wanted:
        assert line in lines, line


def run(command: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a command, which may take a file as its input."""
    command, _, source = command.partition(" < ")
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main puts its own there
    if source:
        monkeypatch.setattr("sys.stdin", io.StringIO(Path(source).read_text(encoding="utf-8")))
    return main(shlex.split(command)[1:])


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    """tools/demo.py as a module."""
    spec = importlib.util.spec_from_file_location("demo", ROOT / "tools" / "demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path, monkeypatch, demo):
    """The current folder, with a small stand-in for every file that the documents name."""
    shutil.copytree(ROOT / "cfg", tmp_path / "cfg")
    for name, source in STAND_INS.items():
        shutil.copyfile(GOLDEN / f"{source}.cfg", tmp_path / "cfg" / f"{name}.cfg")
        shutil.copyfile(GOLDEN / f"{source}.weights", tmp_path / f"{name}.weights")
    names = (ROOT / "cfg" / "coco.names").read_text(encoding="utf-8").splitlines()[:4]
    (tmp_path / "cfg" / "coco.names").write_text("\n".join(names), encoding="utf-8")
    data = (ROOT / "cfg" / "coco.data").read_text(encoding="utf-8").replace("classes=80", "classes=4")
    (tmp_path / "cfg" / "coco.data").write_text(data, encoding="utf-8")
    shutil.copyfile(GOLDEN / "boxes" / "tiny.tree", tmp_path / "cfg" / "tiny.tree")
    shutil.copyfile(tmp_path / "yolov2.weights", tmp_path / "darknet19_448.conv.23")
    (tmp_path / "data").mkdir()
    for name in ("9k.names", "imagenet.shortnames.list"):
        (tmp_path / "data" / name).write_text("\n".join("abcdefghij"), encoding="utf-8")
    (tmp_path / "data" / "inet9k.map").write_text("3\n5\n7\n", encoding="utf-8")
    (tmp_path / "photos").mkdir()
    for name in ("dog.jpg", "photos/a.jpg", "photos/b.jpg"):
        demo.draw_shapes(demo.torch.Generator().manual_seed(demo.SEED)).save(tmp_path / name)
    (tmp_path / "list.txt").write_text("photos/a.jpg\nphotos/b.jpg\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("document", [README, USAGE], ids=lambda path: path.name)
def test_python_runs(document, folder, capsys):
    names = {"__name__": "__main__"}
    pieces = blocks(document, "python")
    assert pieces
    for piece in pieces:
        exec(compile(piece, document.name, "exec"), names)
        assert_in_order(re.findall(r"^ *# prints: (.*)$", piece, re.MULTILINE), capsys.readouterr().out)


def test_the_example_is_short():
    (example,) = blocks(README, "python")
    assert example.count("\n") < 15


@pytest.mark.parametrize("command", [*commands(README), *commands(USAGE)])
def test_commands_run(command, folder, monkeypatch, capsys):
    if verb_of(command) == "download":  # what it fetches is tested with a server of our own
        parser = ArgumentParser()
        VERBS["download"].arguments(parser)
        assert set(parser.parse_args(shlex.split(command)[2:]).names) <= MODELS.keys()
        return
    assert run(command, monkeypatch) == 0, capsys.readouterr().err


@pytest.mark.parametrize(("command", "output"), sessions(README))
def test_output_is_that_of_the_readme(command, output, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    run(command, monkeypatch)
    assert_in_order([line for line in output if line != "..."], capsys.readouterr().out)


def test_json_is_that_of_the_recipe(folder, monkeypatch, capsys):
    (shown,) = map(json.loads, blocks(USAGE, "json"))
    (command,) = (line for line in commands(USAGE) if line.endswith(" --json") and verb_of(line) == "detect")
    run(command, monkeypatch)
    printed = json.loads(capsys.readouterr().out)
    assert printed.keys() == shown.keys()
    assert printed["filename"] == shown["filename"]
    assert (printed["width"], printed["height"]) == (shown["width"], shown["height"])
    (row,) = shown["objects"]
    found = min(printed["objects"], key=lambda found: abs(found["box"][0] - row["box"][0]))
    assert found.keys() == row.keys()
    assert (found["class_id"], found["name"]) == (row["class_id"], row["name"])
    for key in ("confidence", "box", "relative_coordinates"):
        assert found[key] == pytest.approx(row[key], rel=1e-2), key  # JPEG decoders differ


def test_files_of_the_recipes_are_written(folder, monkeypatch):
    (command,) = (line for line in commands(USAGE) if "--crop" in line)
    run(f"{command} -thresh 0.2", monkeypatch)
    names = {path.name for path in (folder / "found").iterdir()}
    assert {"a.png", "a.txt", "b.png", "b.txt"} < names
    assert any(re.fullmatch(r"a_0_[a-z]+\.png", name) for name in names)
    label, *numbers = (folder / "found" / "a.txt").read_text(encoding="utf-8").splitlines()[0].split()
    assert label.isdigit()
    assert len(numbers) == 4


def test_the_readme_names_every_command():
    shown = {verb_of(command) for command in commands(README)}
    listed = set(re.findall(r"`([a-z0-9 ]+)`", README.read_text(encoding="utf-8")))
    assert shown <= VERBS.keys() <= shown | listed
    for path in DOCUMENTS:
        for command in (*commands(path), *(command for command, _ in sessions(path))):
            assert verb_of(command) in VERBS, command


def test_every_make_target_is_there():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    shell = "".join(block for path in DOCUMENTS for block in blocks(path, "sh"))
    named = set(re.findall(r"^make (\w+)", shell, re.MULTILINE))
    assert {"demo", "test"} <= named <= set(targets)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (path.parent / target).exists(), target


def test_every_module_has_its_place_in_the_design():
    text = DESIGN.read_text(encoding="utf-8")
    package = Path(darknet_py.__file__).parent
    rooms = {path.name + "/" * path.is_dir() for path in package.iterdir() if path.suffix == ".py" or path.is_dir()}
    for room in rooms - {"__pycache__/"}:
        assert re.search(rf"`(darknet_py/)?{re.escape(room)}", text), f"{room} has no line in docs/design.md"


def test_the_demo_draws_its_picture(demo, tmp_path, capsys):
    out = tmp_path / "drawn.png"
    assert demo.main(["--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert str(out) in text
    assert "mean nothing" in text
    assert float(re.search(r"largest difference .*: (\S+)", text).group(1)) < 1e-4
    shapes = demo.draw_shapes(demo.torch.Generator().manual_seed(demo.SEED))
    with Image.open(out) as drawn:
        assert drawn.size == shapes.size
        assert drawn.tobytes() != shapes.tobytes()


def test_the_demo_says_in_a_line_what_is_wrong(demo, tmp_path, capsys):
    assert demo.main(["--out", str(tmp_path / "nowhere" / "drawn.png")]) == 1
    assert capsys.readouterr().err.startswith("demo: ")
    assert list(tmp_path.iterdir()) == []
