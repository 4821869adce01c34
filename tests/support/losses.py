"""What the tests of losses share: recordings, one loss by itself, its gradient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from darknet_py.loss import LOSSES
from darknet_py.loss.base import HeadLoss, Loss
from darknet_py.loss.criterion import Criterion, Losses
from darknet_py.network.graph import Graph
from tests.support.places import GOLDEN
from tests.support.recordings import load_network, read_graph

TRAIN = GOLDEN / "train"


def loss_of(text: str, channels: int, size: tuple[int, int]) -> Loss:
    """The loss of the last section of a cfg text without [net], whose input are `channels` of `size` (w, h)."""
    width, height = size
    graph = Graph.parse(f"[net]\nwidth={width}\nheight={height}\nchannels={channels}\n{text}\n")
    return LOSSES[graph.nodes[-1].layer](graph.nodes[-1], graph)


def delta_of(loss: Loss, raw: Tensor, truth: Tensor, seen: int = 1) -> tuple[Tensor, HeadLoss]:
    """Minus the gradient of a loss by its input, and the loss."""
    raw = raw.detach().requires_grad_()
    head = loss(raw, truth, seen)
    (gradient,) = torch.autograd.grad(head.objective, raw)
    return -gradient, head


@dataclass
class First:
    """The first step of a recording, and what a criterion makes of it."""

    recording: np.lib.npyio.NpzFile
    losses: Losses
    lines: tuple[str, ...]
    delta: Tensor  # flat: minus the gradient by the output of the layer asked for

    def numbers_differ(self) -> float:
        """The largest difference of a number in a line from the recorded one; the words have to be the same."""
        assert len(self.lines) == 1
        mine, theirs = (line.replace(",", " ").split() for line in (self.lines[0], str(self.recording["log"][0])))
        assert len(mine) == len(theirs)
        pairs = [(a, b) for a, b in zip(mine, theirs, strict=True) if a != b]
        return max((abs(float(a) - float(b)) for a, b in pairs), default=0.0)


def first_step(case: str, layer: int) -> First:
    """Run the first batch of tests/golden/train; `layer` is where the delta is wanted."""
    recording = np.load(TRAIN / f"{case}.npz")
    network = load_network(TRAIN / f"{case}.cfg", TRAIN / f"{case}.start.weights").train()
    criterion, seen = Criterion(network), int(recording["seen"][0])
    images, truth = (torch.from_numpy(recording[name][0]) for name in ("inputs", "truths"))
    found: list[Tensor] = []
    network.layers[layer].register_forward_hook(lambda module, inputs, output: found.append(output))
    losses = criterion(images, truth, seen)
    (gradient,) = torch.autograd.grad(losses.objective, found)
    return First(recording, losses, criterion.lines([row.tolist() for row in losses.statistics]), -gradient.flatten())


def graph_of(case: str) -> Graph:
    return read_graph(TRAIN / f"{case}.cfg")
