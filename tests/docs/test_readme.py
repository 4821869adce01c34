"""README, the documents beside it and the demo do what they say.

Pieces of Python and commands run in a folder where the files they name exist as small stand-ins: `yolov2.weights` there
is not the 195 MiB of the official file but the weights of a recorded network, beside the cfg of that network.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

import darknet_py
from darknet_py.cfg import read_list
from darknet_py.cli import VERBS, detector
from darknet_py.evaluate import measure
from darknet_py.pictures.video import VideoWriter
from tests.support.documents import DOCUMENTS, ROOT, blocks, commands, run, sessions, shell_lines, verb_of
from tests.support.places import GOLDEN
from tools import demo, record_golden
from tools.datasets import shapes as make_shapes

README, DOCS = ROOT / "README.md", ROOT / "docs"
USAGE, DESIGN, EXACTNESS = DOCS / "usage.md", DOCS / "design.md", DOCS / "exactness.md"
RUN = [README, USAGE, EXACTNESS, DOCS / "dialects.md", DOCS / "speed.md"]  # the others have tests of their own
SIZE = (640, 480)
STAND_INS = {
    "yolov2": "boxes/boxes_region",
    "yolo9000": "boxes/boxes_tree",
    "yolov1": "boxes/boxes_detection",
    "darknet19": "layers/avgpool_softmax",
}


def assert_in_order(wanted: list[str], text: str) -> None:
    lines = iter(text.splitlines())
    for line in wanted:
        assert line in lines, line


def draw_shapes() -> Image.Image:
    """Rectangles and ellipses on grey, in which the recorded networks find something."""
    picture = Image.new("RGB", SIZE, (120, 130, 125))
    pen = ImageDraw.Draw(picture)
    places = torch.rand(7, 6, generator=torch.Generator().manual_seed(219)).tolist()
    for n, (x, y, half, *colour) in enumerate(places):
        left, top, width, height = x * SIZE[0], y * SIZE[1], 80 + 160 * half, 60 + 130 * half
        box = (left - width / 2, top - height / 2, left + width / 2, top + height / 2)
        (pen.ellipse if n % 2 else pen.rectangle)(box, fill=tuple(int(20 + 216 * value) for value in colour))
    return picture


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """A folder with data/shapes and data/shapes9, a few pictures each."""
    place = tmp_path_factory.mktemp("shapes")
    for name, options in (("shapes", []), ("shapes9", ["--tree"])):
        folder = place / "data" / name
        sizes = ["--train", "8", "--valid", "4", "--size", "96x96"]
        assert make_shapes.main(["--folder", str(folder), *sizes, "--quiet", *options]) == 0
    return place


@pytest.fixture
def folder(tmp_path, monkeypatch, shapes):
    """The current folder, with a small stand-in for every file that the documents name."""
    shutil.copytree(ROOT / "cfg", tmp_path / "cfg")
    text = (ROOT / "cfg" / "shapes.cfg").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^(batch|max_batches)=.*$", r"\1=2", text)
    (tmp_path / "cfg" / "shapes.cfg").write_text(text, encoding="utf-8")
    for name, source in STAND_INS.items():
        shutil.copyfile(GOLDEN / f"{source}.cfg", tmp_path / "cfg" / f"{name}.cfg")
        shutil.copyfile(GOLDEN / f"{source}.weights", tmp_path / f"{name}.weights")
    names = (ROOT / "cfg" / "coco.names").read_text(encoding="utf-8").splitlines()[:4]
    (tmp_path / "cfg" / "coco.names").write_text("\n".join(names), encoding="utf-8")
    data = (ROOT / "cfg" / "coco.data").read_text(encoding="utf-8").replace("classes=80", "classes=4")
    (tmp_path / "cfg" / "coco.data").write_text(data, encoding="utf-8")
    shutil.copyfile(GOLDEN / "boxes" / "tiny.tree", tmp_path / "cfg" / "tiny.tree")
    shutil.copyfile(tmp_path / "yolov2.weights", tmp_path / "darknet19_448.conv.23")
    shutil.copytree(shapes / "data", tmp_path / "data")
    shutil.copytree(ROOT / "weights", tmp_path / "weights")
    (tmp_path / "backup").mkdir()
    shutil.copyfile(ROOT / "weights" / "shapes.weights", tmp_path / "backup" / "shapes_final.weights")
    for name in ("9k.names", "imagenet.shortnames.list"):
        (tmp_path / "data" / name).write_text("\n".join("abcdefghij"), encoding="utf-8")
    (tmp_path / "data" / "inet9k.map").write_text("3\n5\n7\n", encoding="utf-8")
    (tmp_path / "photos").mkdir()
    for suffix in ("cfg", "weights", "npz"):
        shutil.copyfile(GOLDEN / "layers" / f"passthrough.{suffix}", tmp_path / f"my.{suffix}")
    for name in ("dog.jpg", "photos/a.jpg", "photos/b.jpg"):
        draw_shapes().save(tmp_path / name)
    with VideoWriter(tmp_path / "street.mp4", (64, 48)) as video:
        video.write(torch.zeros(3, 48, 64, dtype=torch.uint8))
    (tmp_path / "list.txt").write_text("photos/a.jpg\nphotos/b.jpg\n", encoding="utf-8")
    monkeypatch.setattr(detector, "VOC_NAMES", detector.VOC_NAMES[:4])  # as many as the stand-in has classes
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("document", RUN, ids=lambda path: path.name)
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


@pytest.mark.parametrize("command", [command for path in RUN for command in commands(path)])
def test_commands_run(command, folder, monkeypatch, capsys):
    assert run(command, monkeypatch) == 0, capsys.readouterr().err


@pytest.mark.parametrize(("command", "output"), sessions(USAGE))
def test_output_is_that_of_the_recipe(command, output, monkeypatch, capsys):
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


def test_the_readme_is_short_and_the_index_has_every_document():
    assert len(README.read_text(encoding="utf-8").splitlines()) < 100
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    assert {path.name for path in DOCS.glob("*.md")} - {"README.md"} <= set(re.findall(r"\]\((\w+\.md)\)", index))


def test_the_numbers_of_recordings_are_those_that_lie_there():
    layers = len(list((GOLDEN / "layers").glob("*.npz")))
    steps = len(list((GOLDEN / "train").glob("*.npz"))) - 1  # region_tree was never updated
    heads = len(list((GOLDEN / "boxes").glob("*.npz")))
    for path, texts in (
        (README, (f"outputs of {layers} small networks", f"training in {steps} networks")),
        (EXACTNESS, (f"{layers} small networks", f"{steps} small networks", f"{heads} heads")),
    ):
        text = path.read_text(encoding="utf-8")
        assert [wanted for wanted in texts if wanted not in text] == []


def test_every_command_exists():
    for path in DOCUMENTS:
        for command in (*commands(path), *(command for command, _ in sessions(path))):
            assert verb_of(command) in VERBS, command


def test_recordings_are_made_as_shown(monkeypatch):
    monkeypatch.setattr(Path, "is_file", lambda path: True)
    lines = [line for path in DOCUMENTS for line in shell_lines(path) if "tools.record_golden" in line]
    assert lines
    for line in lines:
        assert record_golden.parse(shlex.split(line)[3:]).out.suffix == ".npz"


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


def test_the_demo_draws_its_picture(tmp_path, capsys):
    out = tmp_path / "drawn.png"
    assert demo.main(["--seed", "8", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert str(out) in text
    assert float(re.search(r"largest difference .*: (\S+)", text).group(1)) < 1e-4
    found, there = map(int, re.search(r"found (\d+) of the (\d+) shapes", text).groups())
    assert there >= 3
    assert found >= there - 1
    with Image.open(out) as drawn, Image.open(tmp_path / "shapes.png") as plain:
        assert drawn.size == plain.size
        assert drawn.tobytes() != plain.tobytes()


def test_the_demo_draws_another_picture_each_time(tmp_path, capsys):
    seeds = []
    for _ in range(2):
        assert demo.main(["--out", str(tmp_path / "drawn.png")]) == 0
        seeds.append(re.search(r"with seed (\d+)", capsys.readouterr().out).group(1))
    assert seeds[0] != seeds[1]


def test_the_demo_says_in_a_line_what_is_wrong(tmp_path, capsys):
    assert demo.main(["--out", str(tmp_path / "nowhere" / "drawn.png")]) == 1
    assert capsys.readouterr().err.startswith("demo: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["shapes", "shapes9"])
def test_weights_trained_here_find_shapes(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--train", "0", "--valid", "25", "--seed", "77", "--quiet", *["--tree"] * (name == "shapes9")]
    assert make_shapes.main(options) == 0
    file = ROOT / "weights" / f"{name}.weights"
    assert file.stat().st_size < 4 << 20
    model = darknet_py.load(ROOT / f"cfg/{name}.cfg", file)
    assert model.network.seen == 128_000
    scores = measure(model, read_list(f"data/{name}/valid.txt"))
    assert scores.mean_average_precision(iou=0.5, method="voc07") > 0.8
