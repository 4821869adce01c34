"""Flags of AlexeyAB's program, where `-out` goes, and arguments that are empty."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import darknet_py
from darknet_py import files, weights
from darknet_py.cfg import read_data
from darknet_py.cli import VERBS, main, train
from darknet_py.cli.alexeyab import FLAGS
from darknet_py.cli.results import detection_lines
from darknet_py.predict.detections import Detections
from tests.support.networks import TINY_REGION

TEST = ("detector", "test", "c.data", "tiny.cfg", "tiny.weights", "a.png", "-thresh", "0.1")
TRAIN = ("detector", "train", "c.data", "tiny.cfg")
USAGE = Path(__file__).parents[2] / "docs" / "usage.md"


@pytest.fixture(scope="module")
def kit(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kit")
    (folder / "tiny.cfg").write_text(TINY_REGION)
    (folder / "c.names").write_text("ant\nbee\n")
    (folder / "c.data").write_text("classes=2\nnames=c.names\n")
    network = darknet_py.Network.from_cfg(folder / "tiny.cfg", generator=torch.Generator().manual_seed(1))
    weights.save(network, folder / "tiny.weights")
    for name in ("a.png", "b.png"):
        Image.effect_noise((40, 30), 80).convert("RGB").save(folder / name)
    return folder


@pytest.fixture
def run(kit, tmp_path, monkeypatch, capsys):
    """Runs a command in a folder of its own: exit code, lines of stdout, lines of stderr."""
    shutil.copytree(kit, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, list[str], list[str]]:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return run


def names(folder: str) -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


@pytest.fixture
def unused(monkeypatch) -> None:
    """Loading a network fails: what is tested is to be said before."""

    def load(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("darknet_py.model.load", load)


@pytest.mark.parametrize(
    "flags",
    [
        ["-dont_show"], ["--dont_show"], ["-letter_box"], ["-benchmark"], ["-show_imgs"], ["-gpus", "-1"], ["-gpus=-1"],
        ["-clear"], ["-map"], ["-points", "101"], ["-mAP_epochs", "3"], ["-s", "2"], ["-avgframes=3"], ["-show"],
    ],
)  # fmt: skip
def test_flags_without_effect(run, flags):
    plain = run(*TEST)
    code, out, err = run(*TEST[:3], *flags, *TEST[3:])
    assert (code, err) == (0, [])
    assert out[1:] == plain[1][1:]
    assert len(out) > 1


@pytest.mark.parametrize(
    ("flags", "advice"),
    [
        (["-mjpeg_port", "8090"], "-mjpeg_port: nothing is served"),
        (["-mjpeg_port=8090"], "-mjpeg_port: nothing is served"),
        (["-mjpeg_port"], "-mjpeg_port: nothing is served"),
        (["--json_port", "8070"], "--json_port: nothing is served"),
        (["-http_post_host", "localhost"], "-http_post_host: nothing is served"),
        (["-json_file_output", "f"], "-json_file_output: use --json > FILE"),
        (["-benchmark_layers"], "-benchmark_layers: layers are not timed"),
        (["-prefix", "p"], "-prefix: that is for detector demo"),
        (["-chart", "c.png"], "-chart: that is for detector train"),
        (["-gpus", "0,1"], "-gpus: '0,1' is no number of a GPU; this runs on one, which -i chooses"),
    ],
)
def test_flags_that_are_refused(run, unused, flags, advice):
    code, out, err = run(*TEST, *flags)
    assert (code, out, len(err)) == (2, [], 1)
    assert advice in err[0]


def test_one_gpu_is_what_i_chooses(run):
    code, out, err = run(*TEST, "-gpus", "99")
    assert (code, out, len(err)) == (1, [], 1)
    assert err[0].startswith("darknet-py: there is no device 'cuda:99': ")


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb.split()[0] in {"detector", "classifier", "yolo"}])
def test_every_command_of_darknet_knows_all_flags(verb, capsys):
    for name, flag in FLAGS.items():
        main([*verb.split(), f"-{name}", *["1"] * flag.values])
        assert "unrecognized" not in capsys.readouterr().err


def test_other_commands_know_none(capsys):
    assert main(["summary", "x.cfg", "-mjpeg_port", "1"]) == 2
    assert "unrecognized arguments: -mjpeg_port" in capsys.readouterr().err


def test_every_flag_is_in_the_documentation():
    start = USAGE.read_text(encoding="utf-8").partition("## Flags of AlexeyAB's Darknet")[2]
    table = start.partition("\n## ")[0]
    named = set(re.findall(r"`-(\w+)", table))
    assert {*FLAGS, "gpus"} - named - {"hier", "show", "out"} == set()


@pytest.mark.parametrize(("flag", "advice"), [("-out", "detector test"), ("-iou_thresh", "detector map")])
def test_what_a_training_refuses(run, flag, advice):
    code, _, err = run(*TRAIN, flag, "0.5")
    assert (code, len(err)) == (2, 1)
    assert advice in err[0]


def test_measuring_every_few_epochs(monkeypatch):
    folder = Path(train.__file__).parents[2] / "cfg"
    graph, data = darknet_py.Graph.read(folder / "shapes.cfg"), read_data(folder / "shapes.data")
    monkeypatch.setattr("darknet_py.evaluate.truths.valid_paths", lambda _: ("a.png",))
    samples = SimpleNamespace(paths=["a.png"] * 100 * graph.net.batch)
    args = Namespace(
        map=True, map_every=None, mAP_epochs=3, batches=None, save_every=None, sizes=None, workers=0, amp=None,
        compile=False, channels_last=True, deterministic=False, backup=None,
    )  # fmt: skip
    start = SimpleNamespace(seed=0)
    assert train._settings(args, "detector", data, graph, samples, start, "cpu").map_every == 300
    samples.paths = samples.paths[:10]
    assert train._settings(args, "detector", data, graph, samples, start, "cpu").map_every == 100


def detections(*rows: tuple[float, ...]) -> Detections:
    boxes = torch.tensor(rows).view(-1, 4)
    count = len(boxes)
    return Detections(
        boxes, torch.full((count,), 0.98), torch.zeros(count, dtype=torch.int64), ("dog",) * count, (9, 9)
    )


def test_where_boxes_are():
    found = detections((123.4, 221.5, 312.2, 540.6), (-0.3, -0.5, 12345.2, 3.0))
    assert list(detection_lines(found, boxes=True)) == [
        "dog: 98%\t(left_x:  123   top_y:  222   width:  189   height:  319)",
        "dog: 98%\t(left_x:   -0   top_y:   -1   width: 12346   height:    4)",
    ]
    assert list(detection_lines(found, boxes=False)) == ["dog: 98%"] * 2
    assert "inf" in next(detection_lines(detections((0, 0, float("inf"), 1)), boxes=True))


def test_ext_output(run):
    wanted = darknet_py.load("tiny.cfg", "tiny.weights", names=("ant", "bee"), device="cpu")
    found = wanted.detect("a.png", thresh=0.1)
    code, out, _ = run(*TEST, "-ext_output")
    assert code == 0
    assert sorted(out[1:]) == sorted(detection_lines(found, boxes=True))


def test_a_list_of_results(run):
    Path("list.txt").write_text("a.png\nno.png\nb.png\n")
    code, _, err = run(*TEST[:5], "list.txt", "-thresh", "0.1", "-out", "result.json", "-dont_show")
    assert (code, err) == (1, ["darknet-py: no.png: No such file or directory"])
    first, second = json.loads(Path("result.json").read_text())
    assert [first["frame_id"], first["filename"]] == [1, "a.png"]
    assert [second["frame_id"], second["filename"]] == [3, "b.png"]
    wanted = darknet_py.load("tiny.cfg", "tiny.weights", names=("ant", "bee"), device="cpu").detect("a.png", thresh=0.1)
    assert first["objects"]
    rows = sorted(first["objects"], key=lambda row: -row["confidence"])
    for row, whole in zip(rows, wanted.to_dicts(), strict=True):
        assert list(row) == ["class_id", "name", "relative_coordinates", "confidence"]
        assert (row["class_id"], row["name"]) == (whole["class_id"], whole["name"])
        assert row["confidence"] == pytest.approx(whole["confidence"], abs=2e-6)
        assert row["relative_coordinates"] == pytest.approx(whole["relative_coordinates"], abs=2e-6)
    assert not Path("predictions").exists()


def test_results_of_pictures_that_are_asked_for(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("a.png\n"))
    assert run(*TEST[:5], "-out", "result.json", "-thresh", "1")[0] == 0
    assert json.loads(Path("result.json").read_text()) == [{"frame_id": 1, "filename": "a.png", "objects": []}]
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert run(*TEST[:5], "-out", "result.json")[0] == 0
    assert json.loads(Path("result.json").read_text()) == []


def test_no_half_list_of_results(run, monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = names(".")
    monkeypatch.setattr("darknet_py.cli.detector._Output.write", stop)
    assert run(*TEST, "-out", "result.json")[0] == 130
    assert names(".") == before


def test_labels_beside_a_list_of_results(run):
    assert run(*TEST, "-out", "result.json", "-save_labels")[0] == 0
    assert {"result.json", "predictions.txt"} <= names(".")
    assert "predictions.png" not in names(".")


def test_pictures_without_boxes(run):
    assert run(*TEST, "-dontdraw_bbox")[0] == 0
    with Image.open("predictions.png") as drawn, Image.open("a.png") as given:
        assert drawn.tobytes() == given.tobytes()
    run(*TEST)
    with Image.open("predictions.png") as drawn, Image.open("a.png") as given:
        assert drawn.tobytes() != given.tobytes()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("drawn.xyz", "drawn.xyz: no picture format has the suffix '.xyz'; use .png or .jpg"),
        ("some/new/folder.png", "some/new/folder.png: No such file or directory"),
        ("some/new/r.json", "some/new/r.json: No such file or directory"),
        ("c.data/x.png", "c.data/x.png: Not a directory"),
        ("c.data/", "c.data: File exists"),
        (os.devnull, f"{os.devnull}: no picture format has the suffix ''; use .png or .jpg"),
        ("c.data/x/", "c.data/x: Not a directory"),
    ],
)
def test_out_is_looked_at_before_the_work(run, unused, out, message):
    assert run(*TEST, "-out", out) == (1, [], [f"darknet-py: {message}"])
    assert not Path("some").exists()


def test_a_folder_that_may_not_be_written(run, unused, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, _mode: str(path) not in {"out", "."})
    Path("out").mkdir()
    for out in ("out", "new/", "drawn.png", "out/x.png", "r.json"):
        code, _, err = run(*TEST, "-out", out)
        assert (code, err) == (1, [f"darknet-py: {out.rstrip('/')}: Permission denied"])


def test_a_folder_is_made(run):
    assert run(*TEST, "-out", "deep/new/")[0] == 0
    assert names("deep/new") == {"a.png"}


@pytest.mark.parametrize(
    "arguments",
    [
        (*TEST, ""),
        (*TEST[:4], "", "a.png"),
        (*TEST, "-out", ""),
        (*TEST, "-out="),
        (*TRAIN, "--backup", ""),
        ("check", ""),
        ("summary", ""),
        ("convert", "tiny.cfg", "tiny.weights", ""),
        ("inspect", ""),
        ("download", ""),
        ("download", "tiny", "--folder="),
        ("tree", "print", ""),
        ("partial", "tiny.cfg", "", "o.weights", "1"),
    ],
)
def test_an_empty_argument_is_an_error(run, unused, arguments):
    code, out, err = run(*arguments)
    assert (code, out, len(err)) == (2, [], 1)
    assert "an argument is empty" in err[0]


def test_writable(tmp_path):
    files.check_writable(tmp_path / "new")
    files.check_folder(tmp_path / "new" / "deeper")
    files.check_folder(tmp_path)
    with pytest.raises(IsADirectoryError):
        files.check_writable(tmp_path)
    if Path("/dev/stdout").exists():
        files.check_writable("/dev/null")


def test_the_whole_command_as_it_is_pasted(kit, tmp_path):
    shutil.copytree(kit, tmp_path, dirs_exist_ok=True)
    ended = subprocess.run(
        [sys.executable, "-m", "darknet_py", *TEST, "-dont_show", "-ext_output", "-out", "r.json", "-nogpu"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "\t(left_x: " in ended.stdout


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(), RuntimeError("std::bad_alloc"), RuntimeError("can't start new thread"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ],
    ids=str,
)  # fmt: skip
def test_memory_that_ends_is_one_line(run, monkeypatch, error):
    def load(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("darknet_py.model.load", load)
    code, out, err = run(*TEST)
    assert (code, out, len(err)) == (1, [], 1)
    assert err[0].startswith("darknet-py: there is not enough memory for this 'detector test'")


def test_other_errors_of_the_program_are_not_hidden(run, monkeypatch):
    def load(*_: object, **__: object) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr("darknet_py.model.load", load)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        run(*TEST)


def test_memory_that_ends_while_that_is_told(monkeypatch, capfd):
    def out(*_: object) -> int:
        raise MemoryError

    monkeypatch.setattr("darknet_py.cli._run", out)
    assert main(["summary", "x.cfg"]) == 1
    assert capfd.readouterr().err == "darknet-py: there is not enough memory\n"
