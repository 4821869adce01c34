from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from darknet_py.errors import ImageError
from darknet_py.pictures import files as pic
from darknet_py.pictures import opening
from darknet_py.pictures import operations as im
from darknet_py.pictures import resample as px
from darknet_py.pictures.resample import Axis

RECORDINGS = np.load(Path(__file__).parents[1] / "golden/images/images.npz")
SIDES = st.integers(1, 60)
RECORDED = torch.from_numpy(RECORDINGS["image"]).permute(1, 2, 0).mul(255).contiguous()


def noise(h: int, w: int, c: int = 3) -> Tensor:
    return torch.randint(0, 256, (h, w, c), dtype=torch.uint8, generator=torch.Generator().manual_seed(h + 99 * w))


def as_image(pixels: Tensor) -> Tensor:
    return pixels.permute(2, 0, 1) / 255


def cropped(pixels: Tensor, dx: int, dy: int, width: int, height: int, new_w: int, new_h: int) -> Tensor:
    h, w, _ = pixels.shape
    return px.resample(pixels, Axis.resized(w, dx, width, new_w), Axis.resized(h, dy, height, new_h, rows=True))


def placed(pixels: Tensor, width: int, height: int, dx: int, dy: int, canvas: Tensor) -> Tensor:
    h, w, _ = pixels.shape
    columns, x = Axis.placed(w, width, dx, canvas.shape[2])
    rows, y = Axis.placed(h, height, dy, canvas.shape[1])
    canvas = canvas.clone()
    canvas[:, y, x] = px.resample(pixels, columns, rows)
    return canvas


def resized(pixels: Tensor, width: int, height: int) -> Tensor:
    h, w, _ = pixels.shape
    return cropped(pixels, 0, 0, w, h, width, height)


FAST = {
    "resize": resized,
    "crop": lambda pixels, dx, dy, w, h: cropped(pixels, dx, dy, w, h, w, h),
    "place": lambda pixels, w, h, *where: placed(pixels, *where[:2], *where[2:], torch.full((3, h, w), 0.5)),
    "distort": lambda pixels, *how: px.distort(as_image(pixels), *how),
    "rotate_crop": px.turn,
}
KEYS = [key for key in RECORDINGS if key[3:].partition("(")[0] in FAST]


@pytest.mark.parametrize("key", KEYS)
def test_operations_are_those_of_the_c_program(key: str) -> None:
    operation, _, rest = key[3:].partition("(")
    result = FAST[operation](RECORDED, *ast.literal_eval(f"[{rest[:-1]}]"))
    torch.testing.assert_close(result, torch.from_numpy(RECORDINGS[key]), rtol=0, atol=1e-6)


def test_every_operation_was_recorded() -> None:
    assert {key[3:].partition("(")[0] for key in KEYS} == FAST.keys()


@given(
    w=SIDES, h=SIDES, width=SIDES, height=SIDES, dx=st.integers(-70, 70), dy=st.integers(-70, 70),
    canvas_w=SIDES, canvas_h=SIDES, c=st.sampled_from([1, 3]),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_placing_is_that_of_image(
    w: int, h: int, width: int, height: int, dx: int, dy: int, canvas_w: int, canvas_h: int, c: int
) -> None:
    pixels, canvas = noise(h, w, c), torch.full((c, canvas_h, canvas_w), 0.5)
    expected = im.place(as_image(pixels), width, height, dx, dy, canvas)
    columns, x = Axis.placed(w, width, dx, canvas_w)
    rows, y = Axis.placed(h, height, dy, canvas_h)
    if len(columns.near) and len(rows.near):
        torch.testing.assert_close(px.resample(pixels, columns, rows), expected[:, y, x], rtol=0, atol=1e-6)
        mirrored = px.resample(pixels, columns.mirrored(), rows)
        torch.testing.assert_close(mirrored, expected[:, y, x].flip(-1), rtol=0, atol=1e-6)
    else:
        assert torch.equal(expected, canvas)


@given(
    w=SIDES, h=SIDES, dx=st.integers(-70, 70), dy=st.integers(-70, 70), width=SIDES, height=SIDES,
    new_w=SIDES, new_h=SIDES,
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_cropping_and_resizing_are_those_of_image(
    w: int, h: int, dx: int, dy: int, width: int, height: int, new_w: int, new_h: int
) -> None:
    pixels = noise(h, w)
    expected = im.resize(im.crop(as_image(pixels), dx, dy, width, height), new_w, new_h)
    result = cropped(pixels, dx, dy, width, height, new_w, new_h)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)


def test_the_last_row_is_black_where_image_leaves_it_black() -> None:
    pixels = torch.full((375, 20, 3), 255, dtype=torch.uint8)
    torch.testing.assert_close(resized(pixels, 20, 84), im.resize(as_image(pixels), 20, 84), rtol=0, atol=1e-6)
    assert resized(pixels, 20, 84)[:, -1].max() < 1e-4


@given(
    w=SIDES, h=SIDES, radians=st.floats(-3.5, 3.5), scale=st.floats(0.1, 8), width=SIDES, height=SIDES,
    dx=st.floats(-200, 200), dy=st.floats(-200, 200), aspect=st.floats(0.3, 3), c=st.sampled_from([1, 3]),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_turning_is_that_of_image(
    w: int, h: int, radians: float, scale: float, width: int, height: int, dx: float, dy: float, aspect: float, c: int
) -> None:
    pixels = noise(h, w, c)
    expected = im.rotate_crop(as_image(pixels), radians, scale, width, height, dx, dy, aspect)
    result = px.turn(pixels, radians, scale, width, height, dx, dy, aspect)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)


@given(hue=st.floats(-1, 1), saturation=st.floats(0.1, 3), exposure=st.floats(0.1, 3), seed=st.integers(1, 9))
@settings(deadline=None, max_examples=60)
def test_distorting_is_that_of_image(hue: float, saturation: float, exposure: float, seed: int) -> None:
    pixels = noise(16, 16 * seed)
    pixels[:4] //= 64  # few colours, so that channels are equal
    image = as_image(pixels).contiguous()
    expected = im.distort(image, hue, saturation, exposure)
    atol = 1e-6 * max(1, saturation * exposure)
    torch.testing.assert_close(px.distort(image, hue, saturation, exposure), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("hue", [0.0, 1.0, -1.0, 1 / 6, 0.5, -0.5, 5 / 6])
def test_distorting_pure_colours_is_that_of_image(hue: float) -> None:
    levels = torch.tensor([0.0, 0.25, 1.0])
    image = torch.cartesian_prod(levels, levels, levels).T.reshape(3, 3, 9).contiguous()
    expected = im.distort(image, hue, 1.5, 0.75)
    torch.testing.assert_close(px.distort(image, hue, 1.5, 0.75), expected, rtol=0, atol=1e-6)


def test_a_hue_of_the_whole_circle_is_magenta_as_in_image() -> None:
    image = torch.tensor([0.9767523, 0.52467841, 0.63438749]).view(3, 1, 1)
    hue = 0.040446586906909943  # adds up to a hue of exactly 1
    expected = im.distort(image, hue, 1, 1)
    assert expected[0] == expected[2]
    torch.testing.assert_close(px.distort(image, hue, 1, 1), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "RGBA", "P", "CMYK", "1", "I;16"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_reading_is_that_of_picture(tmp_path: Path, mode: str, channels: int) -> None:
    rgb = Image.fromarray(noise(9, 7).numpy())
    deep = Image.fromarray(np.arange(63, dtype=np.uint16).reshape(9, 7) * 1000)
    picture = deep if mode == "I;16" else rgb.quantize(8) if mode == "P" else rgb.convert(mode)
    path = str(tmp_path / ("x.tif" if mode == "CMYK" else "x.png"))
    picture.save(path)
    result = px.read(path, channels)
    assert result.dtype == torch.uint8
    assert result.shape == (9, 7, channels)
    assert result.is_contiguous()
    assert torch.equal(result.permute(2, 0, 1) / 255, pic.read(path, channels))


def test_pictures_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    with pytest.raises(ImageError, match=r"x\.png: No such file"):
        px.read(str(path), 3)
    path.write_bytes(b"hello")
    with pytest.raises(ImageError, match=r"x\.png: not a picture"):
        px.read(str(path), 3)
    Image.new("RGB", (7, 6)).save(path)
    path.write_bytes(path.read_bytes()[:45])
    with pytest.raises(ImageError, match=r"x\.png: "):
        px.read(str(path), 3)
    Image.new("RGB", (7, 6)).save(path)
    monkeypatch.setattr(opening._Chosen, "reading", opening.Reading(max_pixels=41))
    with pytest.raises(ImageError, match="7 x 6 is more than 41 pixels"):
        px.read(str(path), 3)
