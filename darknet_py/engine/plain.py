"""`Folded`: a convolution with folded batch normalization, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from darknet_py.layers.convolutional import ConvolutionalModule
from darknet_py.layers.parts.activations import Activate
from darknet_py.layers.parts.uninitialized import Conv2d
from darknet_py.layers.shortcut import ShortcutModule

CHANNELS_AT_A_TIME = 64  # in float64


@dataclass(frozen=True, eq=False)
class Folded:
    """leaky(conv(x)), without references to the module it was made from."""

    weight: Tensor  # (K, C / groups, h, w)
    bias: Tensor  # (K,)
    stride: tuple[int, int]
    padding: tuple[int, int]
    groups: int
    slope: float = 1.0  # the slope below 0


def is_plain_convolution(module: nn.Module) -> bool:
    """Whether this is a plain convolution, whose weights and inputs are used unchanged."""
    if type(module) is not ConvolutionalModule or module.binary_weights or module.binary_inputs:
        return False
    bn, conv = module.bn, module.conv
    whole = bn is None or (type(bn) is nn.BatchNorm2d and bn.affine and bn.track_running_stats)
    own = type(conv) is Conv2d and type(module.activate) is Activate
    return whole and own and conv.dilation == (1, 1) and conv.padding_mode == "zeros"


def slope_of_sum(module: nn.Module) -> float | None:
    """The slope below 0 of a shortcut that adds two outputs of one size with factors of 1; None for other modules."""
    if type(module) is not ShortcutModule or not module.plain or (module.alpha, module.beta) != (1, 1):
        return None
    return module.activate.slope


@torch.no_grad()
def folded(module: ConvolutionalModule) -> Folded:
    """The convolution of a module, computed in float64, without its activation if that has no slope."""
    conv, bn = module.conv, module.bn
    weight = conv.weight.detach()
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach().clone()
    if bn is not None:
        mean, variance = bn.get_buffer("running_mean"), bn.get_buffer("running_var")
        scale = bn.weight.double() / torch.sqrt(variance.double() + bn.eps)
        whole, weight = weight, torch.empty_like(weight)
        parts = (tensor.split(CHANNELS_AT_A_TIME) for tensor in (weight, whole, scale.view(-1, 1, 1, 1)))
        for to, part, factor in zip(*parts, strict=True):
            to.copy_(part * factor)
        bias = (bn.bias + (bias - mean) * scale).to(weight.dtype)
    stride, padding = conv.stride, conv.padding
    return Folded(
        weight,
        bias.detach(),
        (stride[0], stride[1]),
        (int(padding[0]), int(padding[1])),
        conv.groups,
        1.0 if module.activate.slope is None else module.activate.slope,
    )
