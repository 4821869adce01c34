"""Weights for a part of a network, or from a part of one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from darknet_py import weights
from darknet_py.errors import DarknetError, WeightsError
from darknet_py.layers.convolutional import Convolutional
from darknet_py.layers.heads import GridHead
from darknet_py.network.graph import Graph, connect
from darknet_py.network.header import Header
from darknet_py.network.module import Network


def partial(network: Network, path: str | Path, layers: int) -> None:
    """Save only the first layers, with `seen` 0, as a `.conv.N` file (partial in darknet.c)."""
    weights.save(network, path, cutoff=layers, header=Header.of(network.graph.dialect))


@torch.no_grad()
def oneoff(network: Network, path: str | Path) -> None:
    """Load a classifier's weights into a detector; `seen` becomes 0.

    The classifier is the network without its head, whose last convolution has a filter a class. Those filters go to
    the classes of every anchor. The others, for the box and objectness, keep a tenth of their weights and no bias;
    every anchor gets those of the first. (oneoff in darknet.c, which only knows 3 anchors and 11921 classes.)

    Raises `DarknetError` for a network that does not end in a convolution and a head, `WeightsError` for a file that
    is not that classifier's.
    """
    _, head = _ending(network.graph)
    check_classifier(network.graph, path)
    classifier, _ = weights.made(classifier_of(network.graph), path)
    last, first = len(classifier.layers) - 1, head.leading
    for module, its_module in zip(network.layers[:last], classifier.layers[:last], strict=True):
        module.load_state_dict(its_module.state_dict())
    for name, share in (("conv.weight", 0.1), ("conv.bias", 0.0)):
        mine, its = (whole.layers[last].get_parameter(name) for whole in (network, classifier))
        rows = mine.view(-1, head.entries, *mine.shape[1:])  # (anchors, entries, ...)
        rows[0, :first] *= share
        rows[0, first:] = its
        rows[1:] = rows[0].clone()
    network.seen = 0


def classifier_of(graph: Graph) -> Graph:
    """The classifier that `oneoff` starts from; raises `DarknetError` for a graph with another ending."""
    layer, head = _ending(graph)
    layers = [*(node.layer for node in graph.nodes[:-2]), replace(layer, filters=head.classes)]
    nodes = connect(graph.input_shape, layers)
    return replace(graph, nodes=nodes, source=f"{graph.source} as a classifier")


def check_classifier(graph: Graph, path: str | Path) -> None:
    """Raise what `oneoff` would raise for a detector's graph and a file; allocates no memory."""
    classifier = classifier_of(graph)
    loaded = weights.verify(classifier, path)
    if loaded.layers < max((node.index + 1 for node in classifier.nodes if node.blobs), default=0):
        raise WeightsError(f"{path}: it holds the first {loaded.layers} layers, and a classifier of all is needed")


def _ending(graph: Graph) -> tuple[Convolutional, GridHead]:
    """The last two layers, which must be a convolution and a head."""
    head = graph.grids.get(len(graph.nodes) - 1)
    before = graph.nodes[-2].layer if len(graph.nodes) > 1 else None
    if head is not None and isinstance(before, Convolutional):
        if not before.batch_normalize:
            return before, head
        raise before.error("has batch_normalize=1; the convolution before a head has none")
    raise DarknetError(f"{graph.source} does not end in [convolutional] and [region] or [yolo]")


def oneoff2(network: Network, path: str | Path, layer: int) -> None:
    """Load a file into the layers from the first on, and again into those from `layer` on; `seen` becomes 0.

    For networks that contain another one twice. As in darknet.c the file may be shorter or longer.
    """
    count = len(network.layers)
    if not 0 <= layer < count:
        raise DarknetError(f"there is no layer {layer}; the layers are 0 to {count - 1}")
    weights.load(network, path, partial=True)
    weights.load(network, path, start=layer, partial=True)
    network.seen = 0
