"""Statistics of stored weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from darknet_py.errors import DarknetError
from darknet_py.network.module import Network


@dataclass(frozen=True)
class Statistics:
    """One stored tensor."""

    layer: int
    type: str
    tensor: str  # its name in the layer, such as conv.weight
    role: str  # bias, scale, mean, variance or weight
    values: int
    root_mean_square: float  # Darknet prints it as "MSE"
    mean: float
    variance: float  # of the values themselves: divided by n


@torch.no_grad()
def statistics(network: Network) -> Iterator[Statistics]:
    """Mean, variance and root of the mean square of every tensor of a weights file (print_statistics in utils.c).

    statistics_net in darknet.c only handles connected layers with batch normalization, and reads only as many of their
    weights as there are outputs.
    """
    for node in network.graph.nodes:
        for blob in node.blobs:
            tensor = network.stored(node.index, blob).double()
            mean = tensor.mean()
            root, variance = tensor.square().mean().sqrt(), (tensor - mean).square().mean()
            yield Statistics(
                node.index, node.layer.type, blob.name, blob.role, blob.size, float(root), float(mean), float(variance)
            )


def matrices(network: Network, layer: int) -> list[Tensor]:
    """The weights of a layer as matrices, one row per filter or output; recurrent layers have several.

    Raises `DarknetError` if there is no such layer or it has no weights.
    """
    count = len(network.layers)
    if not 0 <= layer < count:
        raise DarknetError(f"there is no layer {layer}; the layers are 0 to {count - 1}")
    node = network.graph.nodes[layer]
    found = [network.stored(layer, blob).detach() for blob in node.blobs if blob.role == "weight"]
    if not found:
        raise DarknetError(f"{node} has no weights")
    return [weight.flatten(0, -2) if weight.ndim == 3 else weight.flatten(1) for weight in found]
