"""The steps of a network, made at the first call and again when the network is no longer as it was."""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_
from typing import cast

import torch
from torch import Tensor, nn

from darknet_py.engine.memory import give_back_free
from darknet_py.engine.plain import folded, is_plain_convolution
from darknet_py.engine.steps import Convolution, Convolutions, Step, steps_of
from darknet_py.engine.watch import Watch
from darknet_py.layers.convolutional import ConvolutionalModule
from darknet_py.layers.maxpool import MaxPoolModule
from darknet_py.layers.shortcut import ShortcutModule
from darknet_py.network.graph import Graph
from darknet_py.network.module import Network

JOINED = ShortcutModule, MaxPoolModule  # may become a part of the convolution before


class Prepared:
    """What is made of a network's weights, on that kind of device, by `convolutions`; other input sizes share it."""

    def __init__(self, name: str, convolutions: Convolutions, device: str) -> None:
        self.name, self.device, self._convolutions = name, device, convolutions
        self.number = 0  # of times that steps were made
        self._made: dict[nn.Module, Convolution] = {}
        self._steps: tuple[Step, ...] = ()
        self._graph: Graph | None = None
        self._layers: list[nn.Module] = []
        self._watch: Watch | None = None

    def steps(self, network: Network) -> tuple[Step, ...]:
        """The steps for the network as it is; none where it has to compute itself."""
        layers = list(network.layers._modules.values())  # noqa: SLF001
        current = self._watch is not None and self._watch.unchanged()
        if not current:
            self._made.clear()
        if not (current and self._graph is network.graph and _same(layers, self._layers)):
            self._make(network, layers)
        return self._steps if self._watch is not None and self._watch.usable else ()

    def _make(self, network: Network, layers: list[nn.Module]) -> None:
        self._watch, self._steps, self.number = None, (), self.number + 1
        if network.graph.recurrent or not _fits(network, self.device):
            return
        self._steps = steps_of(network.graph, layers, self._operation)
        self._made = {layer: self._made[layer] for layer in layers if layer in self._made}
        self._watch = Watch([*self._made, *(layer for layer in layers if isinstance(layer, JOINED))])
        self._graph, self._layers = network.graph, layers

    def _operation(self, module: nn.Module) -> Convolution | None:
        """What computes a plain convolution; None for other layers."""
        if not is_plain_convolution(module):
            return None
        if module not in self._made:
            self._made[module] = self._convolutions(folded(cast("ConvolutionalModule", module)))
            give_back_free()
        return self._made[module]


def _same(layers: Sequence[nn.Module | None], others: Sequence[nn.Module]) -> bool:
    return len(layers) == len(others) and all(map(is_, layers, others))


def _fits(network: Network, device: str) -> bool:
    """Whether every tensor is on such a device and every float is one of 32 bits."""
    tensors: tuple[Tensor, ...] = (*network.parameters(), *network.buffers())
    return all(t.device.type == device and (t.dtype == torch.float32 or not t.is_floating_point()) for t in tensors)
