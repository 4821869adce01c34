"""Pictures to the network's input: whatever the way, the numbers of `image.letterbox` and `image.resize`."""

from __future__ import annotations

from ctypes import byref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from darknet_py.errors import DarknetError
from darknet_py.kernels.native import Buffer, Picture
from darknet_py.pictures import letterbox as letterboxing
from darknet_py.pictures.letterbox import fitted
from darknet_py.pictures.operations import letterbox, resize

SIDES = st.one_of(st.integers(1, 5), st.integers(1, 90), st.sampled_from([375, 640]))
KERNEL = letterboxing.library()
needs_kernel = pytest.mark.skipif(KERNEL is None, reason="there is no C compiler here")


@pytest.fixture(params=[pytest.param(True, marks=needs_kernel), False], ids=["kernel", "torch"])
def way(request, monkeypatch):
    monkeypatch.setattr(letterboxing, "library", lambda: KERNEL if request.param else None)
    return request.param


def pixels(w: int, h: int, step: int = 3, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 256, (h * w * step,), dtype=torch.uint8, generator=rng)
    return values[: len(values) + 3 - step].as_strided((3, h, w), (1, w * step, step))  # nothing after the last pixel


@needs_kernel
@given(w=SIDES, h=SIDES, width=SIDES, height=SIDES, step=st.sampled_from([3, 4]), stretch=st.booleans())
@settings(deadline=None, max_examples=150)
def test_the_kernel_gives_the_very_numbers(w: int, h: int, width: int, height: int, step: int, stretch: bool) -> None:
    image = pixels(w, h, step)
    (mine,) = fitted([image], width, height, stretch=stretch)
    assert torch.equal(mine, (resize if stretch else letterbox)(image, width, height))


@needs_kernel
def test_the_kernel_divides_every_value_as_torch_does() -> None:
    every = torch.arange(256, dtype=torch.uint8).view(1, 256, 1).expand(2, 256, 3).contiguous().permute(2, 0, 1)
    assert torch.equal(fitted([every], 256, 2, stretch=True)[0], every / 255)


@needs_kernel
def test_the_kernel_takes_no_other_pictures() -> None:
    out = torch.zeros(1, 3, 8, 8).contiguous(memory_format=torch.channels_last)[0]
    image = pixels(9, 7)
    assert letterboxing._resized(image, out)
    wide = torch.zeros(7, 9, 5, dtype=torch.uint8).permute(2, 0, 1)[:3]
    others = (image.contiguous(), image / 255, image[:1], image[:, :0], image[[2, 1, 0]].contiguous(), wide)
    assert not any(letterboxing._resized(other, out) for other in others)


def test_a_batch_holds_each_picture(way: bool) -> None:
    images = [pixels(40, 30), pixels(10, 60, 4, 1), pixels(32, 32, seed=2) / 255, pixels(50, 20)[:, 3:9, 5:40]]
    batch = fitted(images, 32, 32)
    assert batch.shape == (4, 3, 32, 32)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    for mine, image in zip(batch, images, strict=True):
        assert torch.equal(mine, letterbox(image, 32, 32))


@pytest.mark.parametrize("channels", [1, 4])
def test_other_numbers_of_channels(channels: int, way: bool) -> None:
    image = torch.randint(0, 256, (11, 7, channels), dtype=torch.uint8).permute(2, 0, 1)
    assert torch.equal(fitted([image, image], 20, 16)[1], letterbox(image, 20, 16))


def test_a_picture_keeps_its_pixels(way: bool) -> None:
    image = pixels(20, 20)
    before = image.clone()
    fitted([image], 8, 8).zero_()
    assert torch.equal(image, before)


@needs_kernel
def test_places_that_a_picture_does_not_fit() -> None:
    image, out = pixels(9, 7), torch.zeros(1, 3, 8, 8).contiguous(memory_format=torch.channels_last)[0]
    for other in (out.double(), torch.zeros(3, 8, 8)):
        with pytest.raises(DarknetError, match=r"does not fit its place \(3, 8, 8\)"):
            letterboxing._resized(image, other)


@needs_kernel
@pytest.mark.parametrize("size", ["h", "w", "step", "row", "pixels"])
@pytest.mark.parametrize("value", [-1, 0, 5, 1 << 40, (1 << 63) - 1])
def test_the_kernel_refuses_sizes_that_are_none(size: str, value: int) -> None:
    image, out = pixels(9, 7), torch.full((64 * 3,), -1.0)
    picture = Picture(letterboxing._rest(image), 7, 9, 3, 27)
    setattr(picture, size, Buffer(image.data_ptr(), min(value, 188)) if size == "pixels" else value)
    if size == "row" and value in (0, 5):
        return  # a part of the picture
    columns, rows = letterboxing._axis(9, 8, rows=False)[1], letterboxing._axis(7, 8, rows=True)[1]
    space = torch.empty(1000)
    buffers = (Buffer * 2)(letterboxing._rest(out), letterboxing._rest(space))
    assert KERNEL.resize_picture(byref(picture), byref(columns), byref(rows), 24, buffers) != 0
    assert bool((out == -1).all())
