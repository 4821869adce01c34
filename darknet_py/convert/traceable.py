"""A network as one module that torch can trace: its heads as they are, or every box with every score."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from darknet_py import __version__
from darknet_py.convert.boxes import DENSE, Dense
from darknet_py.convert.formats import Options
from darknet_py.convert.named import note_of
from darknet_py.errors import DarknetError
from darknet_py.network.module import Network
from darknet_py.tree.walk import TreeWalk, walk_in


class Traceable(nn.Module):
    """What a file with a graph in it computes: (N, C, H, W) from 0 to 1 -> a tuple of tensors, all float32.

    The heads of the network; or, with `decode` or `nms`, what is in `Dense`. The network is a copy that shares its
    tensors with the original, unless `dtype` is another. Raises `DarknetError` for what the network does not have.
    """

    def __init__(self, network: Network, options: Options) -> None:
        super().__init__()
        if options.dynamic_size:
            check_dynamic_size(network)
        self.decodes = options.decode or options.nms
        if self.decodes:
            check_heads(network)
        self.network = without_gradient(network).eval().to(options.dtype)
        self.network.carry_state(False)
        self.walks = _walks(self.network)
        self.dtype = self.network.dtype

    @property
    def has_labels(self) -> bool:
        """Whether boxes have a class each, and no score for every class."""
        return self.decodes and self.walks[0] is not None

    @property
    def output_names(self) -> list[str]:
        """What the outputs are called; heads have the numbers of their layers."""
        if not self.decodes:
            return [f"layer{index}" for index in self.network.graph.outputs]
        return list(Dense._fields if self.has_labels else Dense._fields[:2])

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        outputs = [output.float() for output in self.network.heads(images.to(self.dtype))]
        if not self.decodes:
            return tuple(outputs)
        size = images.shape[2:]
        parts = [
            DENSE[node.layer](node.layer, output, size, walk)
            for node, output, walk in zip(self.network.graph.heads, outputs, self.walks, strict=True)
        ]
        return tuple(torch.cat(values, 1) for values in zip(*parts, strict=True) if values[0] is not None)


def note(network: Network, options: Options) -> dict[str, str]:
    """What a file says about the network in it, beside the graph."""
    told = note_of(network, options)
    del told["layout"]  # no state dict, no keys
    return {**told, "darknet_py": __version__}


def expect(network: Network, inputs: Sequence[Tensor], options: Options) -> list[list[Tensor]]:
    """What a file with a graph in it should make of each input; with `nms`, what goes into that."""
    module = Traceable(network, replace(options, dtype=torch.float32))
    with torch.no_grad():
        return [comparable(module(one_sequence(network, x)), options) for x in inputs]


def comparable(outputs: Iterable[Tensor], options: Options) -> list[Tensor]:
    """Of the outputs, what is off by little after little differences.

    A label is not: near a tie it is another one. And of boxes, whose size is an exponential, it is what lies inside
    the picture.
    """
    values = [output for output in outputs if output.is_floating_point()]
    return [values[0].clamp(0, 1), *values[1:]] if options.decode or options.nms else values


def one_sequence(network: Network, x: Tensor) -> Tensor:
    """The first sequence of a batch, where the network is recurrent: such a graph takes no more."""
    graph = network.graph
    return x[:: len(x) // graph.net.time_steps] if graph.recurrent else x


def without_gradient(network: Network) -> Network:
    """A copy that has the same memory behind its parameters, which need no gradient."""
    memo: dict[int, Any] = {id(buffer): buffer for buffer in network.buffers()}
    for parameter in network.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=False)
    memo[id(network.graph)] = network.graph
    return copy.deepcopy(network, memo)


def check_dynamic_size(network: Network) -> None:
    """Raise `DarknetError` for a network whose layers depend on the size of its input."""
    graph = network.graph
    if not graph.resizable:
        raise DarknetError("the size cannot be dynamic: this network takes one size alone")
    part = next((node for node in graph.nodes if node.layer.fixed_part), None)
    if part is not None:
        raise DarknetError(f"the size cannot be dynamic: {part} takes a part of a fixed size")


def check_heads(network: Network) -> None:
    """Raise `DarknetError` for a network without boxes, or with heads that cannot be joined."""
    heads = network.graph.heads
    for head in heads:
        head.layer.require_boxes()
        DENSE[head.layer]
    walks = _walks(network)
    kinds = {(head.layer.count_classes(head.inputs[0]), walk is None) for head, walk in zip(heads, walks, strict=True)}
    if len(kinds) > 1:
        raise DarknetError("the heads have different classes, so their boxes cannot be joined")


def _walks(network: Network) -> list[TreeWalk | None]:
    """Of every head, the walk down the tree of its classes."""
    return [walk_in(network.layers[index]) for index in network.graph.outputs]
