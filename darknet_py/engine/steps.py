"""A network as steps, of which each computes a layer, or a convolution with all that follows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor, nn

from darknet_py.engine.folded import SLOPES, Folded, is_plain_sum
from darknet_py.graph import INPUT, Graph, Node

Operation = Callable[..., Tensor]
Convolutions = Callable[[Folded], Operation]  # makes the operation of a convolution


@dataclass(frozen=True, eq=False)
class Step:
    """The output of layer `index` out of those of `sources`; the outputs `done` are needed no more."""

    index: int
    sources: tuple[int, ...]
    operation: Operation
    done: tuple[int, ...] = ()


def run(steps: Sequence[Step], x: Tensor, outputs: Sequence[int]) -> tuple[Tensor, ...]:
    """The outputs of the layers `outputs`."""
    values = {INPUT: x}
    for step in steps:
        values[step.index] = step.operation(*[values[source] for source in step.sources])
        for source in step.done:
            del values[source]
    return tuple(values[index] for index in outputs)


def steps_of(
    graph: Graph, layers: Sequence[nn.Module], convolution: Callable[[nn.Module], Operation | None]
) -> tuple[Step, ...]:
    """The steps to a network's outputs; `convolution` gives what computes a layer that is a plain convolution."""
    return _with_ends(list(_rows(graph, layers, convolution)), graph.outputs)


def _rows(
    graph: Graph, layers: Sequence[nn.Module], convolution: Callable[[nn.Module], Operation | None]
) -> Iterator[Step]:
    needed = sorted(graph.needed(graph.outputs))
    users: dict[int, list[Node]] = {}
    for node in (graph.nodes[index] for index in needed):
        for source in node.sources:
            users.setdefault(source, []).append(node)
    fused: set[int] = set()
    for node in (graph.nodes[index] for index in needed):
        if node.index in fused:
            continue
        operation = convolution(layers[node.index])
        total = None if operation is None else _sum_after(node, users.get(node.index, ()), layers)
        if operation is None or total is None or node.index in graph.outputs:
            yield Step(node.index, node.sources, operation or layers[node.index])
        else:
            fused.add(total.index)
            slope = SLOPES[str(layers[total.index].get_submodule("activate").name)]
            yield Step(total.index, (*node.sources, total.sources[1]), partial(operation, slope=slope))


def _sum_after(node: Node, users: Sequence[Node], layers: Sequence[nn.Module]) -> Node | None:
    """The shortcut that alone takes the output of a convolution and adds an earlier one to it, if there is one."""
    if len(users) != 1 or not is_plain_sum(layers[users[0].index]):
        return None
    first, other = users[0].sources
    return users[0] if first == node.index > other else None


def _with_ends(rows: Sequence[Step], outputs: Sequence[int]) -> tuple[Step, ...]:
    """The same steps, each with the outputs that it is the last to need."""
    last: dict[int, int] = {}
    for place, row in enumerate(rows):
        last.update(dict.fromkeys((*row.sources, row.index), place))
    ends: list[list[int]] = [[] for _ in rows]
    for source, place in last.items():
        if source != INPUT and source not in outputs:
            ends[place].append(source)
    return tuple(replace(row, done=tuple(end)) for row, end in zip(rows, ends, strict=True))
