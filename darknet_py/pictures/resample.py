"""Samples 8-bit pictures into training input in one pass over the pixels that are used.

`resample`, `turn` and `distort` return what `place`, `resize`, `rotate_crop` and `distort` of `operations` return, up
to rounding, in a fraction of the time: only the pixels that are used become floats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_py.pictures.files import eight_bit, from_pil, picture_file
from darknet_py.pictures.opening import tell_once
from darknet_py.pictures.operations import corner_aligned, placed, turned

CPU: Final = torch.device("cpu")
TINY: Final = 1e-30  # keeps grey, which has no hue, from dividing by zero
_SECTORS: Final = ((3, -1, 2), (2, 1, -1), (4, 1, -1))  # of red, green, blue


@dataclass(frozen=True, eq=False)
class Axis:
    """For each pixel of a result along one side, its two neighbours in the picture and their weights."""

    near: Tensor
    far: Tensor
    near_weight: Tensor
    far_weight: Tensor

    @classmethod
    def placed(cls, size: int, new: int, offset: int, limit: int) -> tuple[Axis, slice]:
        """A side of `size` made `new` long, at `offset` on a canvas of `limit`: the visible part, and its place."""
        near, fraction, seen = placed(size, new, offset, limit, CPU)
        inside = near + 1 < size  # zeros are outside
        return cls(near, (near + 1).clamp_(max=size - 1), 1 - fraction, fraction * inside), seen

    @classmethod
    def resized(cls, size: int, start: int, length: int, new: int, *, rows: bool = False) -> Axis:
        """The `length` pixels from `start` on, made `new` long as by `crop` and `resize` of `operations`."""
        at, far = corner_aligned(length, new, CPU)
        near = 1 - far
        if not rows or new == 1:
            at[-1], near[-1] = length - 1, 1
        far[-1] = 0  # image.c adds nothing to the last row
        first, second = at, (at + 1).clamp_(max=length - 1)
        return cls((first + start).clamp_(0, size - 1), (second + start).clamp_(0, size - 1), near, far)

    def mirrored(self) -> Axis:
        """The same axis mirrored."""
        return Axis(self.near.flip(0), self.far.flip(0), self.near_weight.flip(0), self.far_weight.flip(0))


def read(path: str, channels: int, note: Callable[[str], None] = tell_once) -> Tensor:
    """Read a picture file -> (H, W, channels) uint8, as `files.read` does; `note` is called for EXIF orientations."""
    with picture_file(path, note) as file:
        pixels = torch.from_numpy(eight_bit(file)) if channels == 3 else from_pil(file, channels).permute(1, 2, 0)
    return pixels[..., :channels].contiguous()


def resample(pixels: Tensor, columns: Axis, rows: Axis) -> Tensor:
    """Sample (H, W, C) uint8 -> (C, h, w) float32."""
    h, w = len(rows.near), len(columns.near)
    part = pixels.index_select(0, rows.near).float().mul_(rows.near_weight.view(h, 1, 1) / 255)
    part.addcmul_(pixels.index_select(0, rows.far).float(), rows.far_weight.view(h, 1, 1) / 255)
    part = part.permute(1, 2, 0).contiguous()  # (W, C, h): columns become rows, which are copied fast
    whole = part.index_select(0, columns.near).mul_(columns.near_weight.view(w, 1, 1))
    whole.addcmul_(part.index_select(0, columns.far), columns.far_weight.view(w, 1, 1))
    return whole.permute(1, 2, 0).contiguous()


def turn(
    pixels: Tensor, radians: float, scale: float, width: int, height: int, dx: float, dy: float, aspect: float
) -> Tensor:
    """Cut `width` x `height` out of (H, W, C) uint8 rotated by `radians`, as `rotate_crop` does -> (C, h, w)."""
    h, w, channels = pixels.shape
    column, row = (place.flatten() for place in turned(w, h, radians, scale, width, height, dx, dy, aspect))
    left, top = column.floor(), row.floor()
    across, down = column - left, row - top
    wide = w + 5  # room for indices -2 .. w + 2
    at = (top.long() + 2).mul_(wide).add_(left.long()).add_(2)
    flat = F.pad(pixels, (0, 0, 2, 3, 2, 3)).view(-1, channels)
    weights = ((1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across)
    out = torch.zeros(len(at), channels, dtype=torch.float32)
    for weight, step in zip(weights, (0, 1, wide, wide + 1), strict=True):
        out.addcmul_(flat.index_select(0, at + step).float(), weight.div_(255)[:, None])
    return out.view(height, width, channels).permute(2, 0, 1).contiguous()


def distort(image: Tensor, hue: float, saturation: float, exposure: float) -> Tensor:
    """Change the colours of (3, H, W) float32 as `operations.distort` does, for a hue from -1 to 1.

    With V the largest of red, green and blue, D its distance to the smallest, and H the hue from 0 to 6, the
    result is V - D * c, where c of red is 2 - |H - 3|, of green |H - 2| - 1, of blue |H - 4| - 1, from 0 to 1.
    """
    red, green, blue = image
    upper, lower = torch.maximum(green, blue), torch.minimum(green, blue)
    value, middle = torch.maximum(red, upper), torch.minimum(red, upper)
    spread = value - torch.minimum(middle, lower)
    below = torch.lt(green, blue, out=torch.empty_like(red))  # as 0 and 1
    behind = torch.lt(red, upper, out=torch.empty_like(red))
    sector = behind.mul_(below.mul(12).sub_(2)).sub_(below.mul_(6))  # 0, -6, -2, 4: where the hue counts from
    angle = middle.sub_(lower).div_(spread + TINY).add_(sector).abs_().div_(6).add_(hue)
    angle = angle.sub_(torch.gt(angle, 1, out=below)).add_(torch.lt(angle, 0, out=behind)).mul_(6)
    out = torch.empty_like(image)
    for plane, (centre, slope, offset) in zip(out, _SECTORS, strict=True):
        torch.sub(angle, centre, out=plane).abs_().mul_(slope).add_(offset).clamp_(0, 1)
    out[2].mul_(torch.lt(angle, 6, out=below))  # image.c takes a hue of exactly 6 for magenta
    return torch.addcmul(value.mul_(exposure), out, spread.mul_(-exposure * saturation), out=out).clamp_(0, 1)
