"""A program: steps that each compute a layer, or a convolution with the layers fused into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from torch import Tensor, nn

from darknet_py.engine.convolution import Convolution
from darknet_py.engine.memory import Memory
from darknet_py.engine.plain import slope_of_sum
from darknet_py.layers.maxpool import MaxPoolModule
from darknet_py.network.graph import INPUT, Graph, Node

Operation: TypeAlias = Callable[..., Tensor]  # takes a memory and the outputs of the sources


@dataclass(frozen=True, eq=False)
class Step:
    """Computes the output of layer `index` from those of `sources`; the outputs `done` are not needed afterwards."""

    index: int
    sources: tuple[int, ...]
    operation: Operation
    lends: bool = False  # whether the output may share memory with the sources
    done: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Program:
    """The steps to the outputs of the layers `outputs`."""

    steps: tuple[Step, ...]
    outputs: tuple[int, ...]

    def run(self, x: Tensor, memory: Memory) -> tuple[Tensor, ...]:
        """(N, C, H, W) -> the outputs, in their own memory."""
        values = {INPUT: x}
        fresh = Memory()
        for step in self.steps:
            lender = fresh if step.index in self.outputs else memory
            values[step.index] = step.operation(lender, *[values[source] for source in step.sources])
            for source in step.done:
                memory.give_back(values.pop(source))
        memory.end()
        return tuple(values[index].float() for index in self.outputs)


def program_of(
    graph: Graph, layers: Sequence[nn.Module], convolution: Callable[[nn.Module], Convolution | None]
) -> Program:
    """The program of a network; `convolution` returns the back end's convolution for a layer, or None."""
    return Program(_with_ends(list(_rows(graph, layers, convolution)), graph.outputs), graph.outputs)


def _rows(
    graph: Graph, layers: Sequence[nn.Module], convolution: Callable[[nn.Module], Convolution | None]
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
        module = layers[node.index]
        operation = convolution(module)
        following = users.get(node.index, ())
        if operation is None:
            owned = getattr(module, "owns_output", False)  # otherwise it may return a view of its input
            yield Step(node.index, node.sources, partial(_layer, module), not owned)
            continue
        step = Step(node.index, node.sources, operation)
        if len(following) == 1 and node.index not in graph.outputs:
            step = _joined(step, operation, following[0], layers[following[0].index])
            fused.add(step.index)
        yield step


def _layer(module: nn.Module, _memory: Memory, *xs: Tensor) -> Tensor:
    return module(*(xs if getattr(module, "any_dtype", False) else [x.float() for x in xs]))


def _joined(step: Step, operation: Convolution, after: Node, module: nn.Module) -> Step:
    """The step fused with the only layer that takes its output, if the operation can do both."""
    slope = slope_of_sum(module)
    if slope is not None:
        first, other = after.sources
        if first == step.index > other:
            return Step(after.index, (*step.sources, other), partial(operation, slope=slope))
    if operation.pools and type(module) is MaxPoolModule and module.halves:
        return Step(after.index, step.sources, partial(operation, pool=True))
    return step


def _with_ends(rows: Sequence[Step], outputs: Sequence[int]) -> tuple[Step, ...]:
    """The same steps, each with the outputs that no later step needs, directly or as shared memory."""
    last: dict[int, int] = {}
    for place, row in enumerate(rows):
        last.update(dict.fromkeys((*row.sources, row.index), place))
    last.update(dict.fromkeys(outputs, len(rows)))
    for row in reversed(rows):
        if row.lends:
            last.update({source: max(last[source], last[row.index]) for source in row.sources})
    ends: list[list[int]] = [[] for _ in range(len(rows) + 1)]
    for source, place in last.items():
        if source != INPUT:
            ends[place].append(source)
    return tuple(replace(row, done=tuple(end)) for row, end in zip(rows, ends, strict=False))
