"""The functions that generated files may contain.

Their text is copied, so each needs only torch, and no line is longer than 88 characters. A file gets only the functions
that its network uses.
"""

from __future__ import annotations

import inspect
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darknet_py.layers.parts.activations import ACTIVATIONS


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


def linear(inputs: int, outputs: int) -> nn.Sequential:
    """Matrix product with a bias."""
    return nn.Sequential(OrderedDict(linear=nn.Linear(inputs, outputs)))


def linear_bn(inputs: int, outputs: int) -> nn.Sequential:
    """Matrix product, then batch normalization with Darknet's constants."""
    layer = nn.Linear(inputs, outputs, bias=False)
    norm = nn.BatchNorm1d(outputs, eps=1e-5, momentum=0.01)
    return nn.Sequential(OrderedDict(linear=layer, bn=norm))


def local_weights(
    filters: int,
    height: int,
    width: int,
    values: int,
) -> nn.ParameterDict:
    """The kernels of a convolution that has others at every place."""
    weight = torch.zeros(height * width, filters, values)
    bias = torch.zeros(filters, height, width)
    return nn.ParameterDict({"weight": weight, "bias": bias})


def local(
    kernels: nn.ParameterDict,
    x: Tensor,
    size: int,
    stride: int,
    padding: int,
) -> Tensor:
    """Convolution with other kernels at every place."""
    weight, bias = kernels["weight"], kernels["bias"]
    columns = F.unfold(x, size, padding=padding, stride=stride)
    out = torch.bmm(weight, columns.permute(2, 1, 0))  # (places, filters, N)
    return out.permute(2, 1, 0).unflatten(2, bias.shape[1:]) + bias


def binary(block: nn.Sequential, x: Tensor) -> Tensor:
    """A convolution whose weights count as plus or minus their filter's mean size."""
    weight = block.get_parameter("conv.weight")
    mean = weight.abs().mean((1, 2, 3), keepdim=True)
    signed = torch.where(weight > 0, mean, -mean)
    return torch.func.functional_call(block, {"conv.weight": signed}, (x,))


def signs(x: Tensor) -> Tensor:
    """1 where x > 0, else -1."""
    return torch.where(x > 0, 1.0, -1.0).to(x.dtype)


def max_pool(x: Tensor, size: int, stride: int, before: int, after: int) -> Tensor:
    """Max pooling with padding, which never wins, that differs between the sides."""
    sides = (before, after, before, after)
    return F.max_pool2d(F.pad(x, sides, value=torch.finfo(x.dtype).min), size, stride)


def reorg(x: Tensor, stride: int) -> Tensor:
    """Pixels into channels in Darknet's order, which is not that of pixel_unshuffle."""
    n, c, h, w = x.shape
    x = x.reshape(n, c // stride**2, h, stride, w, stride).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(n, c * stride**2, h // stride, w // stride)


def reorg_reverse(x: Tensor, stride: int) -> Tensor:
    """Channels into pixels in Darknet's order."""
    n, c, h, w = x.shape
    x = x.reshape(n, stride, stride, c // stride**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(n, c // stride**2, h * stride, w * stride)


def reorg_uneven(x: Tensor, stride: int, reverse: bool) -> Tensor:
    """The same, place by place, where channels are no multiple of stride * stride."""
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


def reorg_flatten(x: Tensor, stride: int) -> Tensor:
    """All channels of a pixel side by side, seen as a smaller picture."""
    n, c, h, w = x.shape
    rows = x.flatten(2).transpose(1, 2)
    return rows.reshape(n, c * stride**2, h // stride, w // stride)


def reorg_flatten_reverse(x: Tensor, stride: int) -> Tensor:
    """The channels of a pixel, which lie side by side, seen as a larger picture."""
    n, c, h, w = x.shape
    rows = x.reshape(n, h * w, c).transpose(1, 2)
    return rows.reshape(n, c // stride**2, h * stride, w * stride)


def add_channels(
    x: Tensor,
    other: Tensor,
    alpha: float = 1.0,
    beta: float = 1.0,
) -> Tensor:
    """The sum in the channels that both have; the others of x stay."""
    c = min(x.shape[1], other.shape[1])
    return torch.cat((alpha * x[:, :c] + beta * other[:, :c], x[:, c:]), 1)


def add_sizes(
    x: Tensor,
    other: Tensor,
    alpha: float = 1.0,
    beta: float = 1.0,
) -> Tensor:
    """The sum where two sizes overlap: the larger counts at every so many pixels."""
    c, h, w = (min(sizes) for sizes in zip(x.shape[1:], other.shape[1:], strict=True))
    read = max(other.shape[3] // x.shape[3], 1)
    write = max(x.shape[3] // other.shape[3], 1)
    added = other[:, :c, : h * read : read, : w * read : read]
    mixed = x.clone()
    part = mixed[:, :c, : h * write : write, : w * write : write]
    part.copy_(alpha * part + beta * added)
    return mixed


def normalize_channels(
    x: Tensor,
    size: int,
    alpha: float,
    beta: float,
    kappa: float,
) -> Tensor:
    """Normalization across channels; one is missing in the sums, as in Darknet."""
    before, after = (size - 1) // 2, size // 2
    squares = x.square()
    padded = F.pad(squares.flatten(2), (0, 0, before, after))
    sums = F.avg_pool2d(padded, (size, 1), stride=1, divisor_override=1)
    missing = squares[:, after : after + 1].sum(1, keepdim=True)
    return x * (kappa + alpha * (sums.reshape(x.shape) - missing)).pow(-beta)


def tree_softmax(x: Tensor, groups: Sequence[int], dim: int) -> Tensor:
    """Softmax inside each group of siblings of a tree of classes."""
    return torch.cat([group.softmax(dim) for group in x.split(groups, dim)], dim)


_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    conv,
    conv_bn,
    deconv,
    deconv_bn,
    linear,
    linear_bn,
    local_weights,
    local,
    binary,
    signs,
    max_pool,
    reorg,
    reorg_reverse,
    reorg_uneven,
    reorg_flatten,
    reorg_flatten_reverse,
    add_channels,
    add_sizes,
    normalize_channels,
    tree_softmax,
)
_ACTIVATIONS = sorted(
    filter(None, (activation.helper for activation in ACTIVATIONS.values())),
    key=lambda function: inspect.getsourcelines(function)[1],
)
HELPERS: Final = {function.__name__: function for function in (*_FUNCTIONS, *_ACTIVATIONS)}


def used_in(text: str) -> list[str]:
    """The sources of the functions that some code calls."""
    called = set(re.findall(r"(?<![.\w])(\w+)\(", text))
    return [inspect.getsource(function) for name, function in HELPERS.items() if name in called]
