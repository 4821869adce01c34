"""Reuses memory and orders weights for training on the CPU."""

from __future__ import annotations

import torch

from darknet_py.layers.convolutional import ConvolutionalModule
from darknet_py.layers.parts.training_memory import KeepsMemory
from darknet_py.network.graph import Node
from darknet_py.network.module import Network


def arrange(network: Network, rows: int) -> None:
    """Let layers reuse their memory in every step, and choose the memory format of each convolution; CPU only.

    `rows` is the size of a mini-batch. A convolution converts its input to the memory format of its weights.
    """
    _keep(network, on=True)
    for node, module in zip(network.graph.nodes, network.layers, strict=True):
        if isinstance(module, ConvolutionalModule) and module.conv.kernel_size != (1, 1):
            module.conv.to(memory_format=_order(node, rows))  # type: ignore[call-overload]


def release(network: Network) -> None:
    """Free the memory that `arrange` lets layers keep."""
    _keep(network, on=False)


def _keep(network: Network, *, on: bool) -> None:
    for module in network.layers:
        if isinstance(module, KeepsMemory):
            module.keep(on)


def _order(node: Node, rows: int) -> torch.memory_format:
    """The memory format of a convolution's weights; those of 1 x 1 have both formats at once.

    channels_last is the faster one. But with it torch reorders the gradient of the weights, which costs more than it
    gains if there are more weights than values in the mini-batch.
    """
    heavy = node.parameters > rows * (node.inputs[0].size + node.shape.size)
    return torch.contiguous_format if heavy else torch.channels_last
