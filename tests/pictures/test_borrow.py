"""Pixels of pictures in Pillow's own memory: the same as copied ones, and alive as long as they are needed."""

from __future__ import annotations

import gc
import io

import numpy as np
import pytest
import torch
from PIL import Image

from darknet_py.pictures import files as pic
from darknet_py.pictures.borrow import pixels_of

needs_arrow = pytest.mark.skipif(
    not hasattr(Image.Image, "__arrow_c_array__"), reason="this Pillow does not share its memory"
)


def some(mode: str, size: tuple[int, int] = (13, 7)) -> Image.Image:
    channels = len(Image.new(mode, (1, 1)).getbands())
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (size[1], size[0], channels), np.uint8)
    return Image.fromarray(pixels.squeeze(-1) if channels == 1 else pixels, mode)


@needs_arrow
@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_pixels_are_those_of_the_picture(mode):
    picture = some(mode)
    shared = pixels_of(picture)
    assert shared.shape == (7, 13, 4)
    assert np.array_equal(shared[..., :3], np.asarray(picture)[..., :3])


@needs_arrow
def test_pixels_stay_when_the_picture_goes():
    picture = Image.new("RGB", (300, 200), (1, 2, 3))
    shared = pixels_of(picture)
    del picture
    gc.collect()
    for n in range(20):  # memory that is free is used again
        Image.new("RGB", (300, 200), (n + 9, n, n))
    assert (shared[..., :3] == (1, 2, 3)).all()


def test_none_where_pillow_cannot_share(monkeypatch):
    assert pixels_of(Image.new("L", (5, 5))) is None
    assert pixels_of(Image.new("RGB", (5000, 1200))) is None  # in several pieces
    monkeypatch.delattr(Image.Image, "__arrow_c_array__", raising=False)
    assert pixels_of(Image.new("RGB", (5, 5))) is None


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "CMYK", "1", "P"])
def test_what_is_read_is_the_same_either_way(mode, monkeypatch):
    buffer = io.BytesIO()
    (some("RGB").convert(mode) if mode in ("1", "P") else some(mode)).save(buffer, "TIFF")
    shared = pic.read_pixels(buffer.getvalue())
    monkeypatch.setattr(pic, "pixels_of", lambda picture: None)
    copied = pic.read_pixels(buffer.getvalue())
    assert shared.shape == (3, 7, 13)
    assert torch.equal(shared, copied)
    assert torch.equal(pic.read(buffer.getvalue()), copied / 255)
