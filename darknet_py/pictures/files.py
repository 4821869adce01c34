"""Pictures in files, PIL images, arrays and tensors: reading them as Darknet's stb_image does, and writing them."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from darknet_py.errors import ImageError, os_reason
from darknet_py.files import opened, replacing
from darknet_py.pictures.borrow import pixels_of
from darknet_py.pictures.opening import FORMATS, check_size, damage, picture_in, tell_once
from darknet_py.pictures.operations import floats

Array: TypeAlias = "np.ndarray[Any, Any]"
ImageLike: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO | Image.Image | Array | Tensor"


def read(source: str | os.PathLike[str] | bytes | BinaryIO, channels: int = 3) -> Tensor:
    """Read a picture file, its bytes or a binary stream -> (channels, H, W), as Darknet's stb_image does.

    Grey is replicated, alpha is dropped (not blended), 16-bit values keep their high byte, and an EXIF orientation is
    ignored, with a warning, unless `opening.use` says otherwise. One channel is stb_image's integer luma, four are
    RGBA. JPEG pixels may differ from the C program's by a few levels, for the decoders do. Whatever cannot be read, or
    has more pixels than `opening.Reading` allows, is an `ImageError`.
    """
    return _floats(read_pixels(source, channels))


def read_pixels(source: str | os.PathLike[str] | bytes | BinaryIO, channels: int = 3) -> Tensor:
    """Read as `read` does -> (channels, H, W) uint8, to look at only: a view of pixels with their channels together."""
    if isinstance(source, (str, os.PathLike)):
        with picture_file(os.fspath(source)) as picture:
            return from_pil(picture, channels)
    if not isinstance(source, bytes) and not hasattr(source, "read"):
        raise ImageError(f"expected a path, bytes, a binary stream or a picture, got {type(source).__name__}")
    with named(str(getattr(source, "name", "picture"))):
        content = source if isinstance(source, bytes) else source.read()
        if not isinstance(content, bytes):
            raise ImageError(f"expected a stream of bytes, got one of {type(content).__name__}")
        with picture_in(io.BytesIO(content), len(content)) as picture:
            return from_pil(picture, channels)


@contextmanager
def picture_file(name: str, note: Callable[[str], None] = tell_once) -> Iterator[Image.Image]:
    """A picture file, opened but not decoded; whatever is wrong with it in the block is an `ImageError`."""
    with named(name), opened(name) as file, picture_in(file, os.fstat(file.fileno()).st_size, note) as picture:
        yield picture


def as_image(x: ImageLike, channels: int = 3) -> Tensor:
    """Turn whatever holds a picture into (channels, H, W) float32, a tensor staying on its device.

    Pictures are as for `as_pixels`. The result may share the memory of `x`.
    """
    image = as_pixels(x, channels)
    return image.contiguous() if image.is_floating_point() else _floats(image)


def as_pixels(x: ImageLike, channels: int = 3) -> Tensor:
    """Turn whatever holds a picture into (channels, H, W): uint8 of what has 8 or 16 bits, float32 of floats.

    Files and PIL pictures are taken as by `read`. Arrays are (H, W) or (H, W, C), tensors (H, W) or (C, H, W), of
    uint8, floats in [0, 1], or (arrays) uint16, whose high byte counts. One channel is replicated to three; the second
    of two and the fourth of four in an array are alpha, and dropped. The order is RGB: OpenCV's BGR needs
    ``array[..., ::-1]``, its BGRA ``array[..., [2, 1, 0]]``. The result shares the memory of `x` where it can.
    """
    if isinstance(x, Image.Image):
        with named(str(getattr(x, "filename", "") or "picture")):
            check_size(x)
            return from_pil(x, channels)
    if isinstance(x, np.ndarray):
        x = _from_array(x)
        if x.ndim == 3 and len(x) in {2, 4} and channels in {1, 3} and len(x) - 1 in {1, channels}:
            x = x[:-1]  # without alpha
    elif not isinstance(x, Tensor):
        return read_pixels(x, channels)
    if x.is_meta or x.layout != torch.strided or x.is_quantized or x.is_nested:
        raise ImageError(f"expected a dense tensor with values, got one of {x.layout}, {x.dtype} on {x.device}")
    x = x[None] if x.ndim == 2 else x
    if x.ndim != 3 or 0 in x.shape or x.shape[0] not in {channels, *((1,) if channels == 3 else ())}:
        raise ImageError(
            f"expected a picture of {channels} channels, as tensor (C, H, W) or array (H, W, C);"
            f" got (C, H, W) = {tuple(x.shape)}"
        )
    if x.dtype != torch.uint8:
        x = floats(x)
        _check_range(x)
    return x.expand(channels, -1, -1)


def to_pil(image: Tensor) -> Image.Image:
    """Turn (C, H, W) or (H, W) into an 8-bit picture, grey, RGB or RGBA; as in C, 255 * x is not rounded."""
    image = image[None] if image.ndim == 2 else image
    if image.ndim != 3 or image.shape[0] not in {1, 3, 4}:
        raise ImageError(f"expected (C, H, W) with 1, 3 or 4 channels, got {tuple(image.shape)}")
    if image.dtype != torch.uint8:
        image = (floats(image.detach()).nan_to_num(0).clamp(0, 1) * 255).to(torch.uint8)
    pixels = image.permute(1, 2, 0).contiguous().cpu().numpy()
    return Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)


def save(image: Tensor | Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a picture, a PIL one or (C, H, W), in the format of the suffix of `path`; JPEG in Darknet's quality, 80."""
    path, kind = Path(path), format_of(path)
    picture = to_pil(image) if isinstance(image, Tensor) else image
    with named(str(path)), replacing(path) as file, damage():
        picture.save(file, kind, **({"quality": 80} if kind == "JPEG" else {}))


def format_of(path: str | os.PathLike[str]) -> str:
    """Pillow's name of the format that a suffix stands for; raises `ImageError` where there is none to write."""
    kind = Image.registered_extensions().get(Path(path).suffix.lower())
    if kind is None or kind not in Image.SAVE:
        raise ImageError(f"{path}: no picture format has the suffix {Path(path).suffix!r}; use .png or .jpg")
    return kind


def _check_range(image: Tensor) -> None:
    low, high = (bound.item() for bound in image.aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ImageError("the picture has NaN or infinite values")
    if low < -0.5 or high > 1.5:
        raise ImageError(f"float values from {low:g} to {high:g}; expected [0, 1]: divide by 255")


@contextmanager
def named(name: str) -> Iterator[None]:
    """Give errors of pictures and of the system one line that starts with `name`."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not a picture in a known format ({', '.join(FORMATS)})") from error
    except (ImageError, OSError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else str(error)
        raise ImageError(f"{name}: {' '.join(reason.split()) or type(error).__name__}") from error


def from_pil(picture: Image.Image, channels: int) -> Tensor:
    """Decode to a view (channels, H, W) uint8 of (H, W, channels) or more."""
    if channels not in {1, 3, 4}:
        raise ImageError(f"a picture file gives 1, 3 or 4 channels, not {channels}")
    pixels = _borrowed(picture) if channels == 3 else None
    if pixels is None:
        pixels = eight_bit(picture)  # (H, W, 3 or 4)
    if channels == 1:
        pixels = (pixels[..., :3].astype(np.uint16) @ np.array([77, 150, 29], np.uint16) >> 8)[..., None]
    elif channels > pixels.shape[2]:
        pixels = np.pad(pixels, ((0, 0), (0, 0), (0, 1)), constant_values=255)
    return torch.from_numpy(pixels[..., :channels].astype(np.uint8, copy=False)).permute(2, 0, 1)


def _floats(pixels: Tensor) -> Tensor:
    """From uint8 to values from 0 to 1."""
    return pixels.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def eight_bit(picture: Image.Image) -> Array:
    """Return the pixels as a writable uint8 array, RGB or RGBA."""
    if picture.mode == "F":
        raise ImageError("pictures of 32-bit floats are not read; save it with 8 or 16 bits")
    if picture.mode.startswith("I"):  # 16 bits, in Pillow's I;16 or I
        with damage():
            grey = np.asarray(picture)
        if grey.min() < 0 or grey.max() > 0xFFFF:
            raise ImageError("the values of this picture need more than 16 bits; save it with 8 or 16")
        return np.stack([(grey >> 8).astype(np.uint8)] * 3, -1)
    return np.array(_in_colour(picture))


def _borrowed(picture: Image.Image) -> Array | None:
    """The pixels (H, W, 4) where they are, if that can be had: RGB and something."""
    return None if picture.mode.startswith(("F", "I")) else pixels_of(_in_colour(picture))


def _in_colour(picture: Image.Image) -> Image.Image:
    with damage():
        picture.load()
        mode = "RGBA" if picture.has_transparency_data else "RGB"
        return picture if picture.mode == mode else picture.convert(mode)


def _from_array(array: Array) -> Tensor:
    """Turn (H, W) or (H, W, C) into (C, H, W), still uint8 or float."""
    if array.ndim not in {2, 3}:
        raise ImageError(f"expected an array (H, W) or (H, W, C), got {array.shape}")
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        array = (array >> 8).astype(np.uint8)
    if array.dtype.name not in {"uint8", "float16", "float32", "float64"}:
        raise ImageError(f"expected uint8, uint16 or float values in [0, 1], got {array.dtype}")
    native = np.require(array, array.dtype.newbyteorder("="), ["C", "W"])
    return torch.from_numpy(native if array.ndim == 2 else native.transpose(2, 0, 1))
