"""Videos: written and read back, hostile and broken files, and boxes in their frames as demo.c finds them."""

from __future__ import annotations

import os
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from darknet_py.boxes.suppress import Nms, kept_boxes
from darknet_py.errors import DarknetError, ImageError
from darknet_py.model import Model, load
from darknet_py.pictures import video
from darknet_py.pictures.video import FORMATS, Frame, VideoReader, VideoWriter
from darknet_py.predict.decode import Settings
from darknet_py.predict.detections import Detections
from darknet_py.predict.frames import detect_frames
from tests.support.places import GOLDEN

pytest.importorskip("av")
BOXES = GOLDEN / "boxes"


def flat(level: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.new("RGB", size, (level, 255 - level, 100))


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def fail(error: Exception | None) -> None:
    if error is not None:
        raise error


def interrupted(writer: VideoWriter) -> None:
    for n in range(5):
        writer.write(flat(n))
    raise KeyboardInterrupt


def write(path: Path, count: int = 12, size: tuple[int, int] = (64, 48), rate: Fraction | float = 30) -> Path:
    with VideoWriter(path, size, rate) as writer:
        for n in range(count):
            writer.write(flat(20 * n, size))
    return path


def frame(index: int, image: torch.Tensor) -> Frame:
    return Frame(index, index / 25, image)


@pytest.fixture
def noise() -> list[Frame]:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (7, 40, 60, 3), dtype=torch.uint8, generator=rng).permute(0, 3, 1, 2)
    return [frame(n, image) for n, image in enumerate(images)]


@pytest.fixture(scope="module")
def model() -> Model:
    return load(BOXES / "boxes_region.cfg", BOXES / "boxes_region.weights", device="cpu")


# Files


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_is_written_can_be_read(tmp_path, suffix):
    path = write(tmp_path / f"video{suffix}", rate=Fraction(30000, 1001))
    with VideoReader(path) as reader:
        frames = list(reader)
        assert reader.size == (64, 48)
        assert float(reader.rate) == pytest.approx(29.97, abs=0.01)
        assert reader.frames == 12
    assert [one.index for one in frames] == list(range(12))
    assert [one.time for one in frames] == pytest.approx([n * 1001 / 30000 for n in range(12)], abs=0.002)
    for n, one in enumerate(frames):
        assert one.image.shape == (3, 48, 64)
        assert one.image.dtype == torch.uint8
        means = one.image.float().mean((1, 2))
        torch.testing.assert_close(means, torch.tensor([20.0 * n, 255.0 - 20 * n, 100.0]), rtol=0, atol=6)


def test_frames_of_other_sizes_are_brought_to_that_of_the_video(tmp_path):
    path = tmp_path / "odd.mp4"
    with VideoWriter(path, (33, 21), 10) as writer:
        writer.write(flat(90, (33, 21)))
        writer.write(torch.full((3, 40, 80), 0.5))
        writer.write(torch.full((3, 20, 32), 127, dtype=torch.uint8))
    with VideoReader(path) as reader:
        assert reader.size == (32, 20)
        grey = list(reader)[1].image.float()
    torch.testing.assert_close(grey, torch.full_like(grey, 127), rtol=0, atol=4)


def test_an_interrupted_video_has_the_frames_so_far(tmp_path):
    path = tmp_path / "cut.mp4"
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, (64, 48)) as writer:
        interrupted(writer)
    with VideoReader(path) as reader:
        assert len(list(reader)) == 5
    assert names(tmp_path) == ["cut.mp4"]


@pytest.mark.parametrize("error", [ValueError("no"), None])
def test_a_video_without_frames_is_no_file_and_the_old_one_stays(tmp_path, error):
    path = tmp_path / "old.avi"
    path.write_bytes(b"old")
    with pytest.raises(type(error or ImageError("")), match="no"), VideoWriter(path, (64, 48)):
        fail(error)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["old.avi"]


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("video.txt", (8, 8), r"video\.txt: videos are \.avi, .* files, not '\.txt'"),
        ("video", (8, 8), "not ''"),
        ("video.mp4", (1, 8), "a video of 1 x 8 pixels is too small"),
        ("nowhere/video.mp4", (8, 8), "nowhere/video.mp4: No such file or directory"),
    ],
)
def test_what_cannot_be_written_is_one_clear_line(tmp_path, name, size, message):
    with pytest.raises(ImageError, match=message) as error:
        VideoWriter(tmp_path / name, size)
    assert "\n" not in str(error.value)
    assert names(tmp_path) == []


def test_rates_are_those_that_codecs_take(tmp_path):
    for n, rate in enumerate((0.001, 1e9, 23.976, Fraction(299999, 10007))):
        with VideoReader(write(tmp_path / f"{n}.avi", rate=rate)) as reader:
            assert len(list(reader)) == 12


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "video: "),
        (b"a line of text\n" * 50, "video: "),
        (bytes(range(256)) * 64, "video: "),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n", "video: "),
        (b"ffconcat version 1.0\nfile other.mp4\n", "video: "),
    ],
)
def test_what_is_no_video_is_one_clear_line(tmp_path, content, message):
    write(tmp_path / "other.mp4")
    path = tmp_path / "video"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=message) as error, VideoReader(path) as reader:
        list(reader)
    assert "\n" not in str(error.value)


def test_a_list_of_pictures_is_no_video(tmp_path):
    (tmp_path / "list.txt").write_text("a.jpg\nb.jpg\n" * 300)
    with pytest.raises(ImageError, match=r"list\.txt: there is no video in it"):
        VideoReader(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("name", "message"), [("none.mp4", "No such file"), (".", "Is a directory"), (os.devnull, "it is no regular file")]
)
def test_paths_that_cannot_be_opened(tmp_path, name, message):
    with pytest.raises(ImageError, match=message):
        VideoReader(tmp_path / name)


def test_frames_may_not_be_huge(tmp_path, monkeypatch):
    path = write(tmp_path / "video.mp4")
    monkeypatch.setattr(video, "MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(ImageError, match="frames of 64 x 48 pixels are not read"):
        VideoReader(path)


def test_damaged_parts_are_left_out(tmp_path):
    path, rng = tmp_path / "video.avi", np.random.default_rng(0)
    with VideoWriter(path, (64, 48)) as writer:
        for _ in range(40):
            writer.write(Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 300] = bytes(300)
    path.write_bytes(content)
    with VideoReader(path) as reader:
        assert 10 < len(list(reader)) <= 40
    path.write_bytes(content[: len(content) * 2 // 3])
    with VideoReader(path) as reader:
        assert 1 < len(list(reader)) < 40


def test_without_pyav_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    path = write(tmp_path / "video.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    for use in (lambda: VideoReader(path), lambda: VideoWriter(tmp_path / "new.mp4", (8, 8))):
        with pytest.raises(DarknetError, match=r"pip install 'darknet-torch\[video\]'"):
            use()


# Boxes


def surest_first(model: Model, outputs: list[torch.Tensor], size: tuple[int, int], thresh: float) -> list[tuple]:
    """What demo.c does, box by box."""
    candidates = model.detector.candidates([output[None] for output in outputs], [size], Settings(thresh))
    keep = kept_boxes(candidates.boxes, candidates.objectness, 0.4)
    rows = [
        (round(score, 5), label)
        for box, label, score in zip(
            candidates.box_index.tolist(), candidates.label.tolist(), candidates.score.tolist(), strict=True
        )
        if keep[box]
    ]
    return sorted(rows, reverse=True)


def rows(found: Detections) -> list[tuple]:
    pairs = zip(found.scores.tolist(), found.labels.tolist(), strict=True)
    return sorted(((round(score, 5), label) for score, label in pairs), reverse=True)


@pytest.mark.parametrize(("average", "lanes", "batch"), [(1, 1, 1), (3, 1, 2), (3, 2, 2), (5, 2, 3)])
def test_outputs_of_the_last_frames_are_averaged(model, noise, monkeypatch, average, lanes, batch):
    monkeypatch.setattr("darknet_py.predict.frames.lanes", lambda engine: lanes)
    seen = list(detect_frames(model.detector, noise, Settings(0.3), average=average, batch=batch))
    assert [one.frame for one in seen] == noise
    outputs = [model.detector.outputs([one.image])[0] for one in noise]
    several = 0
    for n, one in enumerate(seen):
        last = outputs[max(0, n + 1 - average) : n + 1]
        mean = [torch.stack(heads).mean(0) for heads in zip(*last, strict=True)]
        assert rows(one.found) == surest_first(model, mean, (60, 40), 0.3)
        assert one.found.scores.tolist() == sorted(one.found.scores.tolist(), reverse=True)
        several += len(one.found)
    assert several > len(noise)


def test_the_surest_box_suppresses_others_of_all_classes(model, noise):
    seen = next(detect_frames(model.detector, noise, Settings(0.1), Nms("objectness", 0.4)))
    by_class = model.detect(noise[0].image, thresh=0.1, nms=0.4)
    all_boxes = next(detect_frames(model.detector, noise, Settings(0.1), Nms("objectness", 0)))
    assert 0 < len(seen.found) < len(by_class) <= len(all_boxes.found)


def test_a_model_takes_a_video(model, tmp_path):
    path = tmp_path / "video.avi"
    rng = np.random.default_rng(0)
    with VideoWriter(path, (64, 48), 10) as writer:
        for _ in range(5):
            writer.write(Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8)))
    seen = list(model.detect_video(path, thresh=0.3, average=1, batch=2))
    assert [one.frame.index for one in seen] == [0, 1, 2, 3, 4]
    assert [one.frame.time for one in seen] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert [one.found.image_size for one in seen] == [(64, 48)] * 5
    assert sum(len(one.found) for one in seen)
    with pytest.raises(DarknetError, match="average is 0"):
        next(model.detect_video(path, average=0))


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_frame_that_cannot_be_read_is_raised_after_those_before(model, noise, monkeypatch, lanes, batch):
    monkeypatch.setattr("darknet_py.predict.frames.lanes", lambda engine: lanes)

    def broken():
        yield from noise[:3]
        raise ImageError("no more")

    seen = []
    with pytest.raises(ImageError, match="no more"):
        seen.extend(one.frame.index for one in detect_frames(model.detector, broken(), Settings(), batch=batch))
    assert seen == [0, 1, 2]
