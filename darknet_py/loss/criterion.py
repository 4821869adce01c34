"""A network with its losses: what forward_network and calc_network_cost of network.c do while training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from darknet_py.errors import DarknetError
from darknet_py.loss import LOSSES
from darknet_py.loss.base import HeadLoss, Loss
from darknet_py.network.graph import INPUT, Graph, Node
from darknet_py.network.module import Network


@dataclass(frozen=True, eq=False)
class Losses:
    """The losses of all layers for one batch."""

    objective: Tensor  # scalar to differentiate: the sum over the layers, and over the pictures
    cost: Tensor  # scalar, detached: the mean over the layers that have a cost, summed over the pictures
    statistics: tuple[Tensor, ...]  # of each loss, in order, what its line prints


@dataclass(frozen=True)
class _Place:
    """Where a loss is."""

    node: Node
    truth: int | None  # the layer whose output is its truth; None for the truth that is given
    learns: bool  # whether gradients go back from it to weights


class Criterion(nn.Module):
    """A network and the losses of its layers.

    The keys `truth` (the output of this layer is the truth of all later losses), `stopbackward` (this layer and all
    before it learn nothing; their costs count) and, in [region] and [yolo], `onlyforward` (no loss, and a cost of 0)
    are obeyed as by the C program's GPU build. `notruth` is without effect there, and here.
    """

    def __init__(self, network: Network) -> None:
        """Make the losses; raises `DarknetError` for a network that has none, or nothing to learn."""
        super().__init__()
        self.network = network
        network.require_memory()
        graph = network.graph
        priced = [node for node in graph.nodes if node.layer in LOSSES]
        self._count = len(priced)
        self._places = tuple(_place(graph, node) for node in priced if not node.layer.skips_loss)
        _check(graph, self._places)
        self.losses = nn.ModuleList(LOSSES[place.node.layer](place.node, graph) for place in self._places)
        used = (index for place in self._places for index in (*_chain(graph, place.node), place.truth))
        self._wanted = {index for index in used if index is not None and index != INPUT}

    def forward(self, images: Tensor, truth: Tensor, seen: int) -> Losses:
        """Run the network in the mode it is in, and all losses; `truth` is (N, truth_size).

        `seen` counts the pictures of this batch already.
        """
        if tuple(truth.shape) != (len(images), self.truth_size):
            wanted = f"({len(images)}, {self.truth_size})"
            raise DarknetError(f"the truth for this batch has to be {wanted}, and it is {tuple(truth.shape)}")
        outputs = {INPUT: images, **self.network.tap(images, self._wanted)}
        pairs = list(zip(self._places, self._losses(), strict=True))
        heads = [self._head(place, loss, outputs, truth, seen) for place, loss in pairs]
        objectives = [head.objective for head, (place, _) in zip(heads, pairs, strict=True) if place.learns]
        cost = torch.stack([head.cost for head in heads]).sum() / self._count
        return Losses(torch.stack(objectives).sum(), cost, tuple(head.statistics for head in heads))

    def lines(self, statistics: Sequence[Sequence[float]]) -> tuple[str, ...]:
        """The lines that Darknet prints, given the `statistics` of a batch as numbers."""
        lines = (loss.line(numbers) for loss, numbers in zip(self._losses(), statistics, strict=True))
        return tuple(line for line in lines if line)

    @property
    def truth_size(self) -> int:
        """Values of truth a picture."""
        return truth_size(self.network.graph)

    def _losses(self) -> tuple[Loss, ...]:
        return cast("tuple[Loss, ...]", tuple(self.losses))

    def _head(self, place: _Place, loss: Loss, outputs: Mapping[int, Tensor], truth: Tensor, seen: int) -> HeadLoss:
        images = outputs[INPUT]
        if images.ndim == 4:
            loss.input_size = (images.shape[3], images.shape[2])
        chain = _chain(self.network.graph, place.node)
        raw = outputs[chain[-1]]
        if len(chain) > 1:  # with the gradient of the last, and the value of the first
            raw = outputs[chain[0]].detach().flatten(1) + (raw - raw.detach()).flatten(1)
        wanted = truth if place.truth is None else outputs[place.truth].flatten(1)
        head: HeadLoss = loss(raw, wanted, seen)
        return head


def truth_size(graph: Graph) -> int:
    """Values of truth that a network takes for a picture: what its last layer says, or as many as it gives."""
    last = graph.nodes[-1].layer
    if last.truth_size is not None:
        return last.truth_size
    return next((node.shape.size for node in reversed(graph.nodes) if not node.layer.passes_input), 0)


def _place(graph: Graph, node: Node) -> _Place:
    truths = [other.index for other in graph.nodes[: node.index] if other.layer.truth]
    behind = [graph.nodes[index] for index in graph.needed([node.index]) if index > graph.last_frozen]
    learns = node.index > graph.last_frozen and any(other.parameters for other in behind)
    return _Place(node, truths[-1] if truths else None, learns)


def _chain(graph: Graph, node: Node) -> list[int]:
    """The layer before a loss, and while that is one that hands gradients on unchanged, the one before it.

    By their backward functions these are all layers with a loss; [cost] is no exception, as its output is its input.
    """
    chain = [node.sources[0]]
    while chain[-1] != INPUT and graph.nodes[chain[-1]].layer in LOSSES:
        chain.append(graph.nodes[chain[-1]].sources[0])
    return chain


def _check(graph: Graph, places: Sequence[_Place]) -> None:
    """Raise `DarknetError` where there is nothing to train, or where a truth does not fit its layer."""
    untrained = next((node.layer for node in graph.nodes if node.layer.is_head and node.layer not in LOSSES), None)
    if untrained is not None:
        raise untrained.error(f"is not trained here; what can be is {_endings()}")
    if not places:
        raise DarknetError(f"{graph.source}: there is nothing to train with; that takes {_endings()}")
    if not any(place.learns for place in places):
        raise DarknetError(f"{graph.source}: there are no weights to train, or stopbackward leaves none")
    for place in places:
        layer, given = place.node.layer, truth_size(graph)
        if place.truth is not None:
            given = graph.nodes[place.truth].shape.size
        wanted = place.node.shape.size if layer.truth_size is None else layer.truth_size
        if not layer.takes_truth(given, wanted):
            raise layer.error(f"takes {wanted} values of truth a picture, and there are {given}")


def _endings() -> str:
    """The sections that have a loss, in words."""
    *names, last = (f"[{kind.type}]" for kind in LOSSES)
    return f"{', '.join(names)} or {last}"
