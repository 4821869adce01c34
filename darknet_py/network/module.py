"""`Network`: a graph as a torch module."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from darknet_py.devices import after_fork
from darknet_py.devices.memory import require
from darknet_py.errors import CfgError, DarknetError, ImageError
from darknet_py.layers.base import Blob, Shape
from darknet_py.layers.parts.recurrent import Recurrent
from darknet_py.layers.parts.uninitialized import Drawn
from darknet_py.network.graph import INPUT, Graph, Node
from darknet_py.network.header import Header
from darknet_py.network.modes import is_finite


class Network(nn.Module):
    """The network that a cfg describes.

    `network(x)` takes (N, C, H, W) with values from 0 to 1, of any size that the layers can take, or (N, inputs) where
    the cfg has no picture, and gives what `net.output` is in the C program: the output of the last layer that is no
    [cost]. A network with several heads gives a tuple, a head each. Keys of the state dict are
    `layers.N.conv.weight`, `layers.N.bn.running_mean`, ..., with N the layer's index in the cfg. While training, no
    gradient goes to layers up to the last with `stopbackward`.
    """

    def __init__(
        self, graph: Graph, *, initialize: bool = True, generator: torch.Generator | None = None, device: str = "cpu"
    ) -> None:
        """Build the modules on the CPU; with `initialize`, draw their weights as Darknet does.

        Otherwise they are uninitialised, for weights that are loaded next. Raises `DarknetError` if there is too little
        memory. On the device "meta" tensors have only names and shapes, and take no memory.
        """
        if device == "cpu":
            require(graph.stored_bytes, f"{graph.source}: this network")
        super().__init__()
        self.graph = graph
        self.header = Header.of(graph.dialect)  # of the weights file that was loaded, with the pictures seen
        with torch.device(device):  # not torch's default type
            self.layers = nn.ModuleList(node.layer.build(node.inputs) for node in graph.nodes)
        self._other_sizes: dict[tuple[int, int], bool] = {}
        self._compiled: Callable[..., dict[int, Tensor]] | None = None  # `_run`, by torch.compile
        self._last_uses = graph.last_uses(graph.outputs)
        self._last_frozen = graph.last_frozen
        for module in self.recurrent():
            module.steps = graph.net.time_steps
        if initialize:
            self.initialize(generator)

    @classmethod
    def from_cfg(
        cls,
        path: str | Path,
        *,
        strict: bool = False,
        generator: torch.Generator | None = None,
        dialect: str | None = None,
    ) -> Network:
        """Read a cfg file and build its network with random weights."""
        return cls(Graph.read(path, strict=strict, dialect=dialect), generator=generator)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The network's output, or a tuple if it has several heads."""
        outputs = self.heads(x)
        return outputs[0] if len(outputs) == 1 else outputs

    def heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """The outputs of the layers `graph.outputs`, always as a tuple."""
        outputs = (self._compiled or self._run)(x, self._last_uses)
        return tuple(outputs[index] for index in self.graph.outputs)

    def tap(self, x: Tensor, layers: Collection[int]) -> dict[int, Tensor]:
        """The outputs of any layers, by index; stops after the last of them.

        Negative indices count from the end; raises `DarknetError` for a layer that does not exist.
        """
        count = len(self.layers)
        missing = next((index for index in layers if not -count <= index < count), None)
        if missing is not None:
            raise DarknetError(f"there is no layer {missing}; the layers are 0 to {count - 1}")
        wanted = [index % count for index in layers]
        outputs = (self._compiled or self._run)(x, self.graph.last_uses(wanted))
        return {index: outputs[index] for index in wanted}

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the computation of the layers by torch.compile with these arguments, for `heads` and `tap` too."""
        self._compiled = torch.compile(self._run, *args, **kwargs)

    @property
    def compiled(self) -> bool:
        """Whether it was compiled by torch.compile."""
        return self._compiled is not None

    def _run(self, x: Tensor, last_uses: Mapping[int, tuple[int, ...]]) -> dict[int, Tensor]:
        if not torch.compiler.is_compiling():
            after_fork()
            self.check_input(x)
        if x.ndim == 4 and not torch.is_grad_enabled():
            x = x.contiguous(memory_format=torch.channels_last)  # no copies between convolutions on the CPU
        outputs = {INPUT: x}
        last_frozen = self._last_frozen if self.training else INPUT
        for index, done in last_uses.items():
            with torch.no_grad() if index <= last_frozen else nullcontext():
                outputs[index] = self.layers[index](*[outputs[s] for s in self.graph.nodes[index].sources])
            for source in done:
                del outputs[source]
        return outputs

    def check_input(self, x: Tensor) -> None:
        """Raise `ImageError` for an input that does not fit."""
        wanted, steps = self.input_shape, self.graph.net.time_steps
        if self.graph.recurrent and x.ndim and x.shape[0] % steps:
            raise ImageError(f"a batch of {x.shape[0]} rows is no multiple of time_steps={steps}")
        if tuple(x.shape[1:]) == wanted.dims:
            return
        other = x.ndim == 4 and wanted.is_image and x.shape[1] == wanted.c
        if other and self._takes(x.shape[3], x.shape[2]):
            return
        message = f"this network takes (N, {', '.join(map(str, wanted.dims))}), and the input is {tuple(x.shape)}"
        if other and self.graph.resizable:
            message += f"; network.resize({x.shape[3]}, {x.shape[2]}) makes it fit, or says why not"
        raise ImageError(message)

    def _takes(self, width: int, height: int) -> bool:
        """Whether the modules also compute the network for another input size, without changes."""
        if (width, height) not in self._other_sizes:
            try:
                nodes = self.graph.resized(width, height).nodes
                fits = all(new.layer is old.layer for old, new in zip(self.graph.nodes, nodes, strict=True))
            except CfgError:
                fits = False
            self._other_sizes[width, height] = fits
        return self._other_sizes[width, height]

    def initialize(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights anew, as Darknet does; the same generator state gives the same weights."""
        for module in self.layers.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.reset_parameters()
            elif isinstance(module, Drawn):
                module.initialize(generator)

    def require_memory(self, pictures: int = 1) -> None:
        """Raise `DarknetError` if this number of pictures at once needs more memory than there is; only on the CPU."""
        if self.device.type == "cpu":
            what = "a picture" if pictures == 1 else f"{pictures} pictures"
            size = f"{self.graph.source}: {what} of {self.input_shape}"
            require(pictures * self.graph.picture_bytes, size, "a smaller input takes less")

    def resize(self, width: int, height: int) -> None:
        """Change the input size, if Darknet can (resize_network); otherwise raises `CfgError`."""
        graph = self.graph.resized(width, height)
        pairs = zip(self.graph.nodes, graph.nodes, strict=True)
        with torch.device("cpu"):
            changed = {new.index: new.layer.build(new.inputs) for old, new in pairs if new.layer is not old.layer}
        for index, module in changed.items():
            self.layers[index] = module.train(self.training)
        self.graph = graph
        self._other_sizes.clear()

    def check_values(self) -> None:
        """Raise `DarknetError` on the device meta, which has no values."""
        if self.device.type == "meta":
            raise DarknetError(f"{self.graph.source}: the network is on the device meta, so that it has no weights")

    def not_finite(self) -> tuple[Node, ...]:
        """The layers with weights or statistics that are infinite or NaN."""
        pairs = zip(self.graph.nodes, self.layers, strict=True)
        return tuple(node for node, module in pairs if not is_finite(module))

    def recurrent(self) -> tuple[Recurrent, ...]:
        """The modules with state."""
        return tuple(module for module in self.modules() if isinstance(module, Recurrent))

    def carry_state(self, carry: bool = True) -> None:
        """Keep the state of recurrent layers from call to call, as the C program does; starts from zeros."""
        for module in self.recurrent():
            module.carries, module.state = carry, None

    def stored(self, index: int, blob: Blob) -> Tensor:
        """The tensor of layer `index` for a blob of its node."""
        module_name, _, name = blob.name.rpartition(".")
        tensor: Tensor = getattr(self.layers[index].get_submodule(module_name), name)
        return tensor

    @property
    def seen(self) -> int:
        """How many pictures this network was trained on."""
        return self.header.seen

    @seen.setter
    def seen(self, count: int) -> None:
        self.header = replace(self.header, seen=count)

    @property
    def input_shape(self) -> Shape:
        """Channels, height and width of the input."""
        return self.graph.input_shape

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next((parameter.device for parameter in self.parameters()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """The type of the parameters."""
        return next((parameter.dtype for parameter in self.parameters()), torch.float32)
