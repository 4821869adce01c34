"""Advice about settings that training rarely wants, for `check` and `detector train`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from darknet_py.errors import Location
from darknet_py.layers.heads import MOST_TRUTHS
from darknet_py.network.graph import Graph, Node
from darknet_py.train.settings import Manner
from darknet_py.train.sizes import Sizes


class Advice(NamedTuple):
    """A piece of advice and its place in the cfg."""

    message: str
    where: Location

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


def differences(graph: Graph) -> Iterator[Advice]:
    """Advice about keys that training obeys and the original does not."""
    for index, head in graph.grids.items():
        if head.max > MOST_TRUTHS:
            beyond = f"max={head.max}: training takes at most {MOST_TRUTHS} truths per picture, and refuses this"
            yield Advice(beyond, _key(graph, graph.nodes[index], "max"))
        elif head.original_truths is not None and head.max > head.original_truths:
            many = f"max={head.max} in [{head.type}]: training takes that many truths per picture"
            yield Advice(f"{many}, the original {head.original_truths}", _key(graph, graph.nodes[index], "max"))


def advice(graph: Graph, manner: Manner, sizes: Sizes | None = None) -> Iterator[Advice]:
    """Advice about settings that seldom make a good network; `sizes` are those chosen for random=1."""
    net = graph.net
    if net.batch == 1:
        message = (
            "batch=1 makes an update of every single picture, which seldom learns well (cfgs that come with weights "
            "have it for testing): set batch=64 and subdivisions=8, or as many as memory takes"
        )
        yield Advice(message, _net_key(graph, "batch"))
    if net.policy == "steps" and any(step < 0 for step in net.steps):
        message = "a step below 0 is never reached, as in the original: the rate stays as it is before"
        yield Advice(message, _net_key(graph, "steps"))
    if not manner.draws_sizes(graph):
        return
    where, drawn = _key(graph, graph.nodes[-1], "random"), sizes or manner.sizes
    if sizes is None and min(net.width, net.height) < drawn.low:
        message = (
            f"random=1 trains at inputs from {drawn.low} to {drawn.high}, and the cfg has {net.width} x {net.height}: "
            "set random=0, or choose with --sizes LOW,HIGH"
        )
        yield Advice(message, where)
    if 0 < net.max_batches < drawn.last:
        message = f"max_batches={net.max_batches}: the last {drawn.last} batches of random=1 are all at {drawn.high}"
        yield Advice(f"{message}; set random=0", where)


def _net_key(graph: Graph, key: str) -> Location:
    entry = graph.sections[0].find(key)
    return graph.net.where if entry is None else entry.where


def _key(graph: Graph, node: Node, key: str) -> Location:
    entry = graph.sections[node.index + 1].find(key)
    if entry is None:
        return _net_key(graph, key)
    return entry.where
