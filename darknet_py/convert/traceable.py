"""A network as a module that torch can trace: the outputs of its heads, or all boxes with all scores."""

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
    """The computation in a file with a graph: (N, C, H, W) from 0 to 1 -> a tuple of tensors, all float32.

    It returns the heads' outputs or, with `decode` or `nms`, the fields of `Dense`. The network is a copy that shares
    its tensors with the original, unless `dtype` differs. Raises `DarknetError` for options that the network cannot
    fulfil.
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
        """Whether boxes have one class each instead of a score for every class."""
        return self.decodes and self.walks[0] is not None

    @property
    def output_names(self) -> list[str]:
        """The names of the outputs; heads have the numbers of their layers."""
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
    """What a file says about its network, beside the graph."""
    told = note_of(network, options)
    del told["layout"]  # there are no keys without a state dict
    return {**told, "darknet_py": __version__}


def expect(network: Network, inputs: Sequence[Tensor], options: Options) -> list[list[Tensor]]:
    """The expected outputs of a file with a graph for each input (N, ...); with `nms`, the inputs of that."""
    module = Traceable(network, replace(options, dtype=torch.float32))
    with torch.no_grad():
        return [comparable(module(one_sequence(network, x)), options) for x in inputs]


def comparable(outputs: Iterable[Tensor], options: Options) -> list[Tensor]:
    """The outputs (N, ...) that are continuous in the input: scores and clipped boxes, not labels.

    A label jumps at a tie. The size of a box is an exponential, so boxes are clipped to the picture.
    """
    values = [output for output in outputs if output.is_floating_point()]
    return [values[0].clamp(0, 1), *values[1:]] if options.decode or options.nms else values


def one_sequence(network: Network, x: Tensor) -> Tensor:
    """The first sequence of a batch (N, ...) if the network is recurrent, because such a graph takes only one."""
    graph = network.graph
    return x[:: len(x) // graph.net.time_steps] if graph.recurrent else x


def without_gradient(network: Network) -> Network:
    """A copy whose parameters share the memory of the original and need no gradient."""
    memo: dict[int, Any] = {id(buffer): buffer for buffer in network.buffers()}
    for parameter in network.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=False)
    memo[id(network.graph)] = network.graph
    return copy.deepcopy(network, memo)


def check_dynamic_size(network: Network) -> None:
    """Raise `DarknetError` for a network whose layers depend on the size of its input."""
    graph = network.graph
    if not graph.resizable:
        raise DarknetError("the size cannot be dynamic: this network takes only one size")
    part = next((node for node in graph.nodes if node.layer.fixed_part), None)
    if part is not None:
        raise DarknetError(f"the size cannot be dynamic: {part} takes a part of a fixed size")


def check_heads(network: Network) -> None:
    """Raise `DarknetError` for a network without boxes, or with heads whose boxes cannot be joined."""
    heads = network.graph.heads
    for head in heads:
        head.layer.require_boxes()
        DENSE[head.layer]
    walks = _walks(network)
    kinds = {(head.layer.count_classes(head.inputs[0]), walk is None) for head, walk in zip(heads, walks, strict=True)}
    if len(kinds) > 1:
        raise DarknetError("the heads have different classes, so their boxes cannot be joined")


def _walks(network: Network) -> list[TreeWalk | None]:
    """The walk down the tree of its classes, for every head."""
    return [walk_in(network.layers[index]) for index in network.graph.outputs]
