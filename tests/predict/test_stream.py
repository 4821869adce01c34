"""Lists of pictures: read by threads, in order, and each with its own error."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from darknet_py.boxes.suppress import Nms
from darknet_py.errors import ImageError
from darknet_py.model import Model, load
from darknet_py.predict import ahead as reading
from darknet_py.predict import stream as streams
from darknet_py.predict.decode import Settings
from darknet_py.predict.stream import each_picture
from tests.support.places import GOLDEN

BOXES = GOLDEN / "boxes"
LANES = pytest.mark.parametrize("lanes", [1, 2])


@pytest.fixture(scope="module")
def model() -> Model:
    return load(BOXES / "boxes_region.cfg", BOXES / "boxes_region.weights", device="cpu")


@pytest.fixture
def set_lanes(monkeypatch):
    before = torch.get_num_threads()

    def set_lanes(count: int) -> None:
        torch.set_num_threads(2)
        monkeypatch.setattr(streams, "lanes", lambda engine: count)

    yield set_lanes
    torch.set_num_threads(before)


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """Ten pictures of different sizes, two of which are none."""
    rng = np.random.default_rng(0)
    for n in range(10):
        path = tmp_path / f"{n}.png"
        if n in (3, 8):
            path.write_bytes(b"no picture")
        else:
            Image.fromarray(rng.integers(0, 256, (20 + n, 40, 3), np.uint8)).save(path)
    return [str(tmp_path / f"{n}.png") for n in range(10)]


def left() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "pictures"]


@LANES
@pytest.mark.parametrize("batch", [1, 3, 20])
def test_pictures_come_in_order_with_what_was_found_or_went_wrong(model, set_lanes, paths, lanes, batch):
    set_lanes(lanes)
    seen = list(model.detector.detect_each(paths, Settings(0.3), Nms(), batch))
    assert [one.source for one in seen] == paths
    for n, one in enumerate(seen):
        if n in (3, 8):
            assert one.image is None
            assert isinstance(one.found, ImageError)
            assert paths[n] in str(one.found)
        else:
            assert one.image.shape == (3, 20 + n, 40)
            assert one.seconds > 0
            alone = model.detect(paths[n], thresh=0.3)
            assert one.found.names == alone.names
            torch.testing.assert_close(one.found.boxes, alone.boxes)
    assert not left()


@LANES
def test_an_unreadable_picture_in_a_list_is_raised(model, set_lanes, paths, lanes):
    set_lanes(lanes)
    with pytest.raises(ImageError, match=r"3\.png"):
        model.detect(paths)
    assert not left()
    assert len(model.detect([path for n, path in enumerate(paths) if n not in (3, 8)])) == 8


@LANES
def test_when_the_caller_stops_no_thread_stays(model, set_lanes, paths, lanes):
    set_lanes(lanes)

    def stopped() -> None:
        for _ in model.detector.detect_each(paths * 20, Settings(), Nms(), 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert not left()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_a_file_that_hangs_does_not_keep_the_caller(model, set_lanes, paths, tmp_path, monkeypatch):
    set_lanes(1)
    monkeypatch.setattr(reading, "GRACE", 0.05)
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    seen = model.detector.detect_each([*paths[:2], str(pipe)], Settings(), Nms(), 1)
    next(seen)
    start = time.monotonic()
    seen.close()
    assert time.monotonic() - start < 5
    other_end = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    os.close(other_end)
    for thread in left():
        thread.join(5)
    assert not left()


def test_not_eager_asks_for_a_source_when_its_turn_has_come(model, set_lanes, paths):
    set_lanes(2)
    asked = []

    def sources():
        for path in paths:
            asked.append(path)
            yield path

    for n, _ in enumerate(model.detector.detect_each(sources(), Settings(), Nms(), 1, eager=False)):
        assert len(asked) == n + 1


@LANES
def test_objects_that_hold_a_picture_are_read_in_the_thread_of_the_caller(model, set_lanes, paths, lanes, monkeypatch):
    set_lanes(lanes)
    readers: dict[type, set[threading.Thread]] = {}
    as_pixels = streams.as_pixels

    def spy(source, channels):
        readers.setdefault(type(source), set()).add(threading.current_thread())
        return as_pixels(source, channels)

    monkeypatch.setattr(streams, "as_pixels", spy)
    with Image.open(paths[0]) as picture, Path(paths[1]).open("rb") as stream:
        several = [picture, picture, stream, np.zeros((5, 5, 3), np.uint8), torch.zeros(3, 5, 5), paths[2]]
        assert len(model.detect(several, batch=2)) == 6
    here = {threading.main_thread()}
    assert readers.pop(str).isdisjoint(here)
    assert len(readers) == 4
    assert all(threads == here for threads in readers.values())


def test_batches_side_by_side_take_what_they_need_and_no_more(model, set_lanes, paths):
    set_lanes(2)
    asked, sizes = [], []

    def sources():
        for n in range(1000):
            asked.append(n)
            yield paths[0]

    def run(images):
        sizes.append(len(images))
        return [None] * len(images)

    seen = each_picture(sources(), model.engine, run, 2)
    next(seen)
    seen.close()
    assert len(asked) <= 12
    assert set(sizes) == {2}
