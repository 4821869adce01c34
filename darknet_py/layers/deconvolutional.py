"""``[deconvolutional]``."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from darknet_py.cfg.keys import flag, key, natural, positive
from darknet_py.layers.base import Blob, Layer, Place, Shape, register
from darknet_py.layers.parts.activations import Activate, activated, activation_name
from darknet_py.layers.parts.batchnorm import batch_norm_2d, norm_blobs, normalize
from darknet_py.layers.parts.text import Lines, call, helper, other_than
from darknet_py.layers.parts.uninitialized import ConvTranspose2d


@register("deconvolutional", "deconv")
@dataclass(frozen=True, kw_only=True)
class Deconvolutional(Layer):
    """``[deconvolutional]``: transposed convolution, then batch normalization or bias, then activation."""

    partial_filters = True

    filters: int = key(positive, 1, "output channels")
    size: int = key(positive, 1, "height and width of the kernel")
    stride: int = key(positive, 1, "step of the kernel in the output")
    pad: bool = key(flag, False, "cut size/2 (rounded down) off every side of the output; `padding` is ignored then")
    padding: int = key(natural, 0, "pixels cut off every side if pad=0")
    activation: str = key(activation_name, "logistic", "the function applied last")
    batch_normalize: bool = key(flag, False, "normalize over the batch before the activation")

    @property
    def total_padding(self) -> int:
        """Pixels cut off each side."""
        return self.size // 2 if self.pad else self.padding

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        _, h, w = self.image(inputs)
        slack = self.size - 2 * self.total_padding
        h, w = (h - 1) * self.stride + slack, (w - 1) * self.stride + slack
        if min(h, w) < 1:
            raise self.error(f"its padding leaves nothing of the output ({w} x {h})")
        return Shape(self.filters, h, w)

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return DeconvolutionalModule(self, self.image(inputs).c)

    def module_text(self, place: Place) -> str:
        options = other_than(1, stride=self.stride) | other_than(0, padding=self.total_padding)
        name = "deconv_bn" if self.batch_normalize else "deconv"
        return call(name, place.inputs[0].c, self.filters, self.size, **options)

    def text(self, place: Place, *xs: str) -> Lines:
        return [activated(self.activation, call(place.module, *xs))]

    def blobs(self, inputs: Sequence[Shape]) -> tuple[Blob, ...]:
        weight = (self.image(inputs).c, self.filters, self.size, self.size)
        return (
            Blob("bn.bias" if self.batch_normalize else "conv.bias", (self.filters,), "bias"),
            *(norm_blobs(self.filters, "bn") if self.batch_normalize else ()),
            Blob("conv.weight", weight, "weight"),
        )

    def operations(self, inputs: Sequence[Shape]) -> int:
        return 2 * self.size**2 * self.filters * self.image(inputs).size

    def label(self, index: int) -> str:
        return f"deconv{self.filters:5d} {self.size:2d} x{self.size:2d} /{self.stride:2d}"


class DeconvolutionalModule(nn.Module):
    """Transposed convolution, batch normalization or bias, activation; (N, C, H, W) -> (N, filters, H', W')."""

    def __init__(self, layer: Deconvolutional, channels: int) -> None:
        super().__init__()
        self.conv = ConvTranspose2d(
            channels,
            layer.filters,
            layer.size,
            layer.stride,
            layer.total_padding,
            bias=not layer.batch_normalize,
            dtype=torch.float32,
        )
        self.bn = batch_norm_2d(layer.filters) if layer.batch_normalize else None
        self.activate = Activate(layer.activation)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.bn is not None:
            x = normalize(self.bn, x)
        return self.activate(x)

    def initialize(self, generator: torch.Generator | None) -> None:
        """Draw the weights as Darknet does: normal, .02 times the growth of the picture."""
        growth = float(self.conv.stride[0] ** 2)
        with torch.no_grad():
            self.conv.weight.normal_(0, 0.02 * growth, generator=generator)
            if self.conv.bias is not None:
                self.conv.bias.zero_()


@helper
def deconv(
    inputs: int,
    filters: int,
    size: int,
    stride: int = 1,
    padding: int = 0,
) -> nn.Sequential:
    """Transposed convolution with a bias."""
    layer = nn.ConvTranspose2d(inputs, filters, size, stride, padding)
    return nn.Sequential(OrderedDict(conv=layer))


@helper
def deconv_bn(
    inputs: int,
    filters: int,
    size: int,
    stride: int = 1,
    padding: int = 0,
) -> nn.Sequential:
    """Transposed convolution, then batch normalization with Darknet's constants."""
    layer = nn.ConvTranspose2d(inputs, filters, size, stride, padding, bias=False)
    norm = nn.BatchNorm2d(filters, eps=1e-5, momentum=0.01)
    return nn.Sequential(OrderedDict(conv=layer, bn=norm))
