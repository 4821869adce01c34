"""``[shortcut]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from darknet_py.cfg.keys import integer, key, number
from darknet_py.layers.base import Layer, Place, Shape, register
from darknet_py.layers.parts.activations import Activate, activated, activation_name
from darknet_py.layers.parts.text import Lines, call, helper, other_than


@register("shortcut")
@dataclass(frozen=True, kw_only=True)
class Shortcut(Layer):
    """``[shortcut]``: alpha times the input plus beta times an earlier output where they overlap, then the activation.

    Channels of the input that the other lacks stay as they are. A larger earlier output is sampled, and a smaller one
    is added to every n-th pixel (shortcut_cpu in blas.c).
    """

    shows_source = True

    source: int = key(integer, doc="the earlier layer; negative counts back from here", name="from")
    activation: str = key(activation_name, "linear", "the function applied last")
    alpha: float = key(number, 1.0, "factor of the input")
    beta: float = key(number, 1.0, "factor of the earlier output")

    def sources(self, index: int) -> tuple[int, ...]:
        return index - 1, self.earlier(self.source, index)

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        x, other = inputs
        if x.is_image != other.is_image:
            raise self.error(f"cannot add {other} to {x}")
        if x.is_image and not (other.w // x.w == other.h // x.h and x.w // other.w == x.h // other.h):
            raise self.error(f"cannot add {other} to {x}: width and height have to differ by the same factor")
        return x

    def resized(self, old: Sequence[Shape], new: Sequence[Shape]) -> Shortcut:
        """A new layer, with a new module, if the ratio of the two sizes changes."""
        same = ShortcutModule(self, *old).relation == ShortcutModule(self, *new).relation
        return self if same else replace(self)

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return ShortcutModule(self, *inputs)

    def text(self, place: Place, *xs: str) -> Lines:
        (x, other), (mine, its) = xs, place.inputs
        if mine == its:
            factors = ((x, self.alpha), (other, self.beta))
            both = " + ".join(name if factor == 1 else f"{factor} * {name}" for name, factor in factors)
            return [activated(self.activation, both)]
        function = "add_channels" if mine[1:] == its[1:] else "add_sizes"
        mixed = call(function, x, other, **other_than(1, alpha=self.alpha, beta=self.beta))
        return [mixed] if self.activation == "linear" else [f"mixed = {mixed}", activated(self.activation, "mixed")]

    def label(self, index: int) -> str:
        return f"res  {self.earlier(self.source, index):3d}"


class ShortcutModule(nn.Module):
    """(N, C, H, W) and (N, C2, H2, W2) -> (N, C, H, W)."""

    owns_output = True
    any_dtype = True

    def __init__(self, layer: Shortcut, x: Shape, other: Shape) -> None:
        super().__init__()
        self.alpha, self.beta = layer.alpha, layer.beta
        self.activate = Activate(layer.activation)
        self.channels = min(x.c, other.c)
        self.stride = max(other.w // x.w, 1) if x.is_image else 1
        self.sample = max(x.w // other.w, 1) if x.is_image else 1
        self.plain = x == other
        self.relation = (self.plain, x[1:] == other[1:], self.stride, self.sample)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        if self.plain:
            return self.activate(self.mix(x, other))
        c = self.channels
        if x.shape[2:] == other.shape[2:]:
            mixed = torch.cat((self.mix(x[:, :c], other[:, :c]), x[:, c:]), 1)
        else:
            h, w = (min(n, m) for n, m in zip(x.shape[2:], other.shape[2:], strict=True))
            read, write = self.stride, self.sample
            where = (slice(None), slice(c), slice(0, h * write, write), slice(0, w * write, write))
            mixed = x.clone()
            mixed[where] = self.mix(x[where], other[:, :c, : h * read : read, : w * read : read])
        return self.activate(mixed)

    def mix(self, x: Tensor, other: Tensor) -> Tensor:
        x = x if self.alpha == 1 else self.alpha * x
        return torch.add(x, other, alpha=self.beta)


@helper
def add_channels(
    x: Tensor,
    other: Tensor,
    alpha: float = 1.0,
    beta: float = 1.0,
) -> Tensor:
    """The sum in the channels that two (N, C, H, W) share; the others of x stay."""
    c = min(x.shape[1], other.shape[1])
    return torch.cat((alpha * x[:, :c] + beta * other[:, :c], x[:, c:]), 1)


@helper
def add_sizes(
    x: Tensor,
    other: Tensor,
    alpha: float = 1.0,
    beta: float = 1.0,
) -> Tensor:
    """The sum where two (N, C, H, W) overlap: the larger gives every n-th pixel."""
    c, h, w = (min(sizes) for sizes in zip(x.shape[1:], other.shape[1:], strict=True))
    read = max(other.shape[3] // x.shape[3], 1)
    write = max(x.shape[3] // other.shape[3], 1)
    added = other[:, :c, : h * read : read, : w * read : read]
    mixed = x.clone()
    part = mixed[:, :c, : h * write : write, : w * write : write]
    part.copy_(alpha * part + beta * added)
    return mixed
