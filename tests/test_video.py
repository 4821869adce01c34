"""`detector demo` and videos from Python, on short videos that are made here."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("av")
from conftest import GOLDEN

import darknet_py
from darknet_py.cli import main
from darknet_py.errors import ImageError
from darknet_py.video import VideoReader, VideoWriter

NET = [str(GOLDEN / "boxes" / f"boxes_region.{suffix}") for suffix in ("cfg", "weights")]
FRAMES, SIZE = 7, (64, 48)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Frames of one grey each, from dark to bright, 10 a second; and a .data file beside it."""
    path = tmp_path / "made.mp4"
    with VideoWriter(path, SIZE, 10) as writer:
        for n in range(FRAMES):
            writer.write(torch.full((3, SIZE[1], SIZE[0]), 30 * n + 20, dtype=torch.uint8))
    (tmp_path / "a.names").write_text("a\nb\nc\nd\n", encoding="utf-8")
    (tmp_path / "a.data").write_text(f"names={tmp_path}/a.names\n", encoding="utf-8")
    return path


def demo(video: Path, *options: object) -> int:
    return main(["detector", "demo", str(video.parent / "a.data"), *NET, str(video), "-nogpu", *map(str, options)])


def test_what_is_written_is_read(video):
    with VideoReader(video) as reader:
        assert (reader.size, reader.rate, reader.frames) == (SIZE, Fraction(10), FRAMES)
        frames = list(reader)
    assert [frame.index for frame in frames] == list(range(FRAMES))
    assert [frame.time for frame in frames] == pytest.approx([n / 10 for n in range(FRAMES)])
    assert all(frame.image.shape == (3, SIZE[1], SIZE[0]) for frame in frames)
    means = np.array([frame.image.float().mean() for frame in frames])
    assert np.abs(means - (30 * np.arange(FRAMES) + 20)).max() < 6


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mov", ".webm"])
def test_kinds_of_files(suffix, tmp_path):
    with VideoWriter(tmp_path / f"a{suffix}", (33, 31)) as writer:
        for _ in range(3):
            writer.write(torch.zeros(3, 31, 33, dtype=torch.uint8))
    with VideoReader(tmp_path / f"a{suffix}") as reader:
        assert (reader.size, len(list(reader))) == ((32, 30), 3)


def test_the_command_prints_each_frame(video, capsys):
    assert demo(video, "-thresh", 0.1) == 0
    out = capsys.readouterr().out
    assert out.count("FPS:") == out.count("Objects:") == FRAMES


def test_json_and_drawn_video(video, capsys, tmp_path):
    out = tmp_path / "drawn.mp4"
    assert demo(video, "--json", "-out_filename", out, "-dont_show", "-thresh", 0.01) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["frame"] for record in records] == list(range(FRAMES))
    assert [record["time"] for record in records] == pytest.approx([n / 10 for n in range(FRAMES)])
    assert any(record["objects"] for record in records)
    with VideoReader(out) as drawn, VideoReader(video) as given:
        pairs = list(zip(drawn, given, strict=True))
    assert len(pairs) == FRAMES
    assert any((a.image.float() - b.image.float()).abs().max() > 40 for a, b in pairs)


def test_frames_left_out_and_pictures(video, capsys, tmp_path):
    assert demo(video, "-frame_skip", 2, "-prefix", tmp_path / "shot", "--json") == 0
    assert [json.loads(line)["frame"] for line in capsys.readouterr().out.splitlines()] == [0, 3, 6]
    assert sorted(path.name for path in tmp_path.glob("shot*")) == [f"shot_{n:08d}.jpg" for n in range(3)]


def test_outputs_are_those_of_pictures_without_averaging(video):
    model = darknet_py.load(*NET, device="cpu")
    seen = list(model.detect_video(video, thresh=0.05, nms=0, average=1))
    wanted = model.detect([one.frame.image for one in seen], thresh=0.05, nms=0)
    assert len(seen) == FRAMES
    for one, other in zip(seen, wanted, strict=True):
        torch.testing.assert_close(one.found.scores.sort().values, other.scores.sort().values)


def test_averaging_takes_the_last_frames(video):
    model = darknet_py.load(*NET, device="cpu")
    single = [one.found.scores for one in model.detect_video(video, thresh=0, nms=0, average=1, batch=2)]
    mixed = [one.found.scores for one in model.detect_video(video, thresh=0, nms=0, average=3, batch=2)]
    assert all(len(a) == len(b) for a, b in zip(single, mixed, strict=True))
    assert any(not torch.allclose(a, b) for a, b in zip(single[1:], mixed[1:], strict=True))


def test_mistakes(video, capsys, tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("no video", encoding="utf-8")
    assert demo(text) == 1
    assert capsys.readouterr().err.startswith(f"darknet-py: {text}: ")
    assert demo(tmp_path / "nowhere.mp4") == 1
    assert "nowhere.mp4: " in capsys.readouterr().err
    assert demo(video, "-out", tmp_path / "a.txt") == 1
    assert "videos are .avi, .mkv, .mov, .mp4, .webm files" in capsys.readouterr().err


def test_what_was_written_before_an_error_stays(tmp_path):
    path = tmp_path / "a.mp4"

    def written() -> None:
        with VideoWriter(path, SIZE) as writer:
            for _ in range(3):
                writer.write(torch.zeros(3, SIZE[1], SIZE[0], dtype=torch.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        written()
    with VideoReader(path) as reader:
        assert len(list(reader)) == 3
    other = tmp_path / "b.mp4"
    with pytest.raises(ImageError, match="no frame was written"), VideoWriter(other, SIZE):
        pass
    assert not list(tmp_path.glob("b*"))
