"""Darknet's picture operations (image.c) and its way of reading picture files.

A picture is a float32 tensor (..., C, H, W) in [0, 1], RGB; the operations also take uint8, divided by 255.
"""

from __future__ import annotations

import io
import math
import os
import secrets
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from darknet_py.errors import ImageError, os_reason

Array: TypeAlias = "np.ndarray[Any, Any]"
ImageLike: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO | Image.Image | Array | Tensor"

MAX_PIXELS: Final = 2**28
FORMATS: Final = ("JPEG", "PNG", "BMP", "GIF", "PPM", "PSD", "TGA", "TIFF", "WEBP")
_UNREADABLE: Final = (  # what Pillow lets out when a file is damaged
    ImageError, OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, AttributeError,
    ArithmeticError, RuntimeError, MemoryError, struct.error, Warning, Image.DecompressionBombError,
)  # fmt: skip


def resize(image: Tensor, width: int, height: int) -> Tensor:
    """Resize bilinearly, corner pixels onto corner pixels: (..., C, H, W) -> (..., C, height, width)."""
    image = _floats(image)
    _check_size(width, height)
    *lead, h, w = image.shape
    left, along = _corner_aligned(w, width, image.device)
    right = (left + 1).clamp(max=w - 1)
    part = torch.gather(image, -1, left.expand(*lead, h, width)).mul_(1 - along)
    part += torch.gather(image, -1, right.expand(*lead, h, width)).mul_(along)
    part[..., -1] = image[..., -1]
    if height == 1:  # the last row, as one column is the last; the C program reads outside the picture here
        return part[..., -1:, :].contiguous()
    above, down = _corner_aligned(h, height, image.device)
    # image.c adds nothing to the last row, so it comes out black where rounding leaves `above` at h - 2.
    below = (above + 1).clamp(max=h - 1)[:-1]
    down = down[:, None]
    resized = part.index_select(-2, above).mul_(1 - down)
    resized[..., :-1, :] += part.index_select(-2, below).mul_(down[:-1])
    return resized


def letterbox_size(image_w: int, image_h: int, width: int, height: int) -> tuple[int, int]:
    """Return the (w, h) of a picture of `image_w` x `image_h` inside a letterbox of `width` x `height`.

    It lies at ((width - w) // 2, (height - h) // 2). A side that the C program rounds to 0 is one pixel here.
    """
    _check_size(image_w, image_h)
    _check_size(width, height)
    if np.float32(width) / np.float32(image_w) < np.float32(height) / np.float32(image_h):
        return width, max(1, image_h * width // image_w)
    return max(1, image_w * height // image_h), height


def letterbox(image: Tensor, width: int, height: int) -> Tensor:
    """Resize to fit inside `width` x `height`, keeping the aspect, in the middle of a grey (.5) canvas."""
    image = _floats(image)
    *lead, h, w = image.shape
    new_w, new_h = letterbox_size(w, h, width, height)
    left, top = (width - new_w) // 2, (height - new_h) // 2
    canvas = torch.full((*lead, height, width), 0.5, device=image.device)
    canvas[..., top : top + new_h, left : left + new_w] = resize(image, new_w, new_h)
    return canvas


def resize_min(image: Tensor, size: int) -> Tensor:
    """Resize so that the shorter side is `size`; the longer one follows, rounded down."""
    image = _floats(image)
    *_, h, w = image.shape
    new = (size, h * size // w) if w < h else (w * size // h, size)
    return image if new == (w, h) else resize(image, *new)


def resize_max(image: Tensor, size: int) -> Tensor:
    """Resize so that the longer side is `size`; the shorter one follows, rounded down but at least 1."""
    image = _floats(image)
    *_, h, w = image.shape
    _check_size(size, size)
    new = (size, max(1, h * size // w)) if w > h else (max(1, w * size // h), size)
    return image if new == (w, h) else resize(image, *new)


def center_crop(image: Tensor, width: int, height: int) -> Tensor:
    """Cut the largest square out of the middle and resize it to `width` x `height`."""
    image = _floats(image)
    *_, h, w = image.shape
    side = min(w, h)
    return resize(crop(image, (w - side) // 2, (h - side) // 2, side, side), width, height)


def crop(image: Tensor, dx: int, dy: int, width: int, height: int) -> Tensor:
    """Cut out `width` x `height` pixels from (dx, dy) on; outside, the nearest border pixel is repeated."""
    image = _floats(image)
    _check_size(width, height)
    *_, h, w = image.shape
    rows = torch.arange(dy, dy + height, device=image.device).clamp(0, h - 1)
    columns = torch.arange(dx, dx + width, device=image.device).clamp(0, w - 1)
    return image.index_select(-2, rows).index_select(-1, columns)


def flip(image: Tensor) -> Tensor:
    """Mirror left and right."""
    return _floats(image).flip(-1)


def place(image: Tensor, width: int, height: int, dx: int, dy: int, canvas: Tensor) -> Tensor:
    """Return a copy of `canvas` with the picture on it: `width` x `height` large, its corner at (dx, dy).

    Unlike `resize` this maps column x to x / width * W, and blends the far edges with the zeros outside.
    """
    image, canvas = _floats(image), _floats(canvas).clone()
    _check_size(width, height)
    if canvas.shape[:-2] != image.shape[:-2]:
        raise ImageError(
            f"a picture {tuple(image.shape)} does not go on a canvas {tuple(canvas.shape)}: channels differ"
        )
    *lead, h, w = image.shape
    left, along, x = _placed(w, width, dx, canvas.shape[-1], image.device)
    above, down, y = _placed(h, height, dy, canvas.shape[-2], image.device)
    if not (len(left) and len(above)):
        return canvas
    wide = F.pad(image, (0, 1, 0, 1))  # the zeros outside
    part = torch.gather(wide, -1, left.expand(*lead, h + 1, -1)).mul_(1 - along)
    part += torch.gather(wide, -1, (left + 1).expand(*lead, h + 1, -1)).mul_(along)
    down = down[:, None]
    stretched = part.index_select(-2, above).mul_(1 - down)
    canvas[..., y, x] = stretched.add_(part.index_select(-2, above + 1).mul_(down))
    return canvas


def rotate_crop(
    image: Tensor, radians: float, scale: float, width: int, height: int, dx: float, dy: float, aspect: float
) -> Tensor:
    """Cut `width` x `height` pixels out of the picture turned by `radians` and enlarged by `scale`.

    (dx, dy) moves the middle, in pixels of the result; `aspect` widens what is seen. Zero outside.
    """
    image = _floats(image)
    _check_size(width, height)
    if not all(map(math.isfinite, (radians, scale, dx, dy, aspect))) or scale == 0:
        raise ImageError(f"cannot rotate by {radians} at scale {scale}, aspect {aspect}, shift ({dx}, {dy})")
    *_, h, w = image.shape
    angle, zoom, stretch, shift_x, shift_y = map(np.float32, (radians, scale, aspect, dx, dy))  # float in C
    x = (torch.arange(width, dtype=torch.float64) - width / 2) / float(zoom) * float(stretch)
    y = (torch.arange(height, dtype=torch.float64)[:, None] - height / 2) / float(zoom)
    x, y = x + float(shift_x / zoom * stretch), y + float(shift_y / zoom)
    cos, sin = math.cos(angle), math.sin(angle)
    return _bilinear(image, (cos * x - sin * y + w / 2).float(), (sin * x + cos * y + h / 2).float())


def distort(image: Tensor, hue: float, saturation: float, exposure: float) -> Tensor:
    """Scale the saturation and value and shift the hue (1: the whole circle) of RGB; clamped to [0, 1]."""
    red, green, blue = _rgb(image)
    value = torch.maximum(torch.maximum(red, green), blue)
    delta = value - torch.minimum(torch.minimum(red, green), blue)
    safe = torch.where(delta == 0, 1.0, delta)
    angle = torch.where(
        red == value,
        (green - blue) / safe,
        torch.where(green == value, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    angle = torch.where(angle < 0, angle + 6, angle) / 6 + hue
    angle = torch.where(angle > 1, angle - 1, angle)
    angle = torch.where(angle < 0, angle + 1, angle) * 6
    s = delta / torch.where(value == 0, 1.0, value) * saturation
    v = value * exposure
    sector = angle.floor()
    f = angle - sector
    mixed = torch.stack((v, v * (1 - s * f), v * (1 - s), v * (1 - s * (1 - f))), -3)  # (..., 4, H, W)
    # Which of the four is red, green, blue in each sector; image.c takes all sectors but 0 to 4 as the fifth.
    choice = torch.tensor([[0, 1, 2, 2, 3, 0], [3, 0, 0, 1, 2, 2], [2, 2, 3, 0, 0, 1]], device=v.device)
    sector = torch.where((sector < 0) | (sector > 5), 5.0, sector).long()
    return torch.gather(mixed, -3, choice[:, sector].movedim(0, -3)).clamp_(0, 1)


def grayscale(image: Tensor) -> Tensor:
    """Return the luma of an RGB picture: (..., 3, H, W) -> (..., 1, H, W)."""
    red, green, blue = _rgb(image)
    return (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(-3)


def read(source: str | os.PathLike[str] | bytes | BinaryIO, channels: int = 3) -> Tensor:
    """Read a picture file, its bytes or a binary stream -> (channels, H, W), as Darknet's stb_image does.

    Grey is replicated, alpha is dropped (not blended), 16-bit values keep their high byte, and an EXIF
    orientation is ignored. One channel is stb_image's integer luma, four are RGBA. JPEG pixels may differ
    from the C program's by a few levels, for the decoders do. Whatever cannot be read, or has more than
    `MAX_PIXELS` or than Pillow allows, is an `ImageError`.
    """
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        with _named(name), Path(source).open("rb") as file, Image.open(file, formats=FORMATS) as picture:
            return _from_pil(picture, channels)
    if not isinstance(source, bytes) and not hasattr(source, "read"):
        raise ImageError(f"expected a path, bytes, a binary stream or a picture, got {type(source).__name__}")
    with _named(str(getattr(source, "name", "picture"))):
        content = source if isinstance(source, bytes) else source.read()
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            return _from_pil(picture, channels)


def as_image(x: ImageLike, channels: int = 3) -> Tensor:
    """Turn whatever holds a picture into (channels, H, W) float32, a tensor staying on its device.

    Files and PIL pictures are taken as by `read`. Arrays are (H, W) or (H, W, C), tensors (H, W) or
    (C, H, W), of uint8, floats in [0, 1], or (arrays) uint16, whose high byte counts. One channel is
    replicated to three. The order is RGB: OpenCV's BGR needs ``array[..., ::-1]``. The result may share the
    memory of `x`.
    """
    if isinstance(x, Image.Image):
        with _named(str(getattr(x, "filename", "") or "picture")):
            return _from_pil(x, channels)
    if isinstance(x, np.ndarray):
        x = _from_array(x)
    elif not isinstance(x, Tensor):
        return read(x, channels)
    x = x[None] if x.ndim == 2 else x
    if x.ndim != 3 or 0 in x.shape or x.shape[0] not in {channels, *((1,) if channels == 3 else ())}:
        raise ImageError(
            f"expected a picture of {channels} channels, as tensor (C, H, W) or array (H, W, C);"
            f" got (C, H, W) = {tuple(x.shape)}"
        )
    image = _floats(x)
    if x.is_floating_point():
        _check_range(image)
    return image.expand(channels, -1, -1).contiguous()


def to_pil(image: Tensor) -> Image.Image:
    """Turn (C, H, W) or (H, W) into an 8-bit picture, grey, RGB or RGBA; as in C, 255 * x is not rounded."""
    image = image[None] if image.ndim == 2 else image
    if image.ndim != 3 or image.shape[0] not in {1, 3, 4}:
        raise ImageError(f"expected (C, H, W) with 1, 3 or 4 channels, got {tuple(image.shape)}")
    values = (_floats(image.detach()).nan_to_num(0).clamp(0, 1) * 255).to(torch.uint8)
    pixels = values.permute(1, 2, 0).contiguous().cpu().numpy()
    return Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)


def save(image: Tensor | Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a picture in the format that the suffix of `path` names; JPEG has Darknet's quality, 80."""
    path = Path(path)
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise ImageError(f"{path}: no picture format has the suffix {path.suffix!r}; use .png or .jpg")
    picture = to_pil(image) if isinstance(image, Tensor) else image
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with _named(str(path)):
            with beside.open("xb") as file:
                picture.save(file, kind, **({"quality": 80} if kind == "JPEG" else {}))
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _floats(image: Tensor) -> Tensor:
    """Check that this is (..., C, H, W), not empty, and return it as float32."""
    if image.ndim < 3 or 0 in image.shape[-3:]:
        raise ImageError(f"expected a tensor (..., C, H, W) that is not empty, got {tuple(image.shape)}")
    if image.dtype == torch.uint8:
        return image.float().div_(255)
    if not image.is_floating_point():
        raise ImageError(f"expected uint8 or float values in [0, 1], got {image.dtype}")
    return image.float()


def _rgb(image: Tensor) -> tuple[Tensor, ...]:
    image = _floats(image)
    if image.shape[-3] != 3:
        raise ImageError(f"expected 3 channels (RGB), got (..., C, H, W) = {tuple(image.shape)}")
    return image.unbind(-3)


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"a picture needs at least one pixel, not {width} x {height}")


def _check_range(image: Tensor) -> None:
    low, high = (bound.item() for bound in image.aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ImageError("the picture has NaN or infinite values")
    if low < -0.5 or high > 1.5:
        raise ImageError(f"float values from {low:g} to {high:g}; expected [0, 1]: divide by 255")


def _corner_aligned(size: int, new: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where each of `new` samples falls on an axis of `size`, ends on ends: index below, fraction."""
    scale = np.float32(size - 1) / np.float32(max(new - 1, 1))
    at = torch.arange(new, dtype=torch.float32, device=device) * float(scale)
    index = at.long()
    return index, at - index


def _placed(size: int, new: int, offset: int, limit: int, device: torch.device) -> tuple[Tensor, Tensor, slice]:
    """Where those of `new` samples fall that a canvas of `limit` shows: index, fraction, place there."""
    first, last = max(0, -offset), min(new, limit - offset)
    scale = np.float32(1) / np.float32(new) * np.float32(size)  # in the order of Darknet's -Ofast build
    at = torch.arange(first, max(first, last), dtype=torch.float32, device=device) * float(scale)
    index = at.long().clamp(max=size - 1)
    return index, at - index, slice(first + offset, last + offset)


def _bilinear(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Sample (..., C, H, W) at x, y (h, w) in pixels, zero outside -> (..., C, h, w)."""
    *_, h, w = image.shape
    x, y = x.clamp(-2, w + 1).to(image.device), y.clamp(-2, h + 1).to(image.device)
    left, top = x.floor(), y.floor()
    dx, dy = x - left, y - top
    wide = w + 5  # room for indices -2 .. w + 2
    at = (top.long() + 2) * wide + left.long() + 2
    flat = F.pad(image, (2, 3, 2, 3)).flatten(-2)
    upper = (1 - dy) * (1 - dx) * flat[..., at] + dy * (1 - dx) * flat[..., at + wide]
    return upper + (1 - dy) * dx * flat[..., at + 1] + dy * dx * flat[..., at + wide + 1]


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Turn whatever Pillow raises into an `ImageError` of one line that starts with `name`."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not a picture in a known format ({', '.join(FORMATS)})") from error
    except _UNREADABLE as error:
        reason = os_reason(error) if isinstance(error, OSError) else str(error)
        raise ImageError(f"{name}: {' '.join(reason.split()) or type(error).__name__}") from error


def _from_pil(picture: Image.Image, channels: int) -> Tensor:
    """Decode to (channels, H, W)."""
    if channels not in {1, 3, 4}:
        raise ImageError(f"a picture file gives 1, 3 or 4 channels, not {channels}")
    if picture.width * picture.height > MAX_PIXELS:
        raise ImageError(f"{picture.width} x {picture.height} is more than {MAX_PIXELS} pixels")
    pixels = _eight_bit(picture)  # (H, W, 3 or 4)
    if channels == 1:
        pixels = (pixels[..., :3].astype(np.uint16) @ np.array([77, 150, 29], np.uint16) >> 8)[..., None]
    elif channels > pixels.shape[2]:
        pixels = np.pad(pixels, ((0, 0), (0, 0), (0, 1)), constant_values=255)
    chosen = torch.from_numpy(pixels[..., :channels].astype(np.uint8, copy=False)).permute(2, 0, 1)
    return chosen.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def _eight_bit(picture: Image.Image) -> Array:
    """Return the pixels as a writable uint8 array, RGB or RGBA."""
    if picture.mode == "F":
        raise ImageError("pictures of 32-bit floats are not read; save it with 8 or 16 bits")
    if picture.mode.startswith("I"):  # 16 bits, in Pillow's I;16 or I
        grey = np.asarray(picture)
        if grey.min() < 0 or grey.max() > 0xFFFF:
            raise ImageError("the values of this picture need more than 16 bits; save it with 8 or 16")
        return np.stack([(grey >> 8).astype(np.uint8)] * 3, -1)
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    return np.array(picture if picture.mode == mode else picture.convert(mode))


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
