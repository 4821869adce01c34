"""Prepares a network for a back end at the first call, and again when the network has changed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from operator import is_
from threading import Lock
from typing import cast

import torch
from torch import Tensor, nn

from darknet_py.engine.backend import Backend
from darknet_py.engine.convolution import Activated, Convolution, Convolutions
from darknet_py.engine.memory import give_back_free
from darknet_py.engine.plain import folded, is_plain_convolution
from darknet_py.engine.steps import Program, program_of
from darknet_py.engine.watch import Watch
from darknet_py.layers.convolutional import ConvolutionalModule
from darknet_py.layers.maxpool import MaxPoolModule
from darknet_py.layers.shortcut import ShortcutModule
from darknet_py.network.graph import Graph
from darknet_py.network.module import Network

JOINED = ShortcutModule, MaxPoolModule  # may be fused into the convolution before it


class Prepared:
    """A back end's convolutions for a network's weights, and its program; other input sizes share them."""

    def __init__(self, network: Network, backend: Backend, convolutions: Convolutions) -> None:
        self.backend = backend
        self.number = 0  # how often the program was made
        self._network, self._convolutions, self._runner = network, convolutions, backend.runner()
        self._lock = Lock()
        self._made: dict[nn.Module, Convolution] = {}
        self._program: Program | None = None
        self._graph: Graph | None = None
        self._layers: list[nn.Module] = []
        self._watch: Watch | None = None

    def heads(self, x: Tensor) -> tuple[Tensor, ...] | None:
        """(N, C, H, W) -> the outputs; None if the plain network has to compute them."""
        return self._runner.heads(x, partial(self.program, x))

    @torch.inference_mode()
    def program(self, x: Tensor | None = None) -> Program | None:
        """The program for the network as it is now; None if the plain network has to compute.

        Raises `ImageError` if there is a program and `x` (N, C, H, W) does not fit.
        """
        with self._lock:
            program = self._current()
        if program is not None and x is not None:
            self._network.check_input(x)
        return program

    @property
    def name(self) -> str:
        """The name of the back end: that of its fastest convolution, or plain if it has none."""
        names = {made.engine for made in self._made.values()} if self.program() is not None else set()
        return self.backend.name if self.backend.name in names else min(names, default="plain")

    def _current(self) -> Program | None:
        network = self._network
        layers = list(network.layers._modules.values())  # noqa: SLF001
        unchanged = self._watch is not None and self._watch.unchanged()
        if not unchanged:
            self._made.clear()
        if not (unchanged and self._graph is network.graph and _same(layers, self._layers)):
            self._make(network, layers)
        return self._program if self._watch is not None and self._watch.usable else None

    def _make(self, network: Network, layers: list[nn.Module]) -> None:
        self._watch, self._program, self.number = None, None, self.number + 1
        if network.graph.recurrent or not _fits(network, self.backend.device):
            return
        self._program = program_of(network.graph, layers, self._operation)
        self._made = {layer: self._made[layer] for layer in layers if layer in self._made}
        self._watch = Watch([*self._made, *(layer for layer in layers if isinstance(layer, JOINED))])
        self._graph, self._layers = network.graph, layers

    def _operation(self, module: nn.Module) -> Convolution | None:
        """The back end's convolution for a plain one; None for other layers."""
        if not is_plain_convolution(module):
            return None
        if module not in self._made:
            self._made[module] = self._convolution(cast("ConvolutionalModule", module))
            give_back_free()
        return self._made[module]

    def _convolution(self, module: ConvolutionalModule) -> Convolution:
        convolution, activate = self._convolutions(folded(module)), module.activate
        return Activated(convolution, activate.in_place) if activate.slope is None else convolution


def _same(layers: Sequence[nn.Module | None], others: Sequence[nn.Module]) -> bool:
    return len(layers) == len(others) and all(map(is_, layers, others))


def _fits(network: Network, device: str) -> bool:
    """Whether every tensor is on a device of this type, and every float has 32 bits."""
    tensors: tuple[Tensor, ...] = (*network.parameters(), *network.buffers())
    return all(t.device.type == device and (t.dtype == torch.float32 or not t.is_floating_point()) for t in tensors)
