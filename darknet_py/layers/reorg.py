"""``[reorg]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darknet_py.cfg.keys import flag, key, natural, positive
from darknet_py.layers.base import Layer, Place, Reach, Shape, register
from darknet_py.layers.parts.text import Lines, call, flat, helper


@register("reorg")
@dataclass(frozen=True, kw_only=True)
class Reorg(Layer):
    """``[reorg]``: moves pixels into channels, in the order that official weights were trained with.

    This is not space-to-depth. reorg_cpu in blas.c reads the input as if it were c/s^2 pictures of s times the height
    and width, takes every s-th pixel of them, and treats the result as a picture with more channels. If the number of
    channels is not a multiple of s^2, the last of those pictures begins beyond the others; this is reproduced as long
    as it stays inside the memory of one picture.
    """

    stride: int = key(positive, 1, "how many pixels a side become one")
    reverse: bool = key(flag, False, "channels into pixels: the inverse")
    flatten: bool = key(flag, False, "instead put all channels of a pixel side by side (with reverse: back again)")
    extra: int = key(natural, 0, "if not 0, return the values as a row instead, followed by this many zeros")

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        c, h, w = shape = self.image(inputs)
        s = self.stride
        if self.extra and self.flatten:
            raise self.error("takes flatten=1 or extra=, not both: Darknet reads past its input then")
        if self.extra:
            return Shape(shape.size + self.extra)
        if c % s**2 and not self.stays_inside(shape):
            raise self.error(f"stride={s} needs channels that are a multiple of {s * s}, and there are {c}")
        if self.reverse:
            return Shape(c // s**2, h * s, w * s)
        if h % s or w % s:
            raise self.error(f"stride={s} does not divide the {w} x {h} input")
        return Shape(c * s**2, h // s, w // s)

    def stays_inside(self, shape: Shape) -> bool:
        """Whether reorg_cpu stays inside the memory of the layer if channels are not a multiple of s^2."""
        c, h, w = shape
        s, depth = self.stride, c // self.stride**2
        if self.flatten or not depth:
            return self.flatten and not self.reverse
        (last, rest), size = divmod(c - 1, depth), depth * s * s * h * w if self.reverse else shape.size
        ends = [(last, rest), *([(last - 1, depth - 1)] if last > s * s else [])]  # the farthest index that it uses
        return all(self._place(shape, offset, channel) < size for offset, channel in ends)

    def _place(self, shape: Shape, offset: int, channel: int) -> int:
        """The index of a channel's last pixel among the pictures of s times the height and width."""
        (_, h, w), s = shape, self.stride
        row, column = (h - 1) * s + offset // s, (w - 1) * s + offset % s
        return column + w * s * (row + h * s * channel)

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return ReorgModule(self)

    def text(self, place: Place, *xs: str) -> Lines:
        (x,) = xs
        if self.extra:
            return [call("F.pad", flat(place, x), (0, self.extra))]
        if place.inputs[0].c % self.stride**2 and not self.flatten:
            return [call("reorg_uneven", x, self.stride, self.reverse)]
        name = "reorg" + "_flatten" * self.flatten + "_reverse" * self.reverse
        return [call(name, x, self.stride)]

    def reach(self) -> Reach:
        return Reach(1, 1 / self.stride) if self.reverse else Reach(self.stride, self.stride)

    def label(self, index: int) -> str:
        return f"reorg              /{self.stride:2d}"


class ReorgModule(nn.Module):
    """(N, C, H, W) -> (N, C s^2, H/s, W/s), or with reverse (N, C/s^2, H s, W s).

    Every reshape goes through a row, because torch.export would tie the sizes of two pictures to each other.
    """

    any_dtype = True

    def __init__(self, layer: Reorg) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        s, layer = self.layer.stride, self.layer
        if layer.extra:
            return F.pad(x.flatten(1), (0, layer.extra))
        if layer.flatten:
            rows = x.reshape(b, h * w, c) if layer.reverse else x.flatten(2)
            x = rows.transpose(1, 2)
        else:
            x = self._moved(x)
        if layer.reverse:
            return x.flatten(1).reshape(b, c // s**2, h * s, w * s)
        return x.flatten(1).reshape(b, c * s**2, h // s, w // s)

    def _moved(self, x: Tensor) -> Tensor:
        """The values in their new order, in dimensions without meaning."""
        b, c, h, w = x.shape
        s, reverse = self.layer.stride, self.layer.reverse
        if c % s**2:
            return uneven(x, s, reverse=reverse)
        if reverse:
            return x.flatten(1).reshape(b, s, s, c // s**2, h, w).permute(0, 3, 4, 1, 5, 2)
        return x.flatten(1).reshape(b, c // s**2, h, s, w, s).permute(0, 3, 5, 1, 2, 4)


def uneven(x: Tensor, stride: int, *, reverse: bool) -> Tensor:
    """reorg_cpu of (N, C, H, W) for channels that are not a multiple of stride^2, value by value; returns rows."""
    _, c, h, w = x.shape
    depth = c // stride**2
    channel, row, column = (torch.arange(n, device=x.device) for n in (c, h, w))
    offset = channel // depth
    rows = row * stride + (offset // stride + h * stride * (channel % depth))[:, None]  # (C, H)
    columns = column * stride + (offset % stride)[:, None]  # (C, W)
    places = (rows[:, :, None] * w * stride + columns[:, None]).flatten()
    if reverse:  # of several values for one index the last remains
        written = torch.zeros(depth * stride**2 * h * w, dtype=places.dtype, device=x.device)
        places = written.scatter_reduce(0, places, torch.arange(places.shape[0], device=x.device), "amax")
    return x.flatten(1)[:, places]


@helper
def reorg(x: Tensor, stride: int) -> Tensor:
    """Pixels of (N, C, H, W) into channels; the order is not pixel_unshuffle's."""
    n, c, h, w = x.shape
    x = x.reshape(n, c // stride**2, h, stride, w, stride).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(n, c * stride**2, h // stride, w // stride)


@helper
def reorg_reverse(x: Tensor, stride: int) -> Tensor:
    """Channels of (N, C, H, W) into pixels, in Darknet's order."""
    n, c, h, w = x.shape
    x = x.reshape(n, stride, stride, c // stride**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(n, c // stride**2, h * stride, w * stride)


@helper
def reorg_uneven(x: Tensor, stride: int, reverse: bool) -> Tensor:
    """The same for C in (N, C, H, W) that is not a multiple of stride * stride."""
    n, c, h, w = x.shape
    depth = c // stride**2
    channel, row, column = (torch.arange(size, device=x.device) for size in (c, h, w))
    offset = channel // depth
    rows = row * stride + (offset // stride + h * stride * (channel % depth))[:, None]
    columns = column * stride + (offset % stride)[:, None]
    places = (rows[:, :, None] * w * stride + columns[:, None]).flatten()
    shape = n, c * stride**2, h // stride, w // stride
    if reverse:
        shape = n, depth, h * stride, w * stride
        order = torch.arange(len(places), device=x.device)
        start = order.new_zeros(depth * stride**2 * h * w)
        places = start.scatter_reduce(0, places, order, "amax")
    return x.flatten(1)[:, places].reshape(shape)


@helper
def reorg_flatten(x: Tensor, stride: int) -> Tensor:
    """(N, C, H, W) with channels side by side, seen as a smaller picture."""
    n, c, h, w = x.shape
    rows = x.flatten(2).transpose(1, 2)
    return rows.reshape(n, c * stride**2, h // stride, w // stride)


@helper
def reorg_flatten_reverse(x: Tensor, stride: int) -> Tensor:
    """(N, C, H, W), whose channels lie side by side, seen as a larger picture."""
    n, c, h, w = x.shape
    rows = x.reshape(n, h * w, c).transpose(1, 2)
    return rows.reshape(n, c // stride**2, h * stride, w * stride)
