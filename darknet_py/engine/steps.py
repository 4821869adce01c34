"""A network as steps, of which each computes a layer, or a convolution with all that follows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from darknet_py.engine.folded import Folded, folded, is_plain_convolution, is_plain_sum
from darknet_py.graph import INPUT, Node
from darknet_py.network import Network

Operation = Callable[..., Tensor]
Convolutions = Callable[[Folded], Operation]  # makes the operation of a convolution


@dataclass(frozen=True, eq=False)
class Step:
    """The output of layer `index` out of those of `sources`; the outputs `done` are needed no more."""

    index: int
    sources: tuple[int, ...]
    operation: Operation
    done: tuple[int, ...] = ()


class Stepwise:
    """Computes a network in steps, its convolutions made by `convolutions`."""

    def __init__(self, network: Network, name: str, convolutions: Convolutions) -> None:
        self.network, self.name, self._convolutions = network, name, convolutions
        self._state: object = None
        self._made: dict[int, Operation] = {}  # convolutions: other sizes of the input keep them
        self._steps: tuple[Step, ...] = ()
        self._graph: object = None

    @torch.inference_mode()
    def heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """The outputs of the network's heads; the first call, and one after the weights changed, prepares them."""
        network = self.network
        if network.training or x.ndim != 4 or x.dtype != torch.float32:
            return network.heads(x)
        network._check(x)  # noqa: SLF001
        self.prepare()
        values = {INPUT: x.contiguous(memory_format=torch.channels_last)}
        for step in self._steps:
            values[step.index] = step.operation(*[values[source] for source in step.sources])
            for source in step.done:
                del values[source]
        return tuple(values[index] for index in network.graph.outputs)

    def prepare(self) -> None:
        """Make the steps, unless they are those of the network as it is."""
        network = self.network
        tensors = (*network.parameters(), *network.buffers())
        state = [(id(tensor), tensor.data_ptr(), tensor._version) for tensor in tensors]  # noqa: SLF001
        if state != self._state:
            self._made.clear()
        elif self._graph is network.graph:
            return
        self._steps = _with_ends(list(self._rows()), network.graph.outputs)
        self._state, self._graph = state, network.graph

    def _rows(self) -> Iterator[Step]:
        network, fused = self.network, set[int]()
        nodes, needed = network.graph.nodes, sorted(network.graph.needed(network.graph.outputs))
        for node in (nodes[index] for index in needed if index not in fused):
            if not is_plain_convolution(network.layers[node.index]):
                yield Step(node.index, node.sources, network.layers[node.index])
                continue
            total = self._sum_after(node, needed)
            if total is None:
                yield Step(node.index, node.sources, self._convolution(node))
            else:
                fused.add(total.index)
                yield Step(total.index, (*node.sources, total.sources[1]), self._convolution(node, total))

    def _sum_after(self, node: Node, needed: list[int]) -> Node | None:
        """The shortcut that alone takes the output of a convolution and adds an earlier one to it, if there is one."""
        graph = self.network.graph
        users = [graph.nodes[index] for index in needed if node.index in graph.nodes[index].sources]
        if len(users) != 1 or node.index in graph.outputs or not is_plain_sum(self.network.layers[users[0].index]):
            return None
        (user,) = users
        first, other = user.sources
        return user if first == node.index > other else None

    def _convolution(self, node: Node, total: Node | None = None) -> Operation:
        layers = self.network.layers
        if node.index not in self._made:
            following = None if total is None else layers[total.index]
            self._made[node.index] = self._convolutions(folded(layers[node.index], following))
        return self._made[node.index]


def _with_ends(rows: list[Step], outputs: tuple[int, ...]) -> tuple[Step, ...]:
    """The same steps, each with the outputs that it is the last to need."""
    last: dict[int, int] = {}
    for place, row in enumerate(rows):
        last.update(dict.fromkeys((*row.sources, row.index), place))
    ends: list[list[int]] = [[] for _ in rows]
    for source, place in last.items():
        if source != INPUT and source not in outputs:
            ends[place].append(source)
    return tuple(
        Step(row.index, row.sources, row.operation, tuple(end)) for row, end in zip(rows, ends, strict=True)
    )  # fmt: skip
