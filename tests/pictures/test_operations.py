from __future__ import annotations

import ast
import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torch import Tensor

from darknet_py.errors import ImageError
from darknet_py.pictures import files as pic
from darknet_py.pictures import opening
from darknet_py.pictures import operations as im

RECORDINGS = np.load(Path(__file__).parents[1] / "golden/images/images.npz")
SIDES = st.integers(1, 40)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def eight_bit(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def png(width: int, height: int, depth: int, color: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def encoded(picture: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


# The operations against the C program.


@pytest.mark.parametrize("key", [key for key in RECORDINGS if key != "image"])
def test_operation_is_that_of_the_c_program(key: str) -> None:
    operation, _, rest = key[3:].partition("(")
    arguments = [] if rest == ")" else list(ast.literal_eval(f"[{rest[:-1]}]"))
    if operation == "place":
        width, height, *arguments = arguments
        arguments.append(torch.full((3, height, width), 0.5))
    result = getattr(im, operation)(torch.from_numpy(RECORDINGS["image"]), *arguments)
    torch.testing.assert_close(result, torch.from_numpy(RECORDINGS[key]), rtol=0, atol=1e-6)


def test_last_row_is_black_where_rounding_leaves_it_one_row_short() -> None:
    resized = im.resize(torch.ones(3, 375, 20), 20, 84)
    assert resized[:, :-1].min() > 0.999
    assert resized[:, -1].max() < 1e-4


# Resizing.


@given(w=SIDES, h=SIDES, width=SIDES, height=SIDES)
@settings(deadline=None, max_examples=60)
def test_resize_stays_within_the_values_and_keeps_the_corners(w: int, h: int, width: int, height: int) -> None:
    image = noise(2, h, w)
    resized = im.resize(image, width, height)
    assert resized.shape == (2, height, width)
    assert resized.min() >= 0
    assert resized.max() <= image.max() + 1e-6
    torch.testing.assert_close(resized[:, :1, -1:], image[:, (0 if height > 1 else -1), None, -1:])


def test_resize_to_the_same_size_is_the_picture() -> None:
    image = noise(3, 17, 29)
    torch.testing.assert_close(im.resize(image, 29, 17), image, rtol=0, atol=0)


@pytest.mark.parametrize(("width", "height"), [(1, 5), (5, 1), (1, 1)])
def test_a_single_column_or_row_is_the_last_one(width: int, height: int) -> None:
    image = noise(3, 4, 6)
    resized = im.resize(image, width, height)
    if width == 1:
        torch.testing.assert_close(resized, im.resize(image[..., -1:], 1, height))
    if height == 1:
        torch.testing.assert_close(resized, im.resize(image[..., -1:, :], width, 1))


@pytest.mark.parametrize("shape", [(3, 1, 9), (3, 9, 1), (3, 1, 1)])
@pytest.mark.parametrize("operation", [im.letterbox, im.resize, im.center_crop])
def test_pictures_one_pixel_wide_or_high(shape: tuple[int, ...], operation: Callable[..., Tensor]) -> None:
    result = operation(torch.full(shape, 0.25), 8, 6)
    assert result.shape == (3, 6, 8)
    assert set(result.unique().tolist()) <= {0.25, 0.5}


@given(w=st.integers(1, 3000), h=st.integers(1, 3000), width=st.integers(1, 700), height=st.integers(1, 700))
@settings(deadline=None)
def test_letterbox_size_fits_and_keeps_the_aspect(w: int, h: int, width: int, height: int) -> None:
    new_w, new_h = im.letterbox_size(w, h, width, height)
    assert 1 <= new_w <= width
    assert 1 <= new_h <= height
    assert new_w == width or new_h == height
    scale = min(width / w, height / h)
    assert abs(new_w - w * scale) <= 1
    assert abs(new_h - h * scale) <= 1


@given(w=SIDES, h=SIDES, width=SIDES, height=SIDES)
@settings(deadline=None, max_examples=60)
def test_letterbox_is_centred_on_grey(w: int, h: int, width: int, height: int) -> None:
    boxed = im.letterbox(torch.zeros(1, h, w), width, height)[0]
    new_w, new_h = im.letterbox_size(w, h, width, height)
    top, left = (height - new_h) // 2, (width - new_w) // 2
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[top : top + new_h, left : left + new_w] = True
    assert (boxed[inside] == 0).all()
    assert (boxed[~inside] == 0.5).all()


def test_a_picture_too_thin_for_its_letterbox_keeps_one_row() -> None:
    assert im.letterbox_size(2000, 1, 416, 416) == (416, 1)
    assert (im.letterbox(torch.zeros(3, 1, 2000), 416, 416) == 0).sum() == 3 * 416


def test_resize_min_and_max_name_the_side() -> None:
    image = noise(3, 20, 50)
    assert im.resize_min(image, 10).shape == (3, 10, 25)
    assert im.resize_max(image, 10).shape == (3, 4, 10)
    assert im.resize_max(image.mT, 10).shape == (3, 10, 4)
    assert im.resize_max(noise(3, 1, 50), 10).shape == (3, 1, 10)
    assert im.resize_min(image, 20) is image
    assert im.resize_max(image, 50) is image


# uint8, leading dimensions.

OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "resize": lambda x: im.resize(x, 9, 14),
    "letterbox": lambda x: im.letterbox(x, 16, 16),
    "resize_min": lambda x: im.resize_min(x, 6),
    "center_crop": lambda x: im.center_crop(x, 8, 8),
    "crop": lambda x: im.crop(x, -2, 3, 9, 9),
    "flip": im.flip,
    "distort": lambda x: im.distort(x, 0.1, 1.2, 0.8),
    "grayscale": im.grayscale,
    "rotate_crop": lambda x: im.rotate_crop(x, 0.3, 1.1, 9, 9, 1, 0, 0.9),
    "place": lambda x: im.place(x, 12, 8, -3, 2, torch.full((*x.shape[:-2], 10, 10), 0.5)),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_uint8_is_divided_by_255(operation: Callable[[Tensor], Tensor]) -> None:
    image = eight_bit(3, 12, 15)
    torch.testing.assert_close(operation(image), operation(image / 255))


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_leading_dimensions_are_kept(operation: Callable[[Tensor], Tensor]) -> None:
    batch = noise(2, 4, 3, 12, 15)
    one_by_one = torch.stack([operation(image) for image in batch.flatten(0, 1)]).unflatten(0, (2, 4))
    torch.testing.assert_close(operation(batch), one_by_one, rtol=0, atol=0)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_the_input_is_left_alone(operation: Callable[[Tensor], Tensor]) -> None:
    image = noise(3, 12, 15)
    operation(image).zero_()
    torch.testing.assert_close(image, noise(3, 12, 15), rtol=0, atol=0)


# Cropping, flipping, placing.


@given(data=st.data(), w=SIDES, h=SIDES)
@settings(deadline=None, max_examples=60)
def test_crop_inside_is_slicing(data: st.DataObject, w: int, h: int) -> None:
    dx, dy = data.draw(st.integers(0, w - 1)), data.draw(st.integers(0, h - 1))
    width, height = data.draw(st.integers(1, w - dx)), data.draw(st.integers(1, h - dy))
    image = noise(2, h, w)
    expected = image[:, dy : dy + height, dx : dx + width]
    torch.testing.assert_close(im.crop(image, dx, dy, width, height), expected, rtol=0, atol=0)


def test_crop_outside_repeats_the_border() -> None:
    image = noise(3, 5, 5)
    assert torch.equal(im.crop(image, 50, -50, 3, 2), image[:, :1, -1:].expand(3, 2, 3))


@given(w=SIDES, h=SIDES)
@settings(deadline=None, max_examples=20)
def test_flip_twice_is_nothing(w: int, h: int) -> None:
    image = noise(3, h, w)
    assert torch.equal(im.flip(im.flip(image)), image)
    assert torch.equal(im.flip(image)[..., 0], image[..., -1])


def test_place_at_its_own_size_is_the_picture() -> None:
    image = noise(3, 13, 21)
    placed = im.place(image, 21, 13, 4, 5, torch.full((3, 30, 40), 0.5))
    torch.testing.assert_close(placed[:, 5:18, 4:25], image, rtol=0, atol=1e-4)
    placed[:, 5:18, 4:25] = 0.5
    assert (placed == 0.5).all()


@given(dx=st.integers(-60, 60), dy=st.integers(-60, 60), width=SIDES, height=SIDES)
@settings(deadline=None, max_examples=60)
def test_place_touches_only_its_rectangle(dx: int, dy: int, width: int, height: int) -> None:
    canvas = torch.full((1, 30, 30), -1.0)
    placed = im.place(noise(1, 8, 9), width, height, dx, dy, canvas)
    y, x = torch.meshgrid(torch.arange(30), torch.arange(30), indexing="ij")
    inside = (x >= dx) & (x < dx + width) & (y >= dy) & (y < dy + height)
    assert torch.equal(placed[0] >= 0, inside)
    assert (canvas == -1).all()


def test_rotate_crop_without_turning_is_the_picture() -> None:
    image = noise(3, 12, 18)
    torch.testing.assert_close(im.rotate_crop(image, 0, 1, 18, 12, 0, 0, 1), image)


def test_rotate_crop_is_black_outside() -> None:
    assert (im.rotate_crop(torch.ones(3, 8, 8), 0.5, 1, 4, 4, 1e30, -1e30, 1) == 0).all()


# Colour.


def test_distort_by_nothing_is_nothing() -> None:
    image = eight_bit(3, 40, 40) / 255
    torch.testing.assert_close(im.distort(image, 0, 1, 1), image, rtol=0, atol=1e-6)


@given(hue=st.floats(-0.5, 0.5), saturation=st.floats(0.1, 3), exposure=st.floats(0.1, 3))
@settings(deadline=None, max_examples=60)
def test_distort_scales_grey_by_the_exposure_alone(hue: float, saturation: float, exposure: float) -> None:
    image = noise(1, 5, 5).expand(3, 5, 5).clone()
    image[:, 0, 0] = 0
    expected = (image * exposure).clamp(max=1)
    torch.testing.assert_close(im.distort(image, hue, saturation, exposure), expected)


def test_hue_turns_red_to_green_to_blue() -> None:
    red = torch.tensor([1.0, 0, 0]).view(3, 1, 1)
    green = im.distort(red, 1 / 3, 1, 1)
    torch.testing.assert_close(green, torch.tensor([0.0, 1, 0]).view(3, 1, 1), rtol=0, atol=1e-6)
    blue = im.distort(red, -1 / 3, 1, 1)
    torch.testing.assert_close(blue, torch.tensor([0.0, 0, 1]).view(3, 1, 1), rtol=0, atol=1e-6)


def test_grayscale_is_luma() -> None:
    image = torch.tensor([1.0, 0.5, 0.25]).view(3, 1, 1)
    torch.testing.assert_close(im.grayscale(image).item(), 0.299 + 0.587 / 2 + 0.114 / 4)


# What the operations refuse.


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: im.resize(noise(5, 5), 3, 3), "expected a tensor"),
        (lambda: im.letterbox(noise(5, 5), 3, 3), "expected a tensor"),
        (lambda: im.letterbox(noise(3, 0, 5), 3, 3), "not empty"),
        (lambda: im.resize(noise(3, 0, 5), 3, 3), "not empty"),
        (lambda: im.resize(torch.ones(3, 5, 5, dtype=torch.int64), 3, 3), "got torch.int64"),
        (lambda: im.resize(noise(3, 5, 5), 0, 3), "at least one pixel"),
        (lambda: im.crop(noise(3, 5, 5), 0, 0, 3, -1), "at least one pixel"),
        (lambda: im.resize_max(noise(3, 5, 5), 0), "at least one pixel"),
        (lambda: im.resize_min(noise(3, 5, 5), 0), "at least one pixel"),
        (lambda: im.letterbox_size(5, 5, 0, 5), "at least one pixel"),
        (lambda: im.distort(noise(1, 5, 5), 0, 1, 1), "expected 3 channels"),
        (lambda: im.grayscale(noise(4, 5, 5)), "expected 3 channels"),
        (lambda: im.place(noise(3, 5, 5), 5, 5, 0, 0, noise(1, 9, 9)), "channels differ"),
        (lambda: im.rotate_crop(noise(3, 5, 5), 0, 0, 5, 5, 0, 0, 1), "at scale 0"),
        (lambda: im.rotate_crop(noise(3, 5, 5), float("nan"), 1, 5, 5, 0, 0, 1), "rotate by nan"),
    ],
)
def test_refused(call: Callable[[], object], said: str) -> None:
    with pytest.raises(ImageError, match=said):
        call()


# Reading files.

RGB = Image.fromarray(eight_bit(6, 7, 3).numpy())
GREY = Image.fromarray(eight_bit(6, 7).numpy())


def as_bytes(image: Tensor) -> np.ndarray:
    return (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF", "TGA"])
def test_lossless_formats(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "picture"
    path.write_bytes(encoded(RGB, kind))
    expected = torch.from_numpy(np.array(RGB)).permute(2, 0, 1) / 255
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes())):
        result = pic.read(source)
        assert result.dtype == torch.float32
        assert result.is_contiguous()
        assert torch.equal(result, expected)


def test_jpeg_is_near(tmp_path: Path) -> None:
    smooth = im.resize(noise(3, 3, 3), 32, 24)
    pic.to_pil(smooth).save(tmp_path / "x.jpg", quality=95, subsampling=0)
    torch.testing.assert_close(pic.read(tmp_path / "x.jpg"), smooth, rtol=0, atol=0.05)


@pytest.mark.parametrize("picture", [GREY, GREY.convert("LA"), GREY.convert("1")], ids=["L", "LA", "1"])
def test_grey_is_replicated(picture: Image.Image) -> None:
    expected = np.array(picture.convert("L"))
    result = as_bytes(pic.read(encoded(picture)))
    assert all(np.array_equal(result[..., c], expected) for c in range(3))
    assert np.array_equal(as_bytes(pic.read(encoded(picture), channels=1))[..., 0], expected)


def test_alpha_is_dropped_not_blended() -> None:
    pixels = eight_bit(6, 7, 4).numpy()
    pixels[0, :, 3] = 0
    data = encoded(Image.fromarray(pixels))
    assert np.array_equal(as_bytes(pic.read(data)), pixels[..., :3])
    assert np.array_equal(as_bytes(pic.read(data, channels=4)), pixels)


def test_alpha_is_opaque_where_there_is_none() -> None:
    result = as_bytes(pic.read(encoded(RGB), channels=4))
    assert np.array_equal(result[..., :3], np.array(RGB))
    assert (result[..., 3] == 255).all()


def test_palettes_are_expanded(tmp_path: Path) -> None:
    palette = RGB.quantize(8)
    assert np.array_equal(as_bytes(pic.read(encoded(palette))), np.array(palette.convert("RGB")))
    palette.save(tmp_path / "x.png", transparency=bytes(range(8)))
    assert np.array_equal(as_bytes(pic.read(tmp_path / "x.png")), np.array(palette.convert("RGB")))
    assert np.array_equal(as_bytes(pic.read(tmp_path / "x.png", 4))[..., 3], np.array(palette))


def test_cmyk_is_converted(tmp_path: Path) -> None:
    ink = Image.new("CMYK", (8, 8), (255, 0, 0, 51))
    ink.save(tmp_path / "x.tif")
    assert as_bytes(pic.read(tmp_path / "x.tif"))[0, 0].tolist() == [0, 204, 204]


def test_one_channel_is_the_integer_luma() -> None:
    red, green, blue = np.moveaxis(np.array(RGB, np.int64), 2, 0)
    expected = (77 * red + 150 * green + 29 * blue) >> 8
    assert np.array_equal(as_bytes(pic.read(encoded(RGB), channels=1))[..., 0], expected)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_high_byte(kind: str) -> None:
    values = np.arange(0, 65536, 257 * 5 + 1, dtype=np.uint16)[None]
    result = as_bytes(pic.read(encoded(Image.fromarray(values), kind)))
    assert np.array_equal(result[..., 1], values >> 8)


def test_sixteen_bit_grey_in_32_bits_keeps_its_high_byte(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255, 256, 65535]], np.int32)).save(tmp_path / "x.tif")
    assert as_bytes(pic.read(tmp_path / "x.tif"))[0, :, 0].tolist() == [0, 0, 1, 255]
    Image.fromarray(np.array([[0, 65536]], np.int32)).save(tmp_path / "x.tif")
    with pytest.raises(ImageError, match="more than 16 bits"):
        pic.read(tmp_path / "x.tif")


@pytest.mark.parametrize(("color", "samples"), [(2, 3), (6, 4), (4, 2)])
def test_sixteen_bit_colour_keeps_its_high_byte(color: int, samples: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (4, 5, samples)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    result = as_bytes(pic.read(png(5, 4, 16, color, rows)))
    high = (values >> 8)[..., [0, 0, 0] if samples == 2 else [0, 1, 2]]
    assert np.array_equal(result, high)


@pytest.fixture
def reading() -> Iterator[None]:
    """Leaves the way of reading, and what was warned of, as they were at the start of a process."""
    opening.use(opening.Reading())
    yield
    opening.use(opening.Reading())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_ignored_with_one_warning_or_followed(
    tmp_path: Path, orientation: int, reading: None
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    RGB.save(tmp_path / "x.png", exif=exif)
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        for _ in range(2):
            assert np.array_equal(as_bytes(pic.read(tmp_path / "x.png")), np.asarray(RGB))
    assert [str(one.message) for one in given] == [opening.TURNED] * (orientation > 1)
    opening.use(opening.Reading(exif=True))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "x.png")))
    assert np.array_equal(as_bytes(pic.read(tmp_path / "x.png")), upright)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # of Pillow, while it looks for the resolution
def test_damaged_exif_is_none(tmp_path: Path, reading: None) -> None:
    RGB.save(tmp_path / "x.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01")
    assert pic.read(tmp_path / "x.jpg").shape == (3, 6, 7)


def test_large_pictures_are_read_and_bombs_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # Pillow's own limit, which is for what others read
    assert pic.read(encoded(RGB)).shape == (3, 6, 7)
    assert Image.MAX_IMAGE_PIXELS == 10
    for side, said in ((60_000, "60000 x 60000 is more than 512000000 pixels; see --max-pixels"), (20_000, "bomb")):
        with pytest.raises(ImageError, match=said):
            pic.read(png(side, side, 8, 2, b""))


def test_only_formats_of_darknet_users_are_opened(tmp_path: Path) -> None:
    for name in ("PCX", "ICNS", "DDS", "SGI"):
        RGB.resize((16, 16)).save(tmp_path / "x", name)
        with pytest.raises(ImageError, match="not a picture in a known format"):
            pic.read(tmp_path / "x")


def test_alpha_of_arrays_is_dropped() -> None:
    rgba = eight_bit(6, 7, 4).numpy()
    assert np.array_equal(as_bytes(pic.as_image(rgba)), rgba[..., :3])
    assert np.array_equal(as_bytes(pic.as_image(rgba[..., [2, 1, 0]])), rgba[..., [2, 1, 0]])  # BGRA to RGB
    assert np.array_equal(as_bytes(pic.as_image(rgba[..., :2])), rgba[..., [0, 0, 0]])
    assert np.array_equal(as_bytes(pic.as_image(rgba, 4)), rgba)


@pytest.mark.parametrize(
    "picture",
    [
        torch.empty(3, 4, 5, device="meta"),
        torch.rand(3, 4, 5).to_sparse(),
        torch.zeros(3, 4, 5, dtype=torch.complex64),
        np.zeros((4, 5, 3), object),
        np.zeros((4, 5, 3), complex),
        np.array(["a"]),
        None,
        {"a": 1},
        bytearray(b"abc"),
    ],
)
def test_what_is_no_picture_is_one_line(picture: object) -> None:
    with pytest.raises(ImageError, match="expected ") as caught:
        pic.as_image(picture)
    assert "\n" not in str(caught.value)


def test_a_stream_is_read_from_where_it_stands_and_left_open(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"before" + encoded(RGB))
    with (tmp_path / "x").open("rb") as file:
        file.seek(6)
        assert pic.read(file).shape == (3, 6, 7)
        assert not file.closed


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a picture"),
        (b"hello, this is text", "not a picture"),
        (encoded(RGB)[:60], "."),
        (encoded(RGB, "JPEG")[:-40], "truncated"),
        (encoded(RGB, "BMP")[:-40], "truncated"),
        (png(20000, 20000, 8, 2, b""), "decompression bomb"),
        (encoded(Image.new("F", (3, 3)), "TIFF"), "32-bit floats"),
    ],
)
def test_damaged_files(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=said) as caught:
        pic.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


class Trusting(Image.Image):
    """A picture whose reader trips over what its file says."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._size, self._mode, self.error = (3, 3), "RGB", error

    def load(self) -> None:
        raise self.error


@pytest.mark.parametrize("kind", [TypeError, AttributeError, KeyError, ZeroDivisionError, MemoryError, struct.error])
def test_whatever_pillow_trips_over_is_damage(kind: type[Exception]) -> None:
    for error, said in ((kind("so and so"), "so and so"), (kind(), kind.__name__)):
        with pytest.raises(ImageError, match=f"^picture: .?{said}"):
            pic.as_pixels(Trusting(error))


@pytest.mark.parametrize("kind", [TypeError, AttributeError, KeyError, ZeroDivisionError])
def test_a_mistake_of_ours_is_not_damage(monkeypatch: pytest.MonkeyPatch, kind: type[Exception]) -> None:
    def wrong(*_: object) -> None:
        raise kind("ours")

    monkeypatch.setattr(pic, "pixels_of", wrong)
    for picture in (encoded(RGB), RGB):
        with pytest.raises(kind, match="ours"):
            pic.as_image(picture)


def test_too_many_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening._Chosen, "reading", opening.Reading(max_pixels=41))
    for picture in (encoded(RGB), RGB):
        with pytest.raises(ImageError, match="7 x 6 is more than 41 pixels"):
            pic.as_image(picture)


def test_unreadable_paths(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.png: No such file"):
        pic.read(tmp_path / "gone.png")
    with pytest.raises(ImageError, match="directory"):
        pic.read(tmp_path)
    with pytest.raises(ImageError, match="null"):
        pic.read("a\0b")


@pytest.mark.parametrize("channels", [0, 2, 5])
def test_files_have_no_other_channels(channels: int) -> None:
    with pytest.raises(ImageError, match="1, 3 or 4 channels"):
        pic.read(encoded(RGB), channels)


@given(
    at=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8),
    kind=st.sampled_from(["PNG", "JPEG", "BMP", "GIF", "PPM", "TGA"]),
    end=st.integers(0, 2000),
)
@settings(deadline=None, max_examples=300)
def test_damage_is_an_image_error_or_a_picture(at: list[tuple[int, int]], kind: str, end: int) -> None:
    data = bytearray(encoded(RGB, kind))
    for place, value in at:
        data[place % len(data)] = value
    with suppress(ImageError):
        assert pic.read(bytes(data[:end])).ndim == 3


# Arrays, tensors and PIL pictures.


def test_arrays_and_tensors_of_every_kind_agree(tmp_path: Path) -> None:
    pixels = np.array(RGB)
    RGB.save(tmp_path / "x.png")
    expected = pic.read(tmp_path / "x.png")
    read_only = pixels.copy()
    read_only.flags.writeable = False
    for source in (
        tmp_path / "x.png",
        RGB,
        pixels,
        read_only,
        np.asarray(RGB),
        np.asfortranarray(pixels),
        pixels[..., ::-1].copy()[..., ::-1],  # an OpenCV picture, turned as the docstring says
        pixels.astype(np.uint16) << 8,
        (pixels.astype(np.uint16) << 8).astype(">u2"),
        pixels / np.float32(255),
        (pixels / 255).astype(">f8"),
        torch.from_numpy(pixels).permute(2, 0, 1),
        expected,
        expected.double(),
    ):
        result = pic.as_image(source)
        assert result.dtype == torch.float32
        assert result.is_contiguous()
        torch.testing.assert_close(result, expected)


def test_grey_arrays_and_tensors() -> None:
    pixels = np.array(GREY)
    expected = torch.from_numpy(pixels)[None] / 255
    for source in (pixels, pixels[..., None], torch.from_numpy(pixels), torch.from_numpy(pixels)[None], GREY):
        assert torch.equal(pic.as_image(source), expected.expand(3, 6, 7))
        assert torch.equal(pic.as_image(source, channels=1), expected)


def test_other_channel_counts_are_fine_for_tensors() -> None:
    assert pic.as_image(noise(6, 4, 4), channels=6).shape == (6, 4, 4)


def test_half_precision_and_slight_overshoot_are_fine() -> None:
    assert pic.as_image(noise(3, 4, 4).half()).dtype == torch.float32
    assert pic.as_image(noise(3, 4, 4) * 1.2 - 0.1).max() > 1


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (noise(2, 3, 4, 4), r"\(C, H, W\)"),
        (noise(4, 4, 4), "3 channels"),
        (np.zeros((4, 4, 5), np.uint8), "3 channels"),
        (np.zeros((3, 0, 3), np.uint8), "3 channels"),
        (np.zeros(5, np.uint8), r"\(H, W, C\)"),
        (np.zeros((4, 4, 3), np.int32), "int32"),
        (np.zeros((4, 4, 3), bool), "bool"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "int64"),
        (noise(3, 4, 4) * 255, "divide by 255"),
        (np.full((4, 4, 3), 200.0), "divide by 255"),
        (np.full((4, 4, 3), 1e300), "NaN or infinite"),
        (noise(3, 4, 4) - 2, "divide by 255"),
        (torch.full((3, 4, 4), float("nan")), "NaN"),
        (torch.tensor([[0.0, float("inf")]]), "NaN or infinite"),
        ([[1, 2], [3, 4]], "got list"),
        (None, "got NoneType"),
        (io.StringIO("text"), "stream of bytes, got one of str"),
        (Image.new("F", (4, 4)), "32-bit floats"),
    ],
)
def test_as_image_says_what_it_expected(source: im.ImageLike, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        pic.as_image(source)


# Writing.


def test_to_pil_cuts_off() -> None:
    values = torch.tensor([[0.0, 0.999, 1.0, 2.0, -1.0, float("nan")]])
    assert list(pic.to_pil(values).tobytes()) == [0, 254, 255, 255, 0, 0]


def test_to_pil_gives_every_8_bit_value_back() -> None:
    every = bytes(range(256))
    assert pic.to_pil(pic.as_image(torch.arange(256, dtype=torch.uint8)[None], 1)).tobytes() == every


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_to_pil_modes(channels: int, mode: str) -> None:
    picture = pic.to_pil(eight_bit(channels, 1, 1))
    assert picture.mode == mode
    assert picture.size == (1, 1)


def test_to_pil_refuses_other_channels() -> None:
    with pytest.raises(ImageError, match="1, 3 or 4 channels"):
        pic.to_pil(noise(2, 4, 4))


@pytest.mark.parametrize("name", ["x.png", "x.PNG", "x.bmp", "x.tif"])
def test_saved_and_read_again(tmp_path: Path, name: str) -> None:
    image = eight_bit(3, 5, 9) / 255
    pic.save(image, tmp_path / name)
    assert torch.equal(pic.read(tmp_path / name), image)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    pic.save(RGB, path)
    before = path.read_bytes()
    with pytest.raises(ImageError, match=r"x\.jpg: .*RGBA"):
        pic.save(eight_bit(4, 5, 5), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["x", "x.unknown", "x.cfg"])
def test_save_needs_a_known_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match=r"use \.png or \.jpg"):
        pic.save(RGB, tmp_path / name)


def test_save_into_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        pic.save(RGB, tmp_path / "gone" / "x.png")
