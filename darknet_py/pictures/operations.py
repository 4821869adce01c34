"""Darknet's picture operations (image.c).

A picture is a float32 tensor (..., C, H, W) in [0, 1], RGB; the operations also take uint8, divided by 255.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_py.errors import ImageError


def resize(image: Tensor, width: int, height: int) -> Tensor:
    """Resize bilinearly, corner pixels onto corner pixels: (..., C, H, W) -> (..., C, height, width)."""
    image = floats(image)
    _check_size(width, height)
    *lead, h, w = image.shape
    left, along = corner_aligned(w, width, image.device)
    right = (left + 1).clamp(max=w - 1)
    part = torch.gather(image, -1, left.expand(*lead, h, width)).mul_(1 - along)
    part += torch.gather(image, -1, right.expand(*lead, h, width)).mul_(along)
    part[..., -1] = image[..., -1]
    if height == 1:  # the last row, as one column is the last; the C program reads outside the picture here
        return part[..., -1:, :].contiguous()
    above, down = corner_aligned(h, height, image.device)
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
    image = floats(image)
    *lead, h, w = image.shape
    new_w, new_h = letterbox_size(w, h, width, height)
    left, top = (width - new_w) // 2, (height - new_h) // 2
    canvas = torch.full((*lead, height, width), 0.5, dtype=torch.float32, device=image.device)
    canvas[..., top : top + new_h, left : left + new_w] = resize(image, new_w, new_h)
    return canvas


def resize_min(image: Tensor, size: int) -> Tensor:
    """Resize so that the shorter side is `size`; the longer one follows, rounded down."""
    image = floats(image)
    *_, h, w = image.shape
    new = (size, h * size // w) if w < h else (w * size // h, size)
    return image if new == (w, h) else resize(image, *new)


def resize_max(image: Tensor, size: int) -> Tensor:
    """Resize so that the longer side is `size`; the shorter one follows, rounded down but at least 1."""
    image = floats(image)
    *_, h, w = image.shape
    _check_size(size, size)
    new = (size, max(1, h * size // w)) if w > h else (max(1, w * size // h), size)
    return image if new == (w, h) else resize(image, *new)


def center_crop(image: Tensor, width: int, height: int) -> Tensor:
    """Cut the largest square out of the middle and resize it to `width` x `height`."""
    image = floats(image)
    *_, h, w = image.shape
    side = min(w, h)
    return resize(crop(image, (w - side) // 2, (h - side) // 2, side, side), width, height)


def crop(image: Tensor, dx: int, dy: int, width: int, height: int) -> Tensor:
    """Cut out `width` x `height` pixels from (dx, dy) on; outside, the nearest border pixel is repeated."""
    image = floats(image)
    _check_size(width, height)
    *_, h, w = image.shape
    rows = torch.arange(dy, dy + height, device=image.device).clamp(0, h - 1)
    columns = torch.arange(dx, dx + width, device=image.device).clamp(0, w - 1)
    return image.index_select(-2, rows).index_select(-1, columns)


def flip(image: Tensor) -> Tensor:
    """Mirror left and right."""
    return floats(image).flip(-1)


def place(image: Tensor, width: int, height: int, dx: int, dy: int, canvas: Tensor) -> Tensor:
    """Return a copy of `canvas` with the picture on it: `width` x `height` large, its corner at (dx, dy).

    Unlike `resize` this maps column x to x / width * W, and blends the far edges with the zeros outside.
    """
    image, canvas = floats(image), floats(canvas).clone()
    _check_size(width, height)
    if canvas.shape[:-2] != image.shape[:-2]:
        raise ImageError(
            f"a picture {tuple(image.shape)} does not go on a canvas {tuple(canvas.shape)}: channels differ"
        )
    *lead, h, w = image.shape
    left, along, x = placed(w, width, dx, canvas.shape[-1], image.device)
    above, down, y = placed(h, height, dy, canvas.shape[-2], image.device)
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
    image = floats(image)
    _check_size(width, height)
    if not all(map(math.isfinite, (radians, scale, dx, dy, aspect))) or scale == 0:
        raise ImageError(f"cannot rotate by {radians} at scale {scale}, aspect {aspect}, shift ({dx}, {dy})")
    *_, h, w = image.shape
    return _bilinear(image, *turned(w, h, radians, scale, width, height, dx, dy, aspect))


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
    choice = torch.tensor(
        [[0, 1, 2, 2, 3, 0], [3, 0, 0, 1, 2, 2], [2, 2, 3, 0, 0, 1]], dtype=torch.int64, device=v.device
    )
    sector = torch.where((sector < 0) | (sector > 5), 5.0, sector).long()
    return torch.gather(mixed, -3, choice[:, sector].movedim(0, -3)).clamp_(0, 1)


def grayscale(image: Tensor) -> Tensor:
    """Return the luma of an RGB picture: (..., 3, H, W) -> (..., 1, H, W)."""
    red, green, blue = _rgb(image)
    return (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(-3)


def floats(image: Tensor) -> Tensor:
    """Check that this is (..., C, H, W), not empty, and return it as float32."""
    if image.ndim < 3 or 0 in image.shape[-3:]:
        raise ImageError(f"expected a tensor (..., C, H, W) that is not empty, got {tuple(image.shape)}")
    if image.dtype == torch.uint8:
        return image.float().div_(255)
    if not image.is_floating_point():
        raise ImageError(f"expected uint8 or float values in [0, 1], got {image.dtype}")
    return image.float()


def _rgb(image: Tensor) -> tuple[Tensor, ...]:
    image = floats(image)
    if image.shape[-3] != 3:
        raise ImageError(f"expected 3 channels (RGB), got (..., C, H, W) = {tuple(image.shape)}")
    return image.unbind(-3)


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"a picture needs at least one pixel, not {width} x {height}")


def corner_aligned(size: int, new: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """For each of `new` samples on an axis of `size`, ends on ends: the index below and the fraction."""
    scale = np.float32(size - 1) / np.float32(max(new - 1, 1))
    at = torch.arange(new, dtype=torch.float32, device=device) * float(scale)
    index = at.long()
    return index, at - index


def placed(size: int, new: int, offset: int, limit: int, device: torch.device) -> tuple[Tensor, Tensor, slice]:
    """The same for the samples that a canvas of `limit` shows: index, fraction, position on the canvas."""
    first, last = max(0, -offset), min(new, limit - offset)
    scale = np.float32(1) / np.float32(new) * np.float32(size)  # in the order of Darknet's -Ofast build
    at = torch.arange(first, max(first, last), dtype=torch.float32, device=device) * float(scale)
    index = at.long().clamp(max=size - 1)
    return index, at - index, slice(first + offset, last + offset)


def turned(
    image_w: int,
    image_h: int,
    radians: float,
    scale: float,
    width: int,
    height: int,
    dx: float,
    dy: float,
    aspect: float,
) -> tuple[Tensor, Tensor]:
    """The columns and rows, (height, width) each, that `rotate_crop` reads of a picture of `image_w` x `image_h`.

    Positions outside are at most 2 before the first pixel or 2 behind the last.
    """
    angle, zoom, stretch, shift_x, shift_y = map(np.float32, (radians, scale, aspect, dx, dy))  # float in C
    x = (torch.arange(width, dtype=torch.float64) - width / 2) / float(zoom) * float(stretch)
    y = (torch.arange(height, dtype=torch.float64)[:, None] - height / 2) / float(zoom)
    x, y = x + float(shift_x / zoom * stretch), y + float(shift_y / zoom)
    cos, sin = math.cos(angle), math.sin(angle)
    column, row = cos * x - sin * y + image_w / 2, sin * x + cos * y + image_h / 2
    return column.float().clamp_(-2, image_w + 1), row.float().clamp_(-2, image_h + 1)


def _bilinear(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Sample (..., C, H, W) at x, y (h, w) as `turned` gives them, zero outside -> (..., C, h, w)."""
    w = image.shape[-1]
    x, y = x.to(image.device), y.to(image.device)
    left, top = x.floor(), y.floor()
    dx, dy = x - left, y - top
    wide = w + 5  # room for indices -2 .. w + 2
    at = (top.long() + 2) * wide + left.long() + 2
    flat = F.pad(image, (2, 3, 2, 3)).flatten(-2)
    upper = (1 - dy) * (1 - dx) * flat[..., at] + dy * (1 - dx) * flat[..., at + wide]
    return upper + (1 - dy) * dx * flat[..., at + 1] + dy * dx * flat[..., at + wide + 1]
