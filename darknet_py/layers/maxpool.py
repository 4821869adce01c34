"""``[maxpool]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darknet_py.cfg.keys import key, natural, positive
from darknet_py.layers.base import Layer, Place, Reach, Shape, register
from darknet_py.layers.parts.text import Lines, call, helper
from darknet_py.layers.parts.training_memory import KeepsMemory, MaxPooled

WIDE: Final = 256  # larger windows are cut down to the part that their input can use


class Window(NamedTuple):
    """A window along one side of a picture, with the padding before and after."""

    size: int
    before: int
    after: int


@register("maxpool", "max")
@dataclass(frozen=True, kw_only=True)
class MaxPool(Layer):
    """``[maxpool]``: the maximum over a window; padding never wins."""

    stride: int = key(positive, 1, "step of the window")
    size: int | None = key(positive, None, "height and width of the window; Darknet takes the stride")
    padding: int | None = key(natural, None, "total over both sides; Darknet takes size-1")

    @property
    def window(self) -> int:
        """Height and width of the window."""
        return self.stride if self.size is None else self.size

    @property
    def total_padding(self) -> int:
        """Padding of both sides together; the smaller half comes first."""
        return self.window - 1 if self.padding is None else self.padding

    def along(self, side: int) -> Window:
        """The window along a side; a wide one without the part that is in the padding at every position."""
        size, total = self.window, self.total_padding
        before, after = total // 2, total - total // 2
        if size <= WIDE:
            return Window(size, before, after)
        last = (side + total - size) // self.stride * self.stride  # the start of the last window, counted with padding
        early, late = max(before - last, 0), max(size - before - side, 0)
        return Window(size - early - late, before - early, after - late)

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        c, h, w = self.image(inputs)
        slack = self.total_padding - self.window
        if min(h, w) + slack < 0:
            raise self.error(f"size={self.window} is larger than the {w} x {h} input with its padding")
        return Shape(c, (h + slack) // self.stride + 1, (w + slack) // self.stride + 1)

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return MaxPoolModule(self, self.image(inputs))

    def text(self, place: Place, *xs: str) -> Lines:
        (x,), pool = xs, MaxPoolModule(self, place.inputs[0])  # it knows what torch can pad itself
        if self.window > WIDE:
            padded = call("F.pad", x, pool.sides, value="torch.finfo(x.dtype).min")
            return [call("F.max_pool2d", padded, pool.kernel, pool.stride)]
        if not pool.pads_itself:
            return [call("max_pool", x, pool.size, pool.stride, pool.before, pool.after)]
        options = {"ceil_mode": True} if pool.ceil_mode else {}
        return [call("F.max_pool2d", x, pool.size, pool.stride, *([pool.before] if pool.before else []), **options)]

    def resized(self, old: Sequence[Shape], new: Sequence[Shape]) -> MaxPool:
        """A new layer, with a new module, if a wide window is cut down in another way."""
        same = [self.along(side) for side in old[0][1:]] == [self.along(side) for side in new[0][1:]]
        return self if same else replace(self)

    def workspace(self, inputs: Sequence[Shape]) -> int:
        module, (c, h, w) = MaxPoolModule(self, self.image(inputs)), self.image(inputs)
        if module.pads_itself:
            return 0
        left, right, top, bottom = module.sides
        return c * (h + top + bottom) * (w + left + right)

    def reach(self) -> Reach:
        return Reach(self.window, self.stride)

    def label(self, index: int) -> str:
        return f"max          {self.window} x {self.window} / {self.stride}"


class MaxPoolModule(KeepsMemory):
    """(N, C, H, W) -> (N, C, H', W').

    torch pads both sides equally. If Darknet pads one more at the end, torch's ceil_mode does the same for a stride of
    2; in every other case the picture is padded first.
    """

    owns_output = True
    any_dtype = True

    def __init__(self, layer: MaxPool, shape: Shape) -> None:
        super().__init__()
        self.size, self.stride = layer.window, layer.stride
        self.before, odd = divmod(layer.total_padding, 2)
        self.after = self.before + odd
        across, down = layer.along(shape.w), layer.along(shape.h)
        self.kernel = (down.size, across.size)
        self.sides = (across.before, across.after, down.before, down.after)
        small = 2 * self.before <= self.size
        ends_inside = self.after < self.size  # ceil_mode drops a last window that is only padding
        self.ceil_mode = bool(odd) and self.stride == 2 and small and ends_inside
        self.pads_itself = small and (not odd or self.ceil_mode) and self.size <= WIDE
        self.halves = self.size == 2 and self.ceil_mode and not self.before  # an output depends on up to 2 x 2 inputs

    def forward(self, x: Tensor) -> Tensor:
        if self.pads_itself and self.workspace is not None and self.workspace.serves(x):
            window = self.size, self.stride, self.before, self.ceil_mode
            y: Tensor = MaxPooled.apply(x, window, self.workspace)  # type: ignore[no-untyped-call]
            return y
        if self.pads_itself:
            return F.max_pool2d(x, self.size, self.stride, self.before, ceil_mode=self.ceil_mode)
        x = F.pad(x, self.sides, value=torch.finfo(x.dtype).min)
        return F.max_pool2d(x, self.kernel, self.stride)


@helper
def max_pool(x: Tensor, size: int, stride: int, before: int, after: int) -> Tensor:
    """Max pooling of (N, C, H, W); padding differs between the sides and never wins."""
    sides = (before, after, before, after)
    return F.max_pool2d(F.pad(x, sides, value=torch.finfo(x.dtype).min), size, stride)
