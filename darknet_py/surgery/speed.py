"""Counts the operations of a network and times it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from darknet_py.engine import Engine
from darknet_py.network.graph import Graph
from darknet_py.network.module import Network


@dataclass(frozen=True)
class Speed:
    """A measurement."""

    evaluations: int
    seconds: float
    operations: int  # of one evaluation

    @property
    def seconds_each(self) -> float:
        return self.seconds / self.evaluations

    @property
    def per_second(self) -> float:
        """Evaluations per second."""
        return self.evaluations / self.seconds

    @property
    def flops(self) -> float:
        """Floating point operations per second."""
        return self.operations * self.per_second


def operations(graph: Graph) -> int:
    """Floating point operations of one picture, or of one time step: 2 per multiplication and addition.

    They include every layer with weights; numops in darknet.c leaves out local, deconvolutional and crnn layers.
    """
    return sum(node.operations for node in graph.nodes)


def speed(network: Network, evaluations: int = 1000, engine: Engine | None = None) -> Speed:
    """Time passes of one black picture on the network's device (speed in darknet.c), by an engine if given.

    A first pass, which allocates memory and chooses kernels, is not counted.
    """
    steps = network.graph.net.time_steps if network.graph.recurrent else 1
    x = torch.zeros(steps, *network.input_shape.dims, device=network.device, dtype=network.dtype)
    compute = network if engine is None else engine.heads
    with torch.inference_mode():
        compute(x)
        _wait(network.device)
        start = time.perf_counter()
        for _ in range(evaluations):
            compute(x)
        _wait(network.device)
        seconds = time.perf_counter() - start
    return Speed(evaluations, seconds, steps * operations(network.graph))


def _wait(device: torch.device) -> None:
    """Wait until the device has finished."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()
