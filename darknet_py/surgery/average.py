"""The mean of several networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from darknet_py.errors import DarknetError
from darknet_py.network.module import Network


@torch.no_grad()
def average(network: Network, others: Iterable[Network]) -> None:
    """Set a network to the mean of itself and others of the same cfg: (a + b + ...) / n of every stored value.

    The C program (average in darknet.c) averages only convolutions and the weights and biases of connected layers; here
    every tensor of a weights file is averaged. `others` are read one at a time.
    """
    shapes = _shapes(network)
    count = 1
    for other in others:
        if _shapes(other) != shapes:
            raise DarknetError(f"{other.graph.source} has other layers than {network.graph.source}: no mean of the two")
        for total, value in zip(_stored(network), _stored(other), strict=True):
            total.add_(value.to(total))
        count += 1
    for total in _stored(network):
        total.mul_(1 / count)


def _shapes(network: Network) -> list[tuple[int, ...]]:
    return [blob.shape for node in network.graph.nodes for blob in node.blobs]


def _stored(network: Network) -> Iterator[Tensor]:
    return (network.stored(node.index, blob) for node in network.graph.nodes for blob in node.blobs)
