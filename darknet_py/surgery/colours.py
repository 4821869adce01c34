"""Adapts the first convolution to another range of input values or another order of colours."""

from __future__ import annotations

import torch
from torch import Tensor

from darknet_py.errors import DarknetError
from darknet_py.layers.convolutional import ConvolutionalModule
from darknet_py.network.module import Network


@torch.no_grad()
def rescale(network: Network) -> None:
    """Make a network trained on values from -1 to 1 take values from 0 to 1: W(2x - 1) + b = (2W)x + b - sum(W).

    rescale_weights in convolutional_layer.c changes the bias even if batch normalization comes before it, which makes
    another network; here the running mean takes the sum then. Padding stays zero, which was the middle of the old range
    and is the end of the new one, so values at the border do change.
    """
    module, weight = _first(network)
    moved = weight.sum((1, 2, 3))
    weight.mul_(2)
    if module.bn is not None:
        module.bn.get_buffer("running_mean").add_(moved)
    else:
        module.conv.get_parameter("bias").sub_(moved)


@torch.no_grad()
def rgbgr(network: Network) -> None:
    """Make a network trained on RGB take BGR, or vice versa, by swapping W[:, 0] and W[:, 2] (rgbgr_weights)."""
    _, weight = _first(network)
    weight.copy_(weight.flip(1))


def _first(network: Network) -> tuple[ConvolutionalModule, Tensor]:
    """The first convolution and its weights; raises `DarknetError` if it does not take three colours."""
    found = (module for module in network.layers if isinstance(module, ConvolutionalModule))
    module = next(found, None)
    if module is None:
        raise DarknetError(f"{network.graph.source} has no [convolutional] layer")
    channels = module.conv.weight.shape[1]
    if channels != 3:
        raise DarknetError(f"{network.graph.source}: the first convolution takes {channels} channels, not 3 colours")
    return module, module.conv.weight
