"""Folds batch normalization into the weights without removing it, or adds it where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from darknet_py.convert.fold import fold
from darknet_py.layers.base import Layer
from darknet_py.network.graph import Node, connect
from darknet_py.network.module import Network

KEY = "batch_normalize"


@torch.no_grad()
def reset(network: Network) -> None:
    """Fold batch normalization into the weights: W s and bias - mean s, with s = scale / sqrt(variance + 1e-5).

    It stays, with scale 1, mean 0, variance 1 (denormalize_convolutional_layer), so the file still fits its cfg. This
    covers every layer with batch normalization, recurrent ones too.
    """
    folded = fold(network)
    for name, product, bn in _normalized(network):
        plain: Any = folded.get_submodule(name)
        product.get_parameter("weight").copy_(plain.weight)
        bn.get_parameter("bias").copy_(plain.bias)
        bn.get_parameter("weight").fill_(1)
        bn.reset_running_stats()


@torch.no_grad()
def normalize(network: Network) -> Network:
    """A network with batch normalization in every layer that can have it: scale 1, mean 0, variance 1, the old bias.

    Outputs stay the same, except for the 1e-5 that is added to each variance. normalize_net in darknet.c sets the
    variance to 0, which makes them 300 times larger, and only handles convolutional and connected layers.
    """
    graph = network.graph
    layers = [_with_key(node) for node in graph.nodes]
    other = replace(graph, nodes=connect(graph.input_shape, layers))
    normalized = Network(other, initialize=False).train(network.training)
    normalized.header = network.header
    normalized.load_state_dict(network.state_dict(), strict=False)
    for name, _, bn in _normalized(normalized):
        bias = getattr(network.get_submodule(name), "bias", None)
        if bias is not None:  # it had no batch normalization
            bn.get_parameter("bias").copy_(bias)
    return normalized


def _normalized(network: Network) -> Iterator[tuple[str, nn.Module, nn.BatchNorm1d | nn.BatchNorm2d]]:
    """The name and module of every product that batch normalization follows, with the normalization."""
    for name, part in network.named_modules():
        bn = getattr(part, "bn", None)
        if isinstance(bn, (nn.BatchNorm1d, nn.BatchNorm2d)):
            kind = "conv" if hasattr(part, "conv") else "linear"
            yield f"{name}.{kind}", part.get_submodule(kind), bn


def _with_key(node: Node) -> Layer:
    layer: Any = node.layer
    return replace(layer, batch_normalize=True) if hasattr(layer, KEY) else layer
