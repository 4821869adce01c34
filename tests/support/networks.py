"""Small networks, and batches to train some of them with."""

from __future__ import annotations

import torch
from torch import Tensor

from darknet_py.network import Network
from darknet_py.network.graph import Graph

NET = "[net]\nbatch=8\nsubdivisions=2\nwidth=12\nheight=8\nchannels=3\nmomentum=.9\ndecay=.01\nlearning_rate=.1\n"
CONV = "[convolutional]\nfilters=4\nsize=3\npad=1\nactivation=leaky\n"
BN = CONV + "batch_normalize=1\n"
END = "[convolutional]\nfilters=5\nsize=1\nactivation=linear\n[avgpool]\n[softmax]\n"
ALL = (
    f"{NET}max_batches=100\n{CONV}{BN}learning_rate=.5\n[batchnorm]\n"
    "[deconvolutional]\nfilters=3\nsize=2\nstride=2\nactivation=leaky\nbatch_normalize=1\n"
    "[local]\nfilters=2\nsize=3\nstride=3\nactivation=leaky\nlearning_rate=2\n"
    "[connected]\noutput=6\nactivation=leaky\n[connected]\noutput=5\nactivation=linear\n[softmax]\n"
)

TINY_REGION = (
    "[net]\nwidth=32\nheight=32\nchannels=3\n[convolutional]\nfilters=14\nsize=32\nstride=32\n"
    "[region]\nclasses=2\nnum=2\nanchors=1,1,2,2\n"
)


def build(text: str, seed: int = 0) -> Network:
    """A network with weights that are not the even ones of the start."""
    generator = torch.Generator().manual_seed(seed)
    network = Network(Graph.parse(text), generator=generator)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.rand(weight.shape, generator=generator), alpha=0.1)
    return network


def batch(network: Network, rows: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Pictures and one-hot truth of five classes."""
    generator = torch.Generator().manual_seed(1000 + seed)
    images = torch.rand(rows, *network.input_shape.dims, generator=generator)
    return images, torch.eye(5)[torch.randint(5, (rows,), generator=generator)]


def stored(network: Network) -> dict[tuple[int, str], Tensor]:
    """Copies of all that a weights file holds."""
    return {
        (node.index, blob.name): network.stored(node.index, blob).detach().clone()
        for node in network.graph.nodes
        for blob in node.blobs
    }
