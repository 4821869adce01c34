"""Networks that share another's tensors: its first layers, another input size, folded batch normalization."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from darknet_py.errors import DarknetError
from darknet_py.layers.base import Layer
from darknet_py.network.graph import Graph, Node, connect
from darknet_py.network.module import Network


def sharing(network: Network, graph: Graph) -> Network:
    """A network for a graph of the same or fewer layers, with the other's modules instead of copies."""
    shared = Network(graph, initialize=False)
    shared.layers = network.layers[: len(graph.nodes)]
    shared.header, shared.training = network.header, network.training
    return shared


def beginning(network: Network, layers: int) -> Network:
    """Only the first layers of a network; raises `DarknetError` if it has fewer."""
    graph = network.graph
    if not 1 <= layers <= len(graph.nodes):
        raise DarknetError(f"there are {len(graph.nodes)} layers in {graph.source}, so upto={layers} cannot be")
    if layers == len(graph.nodes):
        return network
    return sharing(network, replace(graph, nodes=graph.nodes[:layers]))


def resized(network: Network, width: int, height: int) -> Network:
    """The network for another input size, if it can be resized; the original keeps its size."""
    other = sharing(network, network.graph)
    other.resize(width, height)
    return other


def fold(network: Network) -> Network:
    """A network with batch normalization folded into convolutional, connected and recurrent layers.

    Computed in float64. Its graph is that of a cfg without batch_normalize; [batchnorm] layers stay. Layers without
    batch normalization are shared with the original.
    """
    graph = network.graph
    layers = [_plain(node) for node in graph.nodes]
    plain = replace(graph, nodes=connect(graph.input_shape, layers))
    folded = Network(plain, initialize=False).train(network.training)
    folded.header = network.header
    for node, layer in zip(graph.nodes, layers, strict=True):
        if layer is node.layer:
            folded.layers[node.index] = network.layers[node.index]
        else:
            _fold_layer(network.layers[node.index], folded.layers[node.index])
    return folded


def _plain(node: Node) -> Layer:
    """The layer without batch normalization."""
    layer: Any = node.layer
    return replace(layer, batch_normalize=False) if getattr(layer, "batch_normalize", False) else layer


def _fold_layer(source: nn.Module, target: nn.Module) -> None:
    for name, part in source.named_modules():
        if isinstance(getattr(part, "bn", None), (nn.BatchNorm1d, nn.BatchNorm2d)):
            _fold_part(part, target.get_submodule(name))


@torch.no_grad()
def _fold_part(source: Any, target: Any) -> None:
    """A product with its normalization -> a product with a bias."""
    kind = "conv" if hasattr(source, "conv") else "linear"
    old, new, bn = getattr(source, kind), getattr(target, kind), source.bn
    scale = bn.weight.double() / torch.sqrt(bn.running_var.double() + bn.eps)
    sides = [1] * old.weight.ndim
    sides[1 if isinstance(old, nn.ConvTranspose2d) else 0] = -1  # the axis of outputs
    new.weight.copy_(old.weight * scale.view(sides))
    new.bias.copy_(bn.bias - bn.running_mean * scale)
