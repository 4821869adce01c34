"""`detector demo`: what it prints, the video it writes, and what stops it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from darknet_py.cli import main
from darknet_py.model import load
from darknet_py.pictures import camera
from darknet_py.pictures.video import VideoReader, VideoWriter
from darknet_py.predict.frames import AVERAGE
from tests.support.places import GOLDEN

pytest.importorskip("av")
BOXES = GOLDEN / "boxes"
NETWORK = [str(BOXES / "boxes_region.cfg"), str(BOXES / "boxes_region.weights")]
DEMO = ["detector", "demo", "four.data", *NETWORK]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with a .data file and a video of 9 frames."""
    monkeypatch.chdir(tmp_path)
    Path("four.names").write_text("a\nb\nc\nd\n")
    Path("four.data").write_text("classes=4\nnames=four.names\n")
    rng = np.random.default_rng(0)
    with VideoWriter("video.avi", (64, 48), 10) as writer:
        for _ in range(9):
            writer.write(Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8)))
    return tmp_path


@pytest.fixture
def run(here, capsys):
    """Runs the command: exit code, stdout, lines of stderr."""

    def run(*arguments: object) -> tuple[int, str, list[str]]:
        code = main([*DEMO, *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err.splitlines()

    return run


def records(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def test_each_frame_is_printed_as_the_c_program_does(run):
    code, out, err = run("video.avi", "-thresh", 0.3)
    assert (code, err) == (0, [])
    parts = out.split("\nFPS:")[1:]
    assert len(parts) == 9
    found = list(load(*NETWORK, names=list("abcd")).detect_video("video.avi", thresh=0.3))
    for part, one in zip(parts, found, strict=True):
        rate, objects, empty, *lines = part.splitlines()
        float(rate)
        assert (objects, empty) == ("Objects:", "")
        scores = zip(one.found.names, one.found.scores.tolist(), strict=True)
        assert sorted(lines) == sorted(f"{name}: {score * 100:.0f}%" for name, score in scores)
    assert "%" in out


def test_json_has_a_line_a_frame(run):
    code, out, err = run("video.avi", "--json", "-thresh", 0.3, "-nogpu", "-batch", 4)
    assert (code, err) == (0, [])
    seen = records(out)
    assert [one["frame"] for one in seen] == list(range(9))
    assert [one["time"] for one in seen] == pytest.approx([n / 10 for n in range(9)])
    assert {(one["filename"], one["width"], one["height"]) for one in seen} == {("video.avi", 64, 48)}
    assert {key for one in seen for thing in one["objects"] for key in thing} == {
        "class_id", "name", "confidence", "box", "relative_coordinates",
    }  # fmt: skip


def test_frames_are_left_out_and_the_new_video_takes_as_long(run):
    code, out, _ = run("video.avi", "--json", "-frame_skip", 2, "-out", "new.avi")
    assert code == 0
    assert [one["frame"] for one in records(out)] == [0, 3, 6]
    with VideoReader("new.avi") as reader:
        assert len(list(reader)) == 3
        assert float(reader.rate) == pytest.approx(10 / 3, abs=0.01)


def test_thresholds_and_averages_count(run):
    def objects(*options: object) -> int:
        return sum(len(one["objects"]) for one in records(run("video.avi", "--json", *options)[1]))

    usual = objects("-thresh", 0.3)
    assert objects("-thresh", 0.3, "-avg", AVERAGE) == usual
    assert objects("-thresh", 0.3, "-avg", 1) != usual
    assert objects("-thresh", 0.1, "-nms", 0) > objects("-thresh", 0.1)
    assert objects("-thresh", 0.9) == 0


@pytest.mark.parametrize("option", ["-out", "--out", "-out_filename"])
def test_boxes_are_drawn_into_a_video(run, option):
    code, _, err = run("video.avi", "-thresh", 0.3, "-dont_show", option, "new.mp4")
    assert (code, err) == (0, [])
    with VideoReader("new.mp4") as new, VideoReader("video.avi") as old:
        assert new.size == old.size
        frames = list(zip(new, old, strict=True))
    assert len(frames) == 9
    assert max((one.image.float() - other.image.float()).abs().mean().item() for one, other in frames) > 5


def test_frames_can_become_pictures(run):
    code, _, _ = run("video.avi", "-prefix", "frame", "-frame_skip", 3)
    assert code == 0
    assert sorted(map(str, Path().glob("*.jpg"))) == [f"frame_{n:08d}.jpg" for n in range(3)]
    with Image.open("frame_00000002.jpg") as picture:
        assert picture.size == (64, 48)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.avi"], "none.avi: No such file or directory"),
        (["four.data"], "four.data: Invalid data found when processing input"),
        (["video.avi", "-out", "new.png"], "new.png: videos are"),
        (["video.avi", "-out", "video.avi"], "video.avi is the video that is read"),
        (["video.avi", "-out", "none/new.mp4"], "none/new.mp4: No such file or directory"),
    ],
)
def test_what_cannot_be_done_is_one_line(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    assert len(err) == 1
    assert message in err[0]


def test_without_pyav_the_line_says_how_to_get_it(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    code, _, err = run("video.avi")
    assert (code, err) == (1, ["darknet-py: videos need PyAV: pip install 'darknet-torch[video]'"])


@pytest.mark.parametrize("options", [["-c", "-1"], ["-avg", "0"], ["-frame_skip", "x"]])
def test_wrong_arguments_end_with_2(run, options):
    assert run("video.avi", *options)[0] == 2


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another thing there")
def test_ctrl_c_keeps_the_video_so_far(here):
    rng = np.random.default_rng(0)
    with VideoWriter("long.avi", (64, 48), 10) as writer:
        for _ in range(2000):
            writer.write(Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8)))
    command = [sys.executable, "-m", "darknet_py", *DEMO, "long.avi", "-out", "new.avi"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(12):
        assert process.stdout.readline() != ""
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "darknet-py: interrupted\n"
    with VideoReader("new.avi") as reader:
        assert 0 < len(list(reader)) < 2000
    assert not list(here.glob(".*.part"))


# Cameras and windows, of an OpenCV that is made up


class Capture:
    def __init__(self, index: int) -> None:
        self.index, self.left = index, 5

    def isOpened(self) -> bool:  # noqa: N802
        return self.index == 1

    def get(self, which: str) -> float:
        return {"width": 64.0, "height": 48.0, "rate": 30.0}[which]

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        bgr = np.zeros((48, 64, 3), np.uint8)
        bgr[..., 0] = 200
        return (True, bgr) if self.left >= 0 else (False, None)

    def release(self) -> None:
        self.left = 0


@pytest.fixture
def opencv(monkeypatch):
    shown = []
    made_up = types.SimpleNamespace(
        VideoCapture=Capture, CAP_PROP_FRAME_WIDTH="width", CAP_PROP_FRAME_HEIGHT="height", CAP_PROP_FPS="rate",
        error=RuntimeError, imshow=lambda title, picture: shown.append(picture),
        waitKey=lambda delay: camera.ESCAPE if len(shown) == 3 else -1,
    )  # fmt: skip
    monkeypatch.setattr(camera, "opencv", lambda: made_up)
    made_up.shown = shown
    return made_up


def test_a_camera_is_watched(run, opencv):
    code, out, err = run("-c", 1, "--json", "-out", "new.avi")
    assert (code, err) == (0, [])
    assert [one["frame"] for one in records(out)] == [0, 1, 2, 3, 4]
    assert records(out)[0]["filename"] == "camera 1"
    with VideoReader("new.avi") as reader:
        red, _, blue = next(iter(reader)).image.float().mean((1, 2))
    assert blue > 150 > red


def test_a_camera_that_is_not_there(run, opencv):
    assert run("-c", 2)[::2] == (1, ["darknet-py: camera 2: there is none, or it does not answer"])


def test_a_window_shows_frames_until_escape(run, opencv):
    code, out, _ = run("video.avi", "--json", "-show")
    assert code == 0
    assert len(records(out)) == len(opencv.shown) == 3
    assert opencv.shown[0].shape == (48, 64, 3)


def test_where_there_can_be_no_window_a_line_says_so(run, opencv):
    def imshow(*_: object) -> None:
        raise RuntimeError("no display")

    opencv.imshow = imshow
    code, _, err = run("video.avi", "--json", "-show")
    assert (code, len(err)) == (1, 1)
    assert "cannot open a window" in err[0]


def test_without_opencv_the_line_says_how_to_get_it(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    code, _, err = run("-c", 0)
    assert (code, err) == (1, ["darknet-py: cameras and windows need OpenCV: pip install opencv-python"])


def test_colours_of_a_camera_are_rgb(opencv):
    with camera.Camera(1) as source:
        frame = next(iter(source))
    assert torch.equal(frame.image[:, 0, 0], torch.tensor([0, 0, 200], dtype=torch.uint8))
