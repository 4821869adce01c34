"""How a network lies in memory while it trains on the CPU."""

from __future__ import annotations

import torch

from darknet_py.layers.convolutional import Convolutional, ConvolutionalModule
from darknet_py.layers.maxpool import MaxPoolModule
from darknet_py.layers.parts.training_memory import Workspace
from darknet_py.network.graph import Node
from darknet_py.network.module import Network


def arrange(network: Network, rows: int) -> None:
    """Let layers use their memory anew in every step, and choose the order of each convolution; CPU only.

    `rows` are those of a mini-batch.
    """
    for node, module in zip(network.graph.nodes, network.layers, strict=True):
        if isinstance(module, (ConvolutionalModule, MaxPoolModule)):
            module.workspace = Workspace()
        if isinstance(module, ConvolutionalModule):
            module.layout = _layout(node, rows)
            if module.layout is not torch.preserve_format:
                module.conv.to(memory_format=module.layout)  # type: ignore[call-overload]


def release(network: Network) -> None:
    """Give the memory back that `arrange` lets layers keep."""
    for module in network.layers:
        if isinstance(module, (ConvolutionalModule, MaxPoolModule)):
            module.workspace = None


def _layout(node: Node, rows: int) -> torch.memory_format:
    """The order of what goes into a convolution; for one of 1 x 1 any is good.

    channels_last is the faster one. But then torch reorders the gradient of the weights, which takes longer than it
    gains where there are more of them than values in the mini-batch.
    """
    layer = node.layer
    if not isinstance(layer, Convolutional) or layer.size == 1:
        return torch.preserve_format
    heavy = node.parameters > rows * (node.inputs[0].size + node.shape.size)
    return torch.contiguous_format if heavy else torch.channels_last
