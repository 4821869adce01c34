"""The command line: arguments, printed lines, files and exit codes; below, `files.replacing`, which writes files."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import darknet_py
from darknet_py import files, weights
from darknet_py.cli import VERBS, main
from darknet_py.pictures.draw import draw_detections
from tests.support.places import GOLDEN
from tests.support.recordings import load_network, use_cpu_formula

BOXES, LAYERS = GOLDEN / "boxes", GOLDEN / "layers"
TEST = ["detector", "test", "four.data", "boxes_region.cfg", "boxes_region.weights"]
PREDICT = ["classifier", "predict", "ten.data", "avgpool_softmax.cfg", "avgpool_softmax.weights"]

# What upstream's CPU build prints for picture.png: with region at .36, [yolo] at .38, logistic classes at .46.
REGION_LINES = "d: 38%|d: 38%|d: 37%|d: 37%|d: 36%|d: 36%"
YOLO_LINES = (
    "a: 49%|d: 41%|c: 40%|a: 45%|d: 39%|a: 43%|d: 38%|c: 41%|a: 50%|a: 50%|a: 50%|a: 44%|a: 44%|a: 43%|a: 43%|a: 43%|"
    "a: 42%|a: 41%|a: 40%|a: 40%|a: 40%|a: 40%|a: 40%|a: 40%|a: 39%|a: 39%"
)
SIGMOID_LINES = (
    "a: 47%|d: 48%|a: 51%|d: 48%|d: 47%|d: 47%|c: 54%|a: 50%|c: 52%|c: 51%|c: 51%|a: 48%|c: 49%|a: 49%|c: 49%|c: 49%|"
    "c: 48%|c: 48%|c: 48%|c: 48%|a: 51%|c: 48%|c: 47%|c: 47%|c: 47%|c: 47%|a: 48%|a: 49%|c: 47%|c: 46%|a: 51%|a: 49%|"
    "a: 48%|a: 47%|a: 46%"
)
CLASS_LINES = (
    "25.88%: n5|11.80%: n7| 8.99%: n6| 8.81%: n2| 8.40%: n9| 7.75%: n0| 7.44%: n8| 7.13%: n1| 7.00%: n3| 6.78%: n4"
)

ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
STRICT = {**ENVIRONMENT, "PYTHONIOENCODING": "utf-8:strict"}


@pytest.fixture(scope="module")
def kit(tmp_path_factory) -> Path:
    """A folder with everything a command needs; the weights give the numbers of the C program's CPU build."""
    folder = tmp_path_factory.mktemp("kit")
    for name in ("boxes_region", "boxes_region_sigmoid", "boxes_yolo", "boxes_detection"):
        copy_network(BOXES / name, folder)
    copy_network(LAYERS / "avgpool_softmax", folder)
    (folder / "four.names").write_text("a\nb\nc\nd\n")
    (folder / "four.data").write_text("classes=4\nnames=four.names\n")
    (folder / "ten.names").write_text("".join(f"n{n}\n" for n in range(10)))
    (folder / "ten.data").write_text("names=ten.names\ntop=3\n")
    y, x, c = np.mgrid[0:40, 0:60, 0:3]
    picture(folder / "picture.png", x * x * 3 + y * 37 * (c + 1) + c * 90 + x * y)
    return folder


def copy_network(source: Path, folder: Path) -> None:
    shutil.copy(source.with_suffix(".cfg"), folder)
    network = load_network(source.with_suffix(".cfg"), source.with_suffix(".weights"))
    use_cpu_formula(network)
    weights.save(network, folder / f"{source.name}.weights")


def picture(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((values % 256).astype(np.uint8)).save(path)
    return path


def noise(path: Path, seed: int = 0, size: tuple[int, ...] = (30, 40, 3)) -> Path:
    return picture(path, np.random.default_rng(seed).integers(0, 256, size))


def pixels_of(path: Path) -> bytes:
    with Image.open(path) as image:
        return image.convert("RGB").tobytes()


@pytest.fixture
def here(kit, tmp_path, monkeypatch) -> Path:
    """A folder of one's own with the kit in it, and the current one."""
    shutil.copytree(kit, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(here, capsys):
    """Runs a command: exit code, lines of stdout, lines of stderr."""

    def run(*arguments: object) -> tuple[int, list[str], list[str]]:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return run


def shell(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "darknet_py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


def bare(lines: list[str]) -> list[str]:
    """Lines without the times."""
    return [line.split(" in ")[0] if "Predicted in" in line else line for line in lines]


# The C program's lines


@pytest.mark.parametrize(
    ("name", "thresh", "lines"),
    [
        ("boxes_region", 0.36, REGION_LINES),
        ("boxes_yolo", 0.38, YOLO_LINES),
        ("boxes_region_sigmoid", 0.46, SIGMOID_LINES),
    ],
)
def test_detector_test_prints_the_lines_of_the_c_program(run, name, thresh, lines):
    code, out, err = run(
        "detector", "test", "four.data", f"{name}.cfg", f"{name}.weights", "picture.png", "-thresh", thresh
    )
    assert (code, err) == (0, [])
    assert out[1:] == lines.split("|")
    words = out[0].split()
    assert (words[:3], words[4]) == (["picture.png:", "Predicted", "in"], "seconds.")
    assert len(words[3].split(".")[1]) == 6
    float(words[3])


def test_classifier_predict_prints_the_lines_of_the_c_program(run):
    code, out, err = run(*PREDICT, "picture.png", "-t", 10)
    assert (code, out) == (0, CLASS_LINES.split("|"))
    assert bare(err) == ["picture.png: Predicted"]  # there, times go to stderr


def test_how_many_classes(run, here):
    assert run(*PREDICT, "picture.png")[1] == CLASS_LINES.split("|")[:3]  # top=3 in the .data file
    assert run(*PREDICT, "picture.png", "-t", 2)[1] == CLASS_LINES.split("|")[:2]
    assert run(*PREDICT, "picture.png", "-t", 99)[1] == CLASS_LINES.split("|")
    (here / "ten.data").write_text("names=ten.names\n")
    assert run(*PREDICT, "picture.png")[1] == CLASS_LINES.split("|")[:1]
    (here / "ten.data").write_text("names=ten.names\ntop=-1\n")
    assert run(*PREDICT, "picture.png") == (1, [], ["darknet-py: top is -1; it must be 1 or more"])


@pytest.mark.parametrize(
    "arguments",
    [
        [*TEST, "picture.png", "-thresh", "0.36"],
        [*TEST, "picture.png", "--thresh", "0.36"],
        [*TEST, "picture.png", "-thresh=0.36"],
        [*TEST[:2], "-thresh", ".36", *TEST[2:], "picture.png"],
        [*TEST[:3], "-thresh", ".36", TEST[3], "-nogpu", TEST[4], "-nms", "0.45", "picture.png", "-hier", "0.5"],
        [*TEST, "-i", "-1", "picture.png", "--thresh=0.36"],
        ["-nogpu", *TEST, "picture.png", "-thresh", "0.36"],
        ["-i", "-1", *TEST, "picture.png", "-thresh", "0.36"],
        [*TEST, "-thresh", "0.36", "--", "picture.png"],
    ],
)
def test_options_stand_anywhere(run, arguments):
    assert run(*arguments)[1][1:] == REGION_LINES.split("|")


def test_the_thresholds(run):
    wanted = darknet_py.load("boxes_region.cfg", "boxes_region.weights", device="cpu")
    for options in ({"thresh": 0.3}, {"thresh": 0.3, "nms": 0.0}, {"thresh": 0.25, "nms": 0.2}):
        arguments = [text for key, value in options.items() for text in (f"-{key}", value)]
        assert len(run(*TEST, "picture.png", *arguments)[1]) == 1 + len(wanted.detect("picture.png", **options))
    assert run(*TEST, "picture.png", "-thresh", 1)[1][1:] == []
    assert run(*TEST, "picture.png")[1][1:] == []  # .5


def test_hier_goes_to_the_tree(run):
    shutil.copy(BOXES / "tiny.tree", "tiny.tree")
    shutil.copy(BOXES / "boxes_tree.cfg", "boxes_tree.cfg")
    arguments = ["detector", "test", "ten.data", "boxes_tree.cfg", BOXES / "boxes_tree.weights", "picture.png"]
    roots = {line.split(":")[0] for line in run(*arguments)[1][1:]}
    assert roots <= {"n0", "n1", "n2"}
    assert {line.split(":")[0] for line in run(*arguments, "-hier", 0)[1][1:]} & {"n8", "n9"}


def test_detect_takes_coco(run, here):
    arguments = ["boxes_region.cfg", "boxes_region.weights", "picture.png", "-thresh", "0.36"]
    names = {"a": "person", "b": "bicycle", "c": "car", "d": "motorbike"}  # as they come with the package
    assert run("detect", *arguments, "--names-anyway")[1][1:] == [
        f"{names[line[0]]}{line[1:]}" for line in REGION_LINES.split("|")
    ]
    (here / "cfg").mkdir()
    (here / "cfg" / "coco.data").write_text("names=four.names\n")
    assert run("detect", *arguments)[1][1:] == REGION_LINES.split("|")


def test_detect_finds_coco_beside_the_cfg(run, here, monkeypatch):
    (here / "cfg").mkdir()
    (here / "cfg" / "coco.data").write_text("names=four.names\n")
    shutil.move("boxes_region.cfg", "cfg")
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    arguments = ["../cfg/boxes_region.cfg", "../boxes_region.weights", "../picture.png", "-thresh", "0.36"]
    assert run("detect", *arguments)[1][1:] == REGION_LINES.split("|")


def test_yolo_test_names_the_classes_of_voc(run):
    network = ("boxes_detection.cfg", "boxes_detection.weights")
    code, out, _ = run("yolo", "test", *network, "picture.png", "--names-anyway")
    names = ("aeroplane", "bicycle", "bird", "boat")
    model = darknet_py.load("boxes_detection.cfg", "boxes_detection.weights", names=names, device="cpu")
    found = model.detect("picture.png", thresh=0.2, nms=0.4)  # its own defaults
    assert code == 0
    assert len(found)
    lines = [f"{name}: {score * 100:.0f}%" for name, score in zip(found.names, found.scores.tolist(), strict=True)]
    assert sorted(out[1:]) == sorted(lines)


def test_classify_takes_imagenet_and_gives_five(run, here):
    (here / "cfg").mkdir()
    (here / "cfg" / "imagenet1k.data").write_text("labels=ten.names\ntop=1\n")  # `labels` where there are no names
    _, out, _ = run("classify", "avgpool_softmax.cfg", "avgpool_softmax.weights", "picture.png")
    assert out == CLASS_LINES.split("|")[:5]


def test_a_class_without_a_name_is_a_number(run, here):
    (here / "four.data").write_text("classes=4\n")
    assert run(*TEST, "picture.png", "-thresh", 0.36)[1][1:] == REGION_LINES.replace("d", "3").split("|")


# Pictures


def test_without_pictures_it_asks(run, here, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("picture.png\n\nno.png\r\npicture.png"))
    code, out, err = run(*TEST, "-thresh", 0.36)
    blocks = "\n".join(bare(out)).split("Enter Image Path: ")
    answer = "\n".join(["picture.png: Predicted", *REGION_LINES.split("|")])
    assert [block.strip() for block in blocks] == ["", answer, "", "", answer, ""]
    assert (code, err) == (1, ["darknet-py: no.png: No such file or directory"])
    assert (here / "predictions.png").exists()


def test_it_answers_before_it_asks_again(here):
    process = subprocess.Popen(
        [sys.executable, "-m", "darknet_py", *PREDICT, "-t", "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, bufsize=1,
    )  # fmt: skip
    with process:
        for _ in range(2):
            assert process.stdout.read(len("Enter Image Path: ")) == "Enter Image Path: "
            process.stdin.write("picture.png\n")
            assert process.stdout.readline() == "25.88%: n5\n"
        process.stdin.close()
        assert process.stdout.read() == "Enter Image Path: \n"
    assert process.returncode == 0


def test_folders_lists_and_pictures(run, here):
    for n, name in enumerate(("b.JPG", "a.png", "sub/c.png", "notes.md", ".hidden")):
        noise(here / "folder" / f"{name}.png", n).rename(here / "folder" / name)
    (here / "my list.txt").write_text("picture.png\n\n  folder/sub/c.png  \r\n")
    code, out, err = run(*TEST, "folder", "my list.txt", "picture.png")
    seen = [line.split(": Predicted")[0] for line in out if "Predicted" in line]
    assert seen == ["folder/a.png", "folder/b.JPG", "picture.png", "folder/sub/c.png", "picture.png"]
    assert (code, err) == (0, [])
    names = ["a.png", "b.png", "c.png", "picture.png", "picture_2.png"]
    assert sorted(path.name for path in (here / "predictions").iterdir()) == names


def test_one_by_one_and_together_it_finds_the_same(run, here):
    paths = [noise(here / "in" / f"{n}.png", n, (20 + n, 40 - n, 3)) for n in range(5)]
    together = run(*TEST, *paths, "-thresh", 0.3, "-batch", 3, "--json")[1]
    single = [run(*TEST, path, "-thresh", 0.3, "--json")[1][0] for path in paths]
    for a, b in zip(map(json.loads, together), map(json.loads, single), strict=True):
        assert a["filename"] == b["filename"]
        assert len(a["objects"]) == len(b["objects"])
        for one, other in zip(a["objects"], b["objects"], strict=True):
            assert (one["name"], one["confidence"]) == (other["name"], pytest.approx(other["confidence"], abs=1e-5))
            assert one["box"] == pytest.approx(other["box"], abs=0.05)


@pytest.mark.parametrize("command", [TEST, PREDICT])
def test_a_picture_that_cannot_be_read_does_not_stop_the_rest(run, here, command):
    (here / "broken.png").write_bytes((here / "picture.png").read_bytes()[:600])
    (here / "text.jpg").write_text("no picture")
    code, out, err = run(*command, "picture.png", "no such.png", "broken.png", "text.jpg", "picture.png")
    complaints = [line for line in err if "Predicted" not in line]
    assert code == 1
    assert len([line for line in (*out, *err) if "Predicted" in line]) == 2
    assert [line.split(": ")[:2] for line in complaints] == [
        ["darknet-py", name] for name in ("no such.png", "broken.png", "text.jpg")
    ]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (["empty"], "empty: there are no pictures in this folder"),
        (["no.txt"], "no.txt: cannot be read: No such file or directory"),
        (["empty.txt"], "empty.txt: the list is empty"),
    ],
)
def test_nothing_to_look_at(run, here, images, message):
    (here / "empty").mkdir()
    (here / "empty" / "readme").touch()
    (here / "empty.txt").write_text("\n\n")
    assert run(*TEST, *images) == (1, [], [f"darknet-py: {message}"])


@pytest.mark.skipif(os.name == "nt", reason="these names are not possible there")
@pytest.mark.parametrize(
    "name", ["with blank.png", "'quoted' \"twice\".png", "ünïcode 图片.png", "$HOME;*.png", "a\nb.png"]
)
def test_file_names_of_every_kind(here, run, name):
    shutil.copy("picture.png", name)
    (here / "my cfg é").mkdir()
    shutil.copy("boxes_region.cfg", "my cfg é/it's.cfg")
    arguments = [*TEST[:3], "my cfg é/it's.cfg", TEST[4], name, "-thresh", "0.36", "-out", f"out {name}"]
    code, out, err = run(*arguments)
    assert (code, err) == (0, [])
    assert "\n".join(out).startswith(f"{name}: Predicted")
    assert out[-6:] == REGION_LINES.split("|")
    assert (here / f"out {name}").exists()
    (here / name).unlink()
    code, _, err = run(*arguments)
    assert (code, len(err)) == (1, 1)  # one line, even for a name of two


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text there")
def test_file_names_that_are_no_text(here):
    name = os.fsdecode(b"caf\xe9.png")
    shutil.copy("picture.png", name)
    by_argument = shell(*TEST, name, "-thresh", "0.36", env=STRICT)
    asked = subprocess.run(
        [sys.executable, "-m", "darknet_py", *TEST, "-thresh", "0.36"], input=b"caf\xe9.png\n", capture_output=True,
        timeout=60, check=False, env=STRICT,
    )  # fmt: skip
    assert (by_argument.returncode, asked.returncode) == (0, 0), (by_argument.stderr, asked.stderr)
    assert by_argument.stdout.startswith("caf\\udce9.png: Predicted")
    assert asked.stdout.decode().splitlines()[1:-1] == REGION_LINES.split("|")


def test_names_that_the_terminal_cannot_show(here):
    (here / "four.names").write_text("a\nb\nc\nä→\n", encoding="utf-8")
    result = shell(*TEST, "picture.png", "-thresh", "0.375", env={**ENVIRONMENT, "PYTHONIOENCODING": "ascii"})
    assert (result.returncode, result.stderr) == (0, "")
    assert "\\xe4\\u2192: 38%" in result.stdout.splitlines()


# Files


def test_where_the_drawing_goes(run, here):
    (here / "folder").mkdir()
    for out, path in (
        (None, "predictions.png"), ("one", "one.png"), ("two.jpg", "two.jpg"), ("folder", "folder/picture.png"),
        ("folder/three", "folder/three.png"), (".", "picture_2.png"),
    ):  # fmt: skip
        before = (here / "picture.png").read_bytes()
        assert run(*TEST, "picture.png", *(["-out", out] if out else []))[0] == 0
        with Image.open(here / path) as drawn:
            assert drawn.size == (60, 40)
        assert (here / "picture.png").read_bytes() == before


def test_the_drawing_has_the_names_of_the_classes(run, here):
    run(*TEST[:3], "boxes_yolo.cfg", "boxes_yolo.weights", "picture.png", "-thresh", 0.38)
    found = darknet_py.load("boxes_yolo.cfg", "boxes_yolo.weights", device="cpu").detect("picture.png", thresh=0.38)
    assert set(found.names) == {"0", "2", "3"}
    with Image.open("picture.png") as image, Image.open("predictions.png") as drawn:
        wanted = draw_detections(image, found.boxes, found.labels, found.scores, tuple("abcd"), classes=4)
        np.testing.assert_array_equal(np.asarray(drawn), np.asarray(wanted))


def test_no_two_pictures_overwrite_each_other(run, here):
    paths = [noise(here / name, n) for n, name in enumerate(("1/x.png", "2/x.png", "3/x_2.png", "4/x.bmp", "4/X.png"))]
    run(*TEST, *paths, "-out", "out", "-thresh", 1)
    seen = sorted((here / "out").iterdir())
    assert len(seen) == len(paths)
    assert {pixels_of(path) for path in seen} == {pixels_of(path) for path in paths}  # nothing found, nothing drawn


def test_pictures_that_were_given_are_not_overwritten(run, here):
    paths = [noise(here / "in" / f"{n}.png", n) for n in range(2)]
    before = [path.read_bytes() for path in paths]
    run(*TEST, "in", "-out", "in", "-thresh", 0.3, "--crop", "--save-labels")
    assert [path.read_bytes() for path in paths] == before
    assert {"0_2.png", "0_2.txt", "1_2.png", "1_2.txt"} <= {path.name for path in (here / "in").iterdir()}


def test_labels_are_class_centre_and_size(run, here):
    run(*TEST, "picture.png", "-thresh", 0.36, "--save-labels", "-out", "drawn.png")
    rows = [line.split() for line in (here / "drawn.txt").read_text().splitlines()]
    found = darknet_py.load(TEST[3], TEST[4], device="cpu").detect("picture.png", thresh=0.36)
    wanted = {tuple(f"{n:.6f}" for n in row["relative_coordinates"].values()) for row in found.to_dicts()}
    assert {row[0] for row in rows} == {"3"}
    assert {tuple(row[1:]) for row in rows} == wanted
    run(*TEST, "picture.png", "-thresh", 1, "-save-labels", "-out", "drawn.png")
    assert (here / "drawn.txt").read_text() == ""


def test_crops_are_what_lies_in_the_boxes(run, here):
    (here / "four.names").write_text("a\nb\nc\nd/ä \n")
    run(*TEST, "picture.png", "-thresh", 0.36, "--crop", "--json", "-out", "drawn.png")
    found = darknet_py.load(TEST[3], TEST[4], device="cpu").detect("picture.png", thresh=0.36)
    with Image.open("picture.png") as image:
        whole = np.asarray(image)
    for n, box in enumerate(found.boxes.tolist()):
        left, top, right, bottom = (round(min(max(v, 0), end)) for v, end in zip(box, (60, 40) * 2, strict=True))
        with Image.open(f"drawn_{n}_d_ä.png") as part:
            np.testing.assert_array_equal(np.asarray(part), whole[top:bottom, left:right])


def test_crops_and_drawings_do_not_overwrite_each_other(run, here):
    noise(here / "1" / "x.png", 1)
    shutil.copytree("1", "2")
    shutil.copy("1/x.png", "2/x_0_d.png")  # what a crop of x.png is called
    found = json.loads(run(*TEST, "1", "2", "-thresh", 0.3, "--crop", "--json", "-out", "out")[1][0])["objects"]
    assert found
    written = list((here / "out").iterdir())
    assert len(written) == 3 * (1 + len(found))


def test_boxes_without_end_can_be_cropped(run, here):
    network = load_network(here / TEST[3], here / TEST[4])
    network.layers[2].conv.bias.data.fill_(200)
    weights.save(network, here / TEST[4])
    code, _, err = run(*TEST, "picture.png", "-thresh", 0.45, "--crop", "--save-labels")
    assert (code, err) == (0, [])
    assert json.loads(run(*TEST, "picture.png", "-thresh", 0.45, "--json")[1][0])["objects"]


@pytest.mark.parametrize("channels", [1, 4])
def test_networks_of_other_channels_draw_too(run, here, channels):
    cfg = Path("boxes_region.cfg").read_text().replace("channels=3", f"channels={channels}")
    Path("other.cfg").write_text(cfg)
    weights.save(darknet_py.load("other.cfg", device="cpu").network, "other.weights")
    arguments = [*TEST[:3], "other.cfg", "other.weights", "picture.png", "-thresh", "0.1", "--crop"]
    assert run(*arguments)[::2] == (0, [])
    with Image.open("predictions.png") as drawn:
        assert drawn.mode == "RGB"


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("no/such/folder.png", "no/such/folder.png: No such file or directory"),
        ("four.data/x.png", "four.data/x.png: Not a directory"),
        ("drawn.xyz", "drawn.xyz: no picture format has the suffix '.xyz'; use .png or .jpg"),
    ],
)
def test_a_drawing_that_cannot_be_written(run, out, message):
    code, _, err = run(*TEST, "picture.png", "-out", out)
    assert (code, err) == (1, [f"darknet-py: {message}"])


def test_a_folder_that_cannot_be_made(run):
    code, _, err = run(*TEST, "picture.png", "picture.png", "-out", "four.data")
    assert (code, err) == (1, ["darknet-py: four.data: File exists"])
    code, _, err = run(*TEST, "picture.png", "--json", "--save-labels", "-out", "no/such/x.png")
    assert (code, err) == (1, ["darknet-py: no/such/x.png: No such file or directory"])


# JSON


def test_json_is_an_object_a_picture_and_nothing_else(run, here):
    code, out, err = run(*TEST, "picture.png", "no.png", "-thresh", 0.36, "--json")
    good, bad = map(json.loads, out)
    assert (code, err) == (1, ["darknet-py: no.png: No such file or directory"])
    assert bad == {"filename": "no.png", "error": "no.png: No such file or directory"}
    assert (good["filename"], good["width"], good["height"]) == ("picture.png", 60, 40)
    assert good["seconds"] > 0
    found = darknet_py.load(TEST[3], TEST[4], names=tuple("abcd"), device="cpu").detect("picture.png", thresh=0.36)
    assert [row["name"] for row in good["objects"]] == list(found.names)
    confidences = [row["confidence"] for row in good["objects"]]
    assert confidences == sorted(confidences, reverse=True)
    assert confidences == pytest.approx(found.scores.tolist())
    assert not (here / "predictions").exists()
    assert not (here / "predictions.png").exists()


def test_json_of_classes(run):
    code, out, err = run(*PREDICT, "picture.png", "no.png", "--json")
    good, bad = map(json.loads, out)
    assert (code, err) == (1, ["darknet-py: no.png: No such file or directory"])
    assert [row["name"] for row in good["classes"]] == ["n5", "n7", "n6"]
    assert good["classes"][0]["probability"] == pytest.approx(0.2588, abs=1e-4)
    assert set(bad) == {"filename", "error"}


@pytest.mark.parametrize("command", [TEST, PREDICT])
def test_json_of_pictures_that_are_asked_for(run, monkeypatch, command):
    monkeypatch.setattr(sys, "stdin", io.StringIO("picture.png\npicture.png\n"))
    code, out, err = run(*command, "--json")
    assert code == 0
    assert [json.loads(line)["filename"] for line in out] == ["picture.png"] * 2
    assert err == ["Enter Image Path: " * 3]  # stdout is for JSON alone


def test_json_with_a_drawing(run, here):
    assert len(run(*TEST, "picture.png", "--json", "-out", "drawn.png")[1]) == 1
    assert (here / "drawn.png").exists()
    run(*TEST, "picture.png", "--json", "--save-labels")
    assert (here / "predictions.txt").exists()
    assert not (here / "predictions.png").exists()


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["detectr", "test"],
            "there is no command 'detectr test'; did you mean 'detector test'? see darknet-py --help",
        ),
        (
            ["detector", "tset"],
            "there is no command 'detector tset'; did you mean 'detector test'? see darknet-py --help",
        ),
        (["xyz"], "there is no command 'xyz'; see darknet-py --help"),
        (TEST[:4], "the following arguments are required: WEIGHTS"),
        (TEST[:2], "the following arguments are required: DATA, CFG, WEIGHTS"),
        (PREDICT[:3], "the following arguments are required: CFG, WEIGHTS"),
        ([*TEST, "x.png", "-thresh", "2"], "argument -thresh/--thresh: '2' is no number from 0 to 1"),
        ([*TEST, "x.png", "-thresh", "nan"], "argument -thresh/--thresh: 'nan' is no number from 0 to 1"),
        ([*TEST, "x.png", "-nms", "much"], "argument -nms/--nms: 'much' is no number from 0 to 1"),
        ([*TEST, "x.png", "-thresh"], "argument -thresh/--thresh: expected one argument"),
        ([*TEST, "x.png", "-batch", "0"], "argument -batch/--batch: '0' is no whole number from 1"),
        ([*PREDICT, "x.png", "-t", "many"], "argument -t/--t: 'many' is no whole number from 1"),
        ([*TEST, "x.png", "-i", "first"], "argument -i/--i: invalid int value: 'first'"),
        ([*TEST, "x.png", "-frobnicate"], "unrecognized arguments: -frobnicate"),
        ([*TEST, "x.png", "--jso"], "unrecognized arguments: --jso"),
    ],
)
def test_wrong_arguments(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, [])
    assert len(err) == 1
    assert message in err[0]
    assert err[0].startswith("darknet-py")
    assert err[0].endswith("--help")


def test_half_a_command(run):
    assert run("detector") == (2, [], ["usage: darknet-py detector {" + below("detector") + "} ..."])
    assert run("detector", "--help")[0] == 0


def below(word: str) -> str:
    return ",".join(name.split()[1] for name in VERBS if name.startswith(f"{word} "))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({2: "no.data"}, "no.data: cannot be read: No such file or directory"),
        ({3: "no.cfg"}, "no.cfg: cannot be read: No such file or directory"),
        ({4: "no.weights"}, "no.weights: cannot be read: No such file or directory"),
        ({4: "boxes_yolo.weights"}, "boxes_yolo.weights: it "),
        ({4: "boxes_region.cfg"}, "boxes_region.cfg: this is no weights file but a cfg: the order is CFG WEIGHTS"),
        ({3: "boxes_region.weights"}, "boxes_region.weights: this is not a text file"),
        ({3: "."}, ".: cannot be read: Is a directory"),
        ({2: "lost.data"}, "lost.names: cannot be read: No such file or directory"),
        ({3: "bad.cfg"}, "bad.cfg:7: [convolutional] 'filters=x': an integer was expected"),
        (
            {3: "avgpool_softmax.cfg", 4: "avgpool_softmax.weights"},
            "four.names has 4 names, but avgpool_softmax.cfg is a classifier of 10 classes",
        ),
        (
            {2: "ten.data", 3: "avgpool_softmax.cfg", 4: "avgpool_softmax.weights"},
            "avgpool_softmax.cfg has no layer that gives boxes",
        ),
    ],
)
def test_files_that_do_not_work(run, here, change, message):
    (here / "lost.data").write_text("names=lost.names\n")
    (here / "bad.cfg").write_text("[net]\nwidth=8\nheight=8\nchannels=3\n\n[convolutional]\nfilters=x\n")
    code, out, err = run(*(change.get(n, word) for n, word in enumerate(TEST)), "picture.png")
    assert (code, out, len(err)) == (1, [], 1)
    assert err[0].startswith(f"darknet-py: {message}")


def test_a_detector_is_no_classifier(run):
    _, _, err = run("classifier", "predict", *TEST[2:], "picture.png")
    assert err == ["darknet-py: boxes_region.cfg ends in layer 3 [region], so it is no classifier"]


@pytest.mark.parametrize("command", [TEST, PREDICT])
def test_a_gpu_that_is_not_there(run, command):
    code, out, err = run(*command, "picture.png", "-i", 99)
    assert (code, out, len(err)) == (1, [], 1)
    assert err[0].startswith("darknet-py: there is no device 'cuda:99': ")
    assert run(*command, "picture.png", "-i", 99, "-nogpu")[0] == 0


@pytest.mark.filterwarnings("default")
def test_warnings_are_one_line_each(run, here):
    text = Path("boxes_region.cfg").read_text().replace("[region]", "[region]\nanchor=1\nclasses=4\nthresh_old=1")
    Path("odd.cfg").write_text(text)
    line = text.splitlines().index("anchor=1") + 1
    arguments = [*TEST[:3], "odd.cfg", TEST[4], "picture.png", "-thresh", "0.36"]
    code, out, err = run(*arguments)
    assert (code, out[1:]) == (0, REGION_LINES.split("|"))
    assert err == [
        f"darknet-py: warning: odd.cfg:{line}: [region] has no key 'anchor'; did you mean 'anchors'?",
        f"darknet-py: warning: odd.cfg:{line + 2}: [region] has no key 'thresh_old'; did you mean 'thresh'?",
        f"darknet-py: warning: odd.cfg:{line + 4}: classes=4 is ignored: 'classes' was given in line {line + 1}",
    ]
    code, out, err = run(*arguments, "--strict")
    assert (code, out) == (1, [])
    assert err == [f"darknet-py: odd.cfg:{line}: [region] has no key 'anchor'; did you mean 'anchors'?"]


def test_partial_weights(run, here):
    Path("short.weights").write_bytes(Path(TEST[4]).read_bytes()[:-400])
    arguments = [*TEST[:4], "short.weights", "picture.png"]
    code, out, err = run(*arguments)
    assert (code, out, len(err)) == (1, [], 1)
    assert "short.weights: it ends in layer 2 [convolutional], weight" in err[0]
    assert run(*arguments, "--partial")[0] == 0


def test_interruption(run, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("darknet_py.model.load", interrupted)
    assert run(*TEST, "picture.png") == (130, [], ["darknet-py: interrupted"])


@pytest.mark.skipif(os.name == "nt", reason="pipes are others there")
@pytest.mark.parametrize(
    "arguments", [[*TEST, *["picture.png"] * 20, "-thresh", "0.1"], ["summary", TEST[3]], ["--help"], [*TEST, "--help"]]
)
def test_a_reader_that_goes_away(here, arguments):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as nobody:
        result = subprocess.run(
            [sys.executable, "-m", "darknet_py", *arguments], stdout=nobody, stderr=subprocess.PIPE, text=True,
            timeout=60, check=False, env=ENVIRONMENT,
        )  # fmt: skip
    assert (result.returncode, result.stderr) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk(here):
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [sys.executable, "-m", "darknet_py", *TEST, "picture.png"], stdout=full, stderr=subprocess.PIPE, text=True,
            timeout=60, check=False, env=ENVIRONMENT,
        )  # fmt: skip
    assert (result.returncode, result.stderr) == (1, "darknet-py: No space left on device\n")


# Help


def test_the_list_of_commands(run):
    for arguments in ([], ["--help"], ["-h"], ["help"]):
        code, out, err = run(*arguments)
        assert (code, err) == (0, [])
        assert all(any(line.startswith(f"  {name} ") for line in out) for name in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_command(run, verb):
    code, out, err = run(*verb.split(), "--help")
    assert (code, err) == (0, [])
    assert out[0].startswith(f"usage: darknet-py {verb} ")
    assert VERBS[verb].help in " ".join(" ".join(out).split())


def test_the_version(run):
    assert run("--version") == (0, [f"darknet-py {darknet_py.__version__}"], [])
    assert shell("--version").stdout == f"darknet-py {darknet_py.__version__}\n"


def test_help_and_mistakes_do_not_wait_for_torch():
    code = (
        "import sys; from darknet_py.cli import main; "
        "print([main(a.split()) for a in ('--help', 'detector test --help', 'detector test')], 'torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.splitlines()[-1] == "[0, 0, 2] False"


def test_the_command_leaves_the_warnings_of_its_caller_alone(run):
    before = warnings.showwarning
    run("--version")
    assert warnings.showwarning is before


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_for_terminals(run, monkeypatch):
    pictures = ["picture.png"] * 3
    assert run(*TEST, *pictures)[2] == []
    for command, arguments, shown in (
        (TEST, pictures, True), (PREDICT, pictures, True), (TEST, pictures[:1], False),
        (TEST, [*pictures, "--json"], False),
    ):  # fmt: skip
        terminal = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", terminal)
            assert main([*command, *arguments]) == 0
        assert ("3/3" in terminal.getvalue()) is shown


# files.replacing


def test_a_new_file_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "file"
    for content in ("first", "second ä"):
        with files.replacing(path, "w", encoding="utf-8") as file:
            file.write(content)
            assert not path.exists() or path.read_text(encoding="utf-8") == "first"
        assert path.read_text(encoding="utf-8") == content
    assert list(tmp_path.iterdir()) == [path]


def stop_halfway(file: io.BufferedWriter, error: type[BaseException]) -> None:
    file.write(b"half")
    raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("old", [b"old", None])
def test_after_an_error_all_is_as_before(tmp_path, error, old):
    path = tmp_path / "file"
    if old:
        path.write_bytes(old)
    with pytest.raises(error), files.replacing(path) as file:
        stop_halfway(file, error)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == ([("file", old)] if old else [])


@pytest.mark.skipif(os.name == "nt", reason="permissions are others there")
def test_permissions_stay_and_new_files_get_the_usual_ones(tmp_path):
    path = tmp_path / "file"
    path.touch()
    path.chmod(0o640)
    with files.replacing(path) as file:
        file.write(b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    mask = os.umask(0o027)
    try:
        with files.replacing(tmp_path / "other") as file:
            file.write(b"new")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o640


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_a_link(tmp_path, exists):
    target, link = tmp_path / "deep" / "target", tmp_path / "link"
    target.parent.mkdir()
    if exists:
        target.write_bytes(b"old")
    link.symlink_to(target)
    with files.replacing(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["deep", "link", "target"]


@pytest.mark.parametrize("name", ["no/folder/file", "file/below"])
def test_the_error_names_the_file_that_was_asked_for(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="No such file|Not a directory") as raised, files.replacing(tmp_path / name):
        pass
    assert raised.value.filename == str(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(tmp_path):
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    path.write_bytes(b"old")
    path.parent.chmod(0o555)
    try:
        with pytest.raises(PermissionError) as raised, files.replacing(path):
            pass
        assert raised.value.filename == str(path)
        assert path.read_bytes() == b"old"
    finally:
        path.parent.chmod(0o755)


def test_a_long_name(tmp_path):
    path = tmp_path / ("x" * 250)
    with files.replacing(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="there is no /dev/null here")
def test_what_is_no_regular_file_is_written_straight(tmp_path):
    with files.replacing("/dev/null") as file:
        file.write(b"gone")
    assert not Path("/dev/null").is_file()
    with pytest.raises(IsADirectoryError), files.replacing(tmp_path):
        pass
