"""``[convolutional]``."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darknet_py.cfg.keys import flag, integer, key, number, positive
from darknet_py.layers.base import Blob, Layer, Place, Reach, Shape, Update, register
from darknet_py.layers.parts.activations import Activate, activated, activation_name
from darknet_py.layers.parts.batchnorm import batch_norm_2d, norm_blobs
from darknet_py.layers.parts.builds import FollowsBuild
from darknet_py.layers.parts.text import Lines, call, helper, other_than
from darknet_py.layers.parts.training_memory import KeepsMemory, norm_activate
from darknet_py.layers.parts.uninitialized import Conv2d


@register("convolutional", "conv")
@dataclass(frozen=True, kw_only=True)
class Convolutional(Layer):
    """``[convolutional]``: convolution, then batch normalization or bias, then activation."""

    counts = "filters"
    partial_filters = True
    update = Update(clipped=True)

    filters: int = key(positive, 1, "output channels")
    size: int = key(positive, 1, "height and width of the kernel")
    stride: int = key(positive, 1, "step of the kernel")
    pad: bool = key(flag, False, "pad every side by size/2 (rounded down); `padding` is ignored then")
    padding: int = key(integer, 0, "padding of every side if pad=0")
    groups: int = key(positive, 1, "number of groups of channels")
    activation: str = key(activation_name, "logistic", "the function applied last")
    batch_normalize: bool = key(flag, False, "normalize over the batch before the activation")
    flipped: bool = key(flag, False, "the weights file stores the kernel matrix transposed")
    binary: bool = key(flag, False, "use weights of plus or minus their filter's mean absolute value")
    xnor: bool = key(flag, False, "binary weights, and inputs count as plus or minus 1")
    dot: float = key(number, 0.0, "read by Darknet, but the code it was for is commented out there")

    @property
    def total_padding(self) -> int:
        """Padding of each side."""
        return self.size // 2 if self.pad else self.padding

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        c, h, w = self.image(inputs)
        if c % self.groups or self.filters % self.groups:
            raise self.error(f"groups={self.groups} has to divide the {c} input channels and filters={self.filters}")
        if self.padding < 0:
            raise self.error(f"padding={self.padding} is negative")
        slack = 2 * self.total_padding - self.size
        if min(h, w) + slack < 0:
            raise self.error(f"size={self.size} is larger than the {w} x {h} input with its padding")
        return Shape(self.filters, (h + slack) // self.stride + 1, (w + slack) // self.stride + 1)

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return ConvolutionalModule(self, self.image(inputs).c)

    def module_text(self, place: Place) -> str:
        options = other_than(1, stride=self.stride) | other_than(0, padding=self.total_padding)
        options |= other_than(1, groups=self.groups)
        name = "conv_bn" if self.batch_normalize else "conv"
        return call(name, place.inputs[0].c, self.filters, self.size, **options)

    def text(self, place: Place, *xs: str) -> Lines:
        (x,) = xs
        x = call("signs", x) if self.xnor else x
        binary = self.binary or self.xnor
        return [activated(self.activation, call("binary", place.module, x) if binary else call(place.module, x))]

    def blobs(self, inputs: Sequence[Shape]) -> tuple[Blob, ...]:
        weight = (self.filters, self.image(inputs).c // self.groups, self.size, self.size)
        return (
            Blob("bn.bias" if self.batch_normalize else "conv.bias", (self.filters,), "bias"),
            *(norm_blobs(self.filters, "bn") if self.batch_normalize else ()),
            Blob("conv.weight", weight, "weight", flipped=self.flipped),
        )

    def operations(self, inputs: Sequence[Shape]) -> int:
        return 2 * self.size**2 * self.image(inputs).c // self.groups * self.out_shape(inputs).size

    def reach(self) -> Reach:
        return Reach(self.size, self.stride)

    def label(self, index: int) -> str:
        return f"conv  {self.filters:5d} {self.size:2d} x{self.size:2d} /{self.stride:2d}"


class ConvolutionalModule(FollowsBuild, KeepsMemory):
    """Convolution, batch normalization or bias, activation; (N, C, H, W) -> (N, filters, H', W').

    `smooth` is for training, and the CPU build of the C program does without it.
    """

    def __init__(self, layer: Convolutional, channels: int) -> None:
        super().__init__()
        self.conv = Conv2d(
            channels,
            layer.filters,
            layer.size,
            layer.stride,
            layer.total_padding,
            groups=layer.groups,
            bias=not layer.batch_normalize,
            dtype=torch.float32,
        )
        self.bn = batch_norm_2d(layer.filters) if layer.batch_normalize else None
        self.activate = Activate(layer.activation)
        self.smooth = layer.smooth
        self.binary_weights = layer.binary or layer.xnor
        self.binary_inputs = layer.xnor

    def forward(self, x: Tensor) -> Tensor:
        conv, bn = self.conv, self.bn
        if self.binary_inputs:
            x = sign_of_inputs(x)
        if self.training and self.workspace is not None:
            x = in_order_of(conv.weight, x)
        if self.binary_weights:
            x = F.conv2d(x, binarize(conv.weight), conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups)
        else:
            x = conv(x)
        x = self.activate(x) if bn is None else norm_activate(x, bn, self.activate, self.workspace)
        if self.training and self.smooth and self.build != "cpu":
            x = Smoothed.apply(x, self.smooth)  # type: ignore[no-untyped-call]
        return x

    def initialize(self, generator: torch.Generator | None) -> None:
        """Draw the weights as Darknet does: normal with variance 2 / fan-in."""
        with torch.no_grad():
            fan_in = self.conv.weight[0].numel()
            self.conv.weight.normal_(0, math.sqrt(2 / fan_in), generator=generator)
            if self.conv.bias is not None:
                self.conv.bias.zero_()


class Smoothed(torch.autograd.Function):
    """The identity; its gradient pulls each value towards its neighbours: `rate` times the differences in 5 x 5.

    That is smooth_layer of the GPU builds, which for strides above 1 takes the neighbours by the input's size, a fault.
    """

    WINDOW = 5

    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: float) -> Tensor:
        """(N, C, H, W)."""
        ctx.save_for_backward(x)
        ctx.rate = rate
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """The gradient (N, C, H, W), minus the pull."""
        (x,) = ctx.saved_tensors
        size = Smoothed.WINDOW
        sums, counts = (
            F.avg_pool2d(y, size, 1, size // 2, divisor_override=1) for y in (x, torch.ones_like(x[:1, :1]))
        )  # the border counts as 0 and is left out of both sums
        return grad - ctx.rate * (sums - counts * x), None


def in_order_of(weight: Tensor, x: Tensor) -> Tensor:
    """The picture (N, C, H, W) in the memory format of the weights; unchanged if these have both."""
    orders = torch.contiguous_format, torch.channels_last
    fits = [order for order in orders if weight.is_contiguous(memory_format=order)]
    return x.contiguous(memory_format=fits[0]) if len(fits) == 1 else x


def binarize(weight: Tensor) -> Tensor:
    """Each filter (K, C, h, w) as plus or minus the mean of its absolute values; gradients pass unchanged."""
    mean = weight.abs().mean(dim=(1, 2, 3), keepdim=True)
    return torch.where(weight > 0, mean, -mean).detach() + (weight - weight.detach())


def sign_of_inputs(x: Tensor) -> Tensor:
    """1 if x > 0, else -1, of any shape; gradients pass where x is between -1 and 1 (the gradient of hardtan)."""
    clipped = F.hardtanh(x)
    return torch.ones_like(x).where(x > 0, -1) + (clipped - clipped.detach())


@helper
def conv(
    inputs: int,
    filters: int,
    size: int,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
) -> nn.Sequential:
    """Convolution with a bias."""
    layer = nn.Conv2d(inputs, filters, size, stride, padding, groups=groups)
    return nn.Sequential(OrderedDict(conv=layer))


@helper
def conv_bn(
    inputs: int,
    filters: int,
    size: int,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
) -> nn.Sequential:
    """Convolution, then batch normalization with Darknet's constants."""
    layer = nn.Conv2d(
        inputs,
        filters,
        size,
        stride,
        padding,
        groups=groups,
        bias=False,
    )
    norm = nn.BatchNorm2d(filters, eps=1e-5, momentum=0.01)
    return nn.Sequential(OrderedDict(conv=layer, bn=norm))


@helper
def binary(block: nn.Sequential, x: Tensor) -> Tensor:
    """(N, C, H, W) through weights of plus or minus their filter's mean size."""
    weight = block.get_parameter("conv.weight")
    mean = weight.abs().mean((1, 2, 3), keepdim=True)
    signed = torch.where(weight > 0, mean, -mean)
    return torch.func.functional_call(block, {"conv.weight": signed}, (x,))


@helper
def signs(x: Tensor) -> Tensor:
    """1 where x, of any shape, is above 0, else -1."""
    return torch.where(x > 0, 1.0, -1.0).to(x.dtype)
