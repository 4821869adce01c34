"""How a network lies in memory while it trains on the CPU."""

from __future__ import annotations

import torch

from darknet_py.layers.convolutional import ConvolutionalModule
from darknet_py.layers.parts.training_memory import KeepsMemory
from darknet_py.network.graph import Node
from darknet_py.network.module import Network


def arrange(network: Network, rows: int) -> None:
    """Let layers use their memory anew in every step, and choose the order of each convolution; CPU only.

    `rows` are those of a mini-batch. A convolution brings its input into the order of its weights.
    """
    _keep(network, on=True)
    for node, module in zip(network.graph.nodes, network.layers, strict=True):
        if isinstance(module, ConvolutionalModule) and module.conv.kernel_size != (1, 1):
            module.conv.to(memory_format=_order(node, rows))  # type: ignore[call-overload]


def release(network: Network) -> None:
    """Give the memory back that `arrange` lets layers keep."""
    _keep(network, on=False)


def _keep(network: Network, *, on: bool) -> None:
    for module in network.layers:
        if isinstance(module, KeepsMemory):
            module.keep(on)


def _order(node: Node, rows: int) -> torch.memory_format:
    """The order of a convolution's weights; those of 1 x 1 have both at once, and any input is good for them.

    channels_last is the faster one. But then torch reorders the gradient of the weights, which takes longer than it
    gains where there are more of them than values in the mini-batch.
    """
    heavy = node.parameters > rows * (node.inputs[0].size + node.shape.size)
    return torch.contiguous_format if heavy else torch.channels_last
