"""The cases of the inference bench: a network up to the inputs of its heads, and pictures for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from darknet_py import weights
from darknet_py.convert.fold import resized, sharing
from darknet_py.engine import BACKENDS
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from tools.bench.measuring import BenchError

CHECKED = 8  # pictures of a batch whose outputs are compared
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def halves(kind: str) -> list[str]:
    """What our engines compute in 16 bits on such a device, the usual one first."""
    types = [dtype for backend in BACKENDS if backend.device == kind for dtype in backend.halves]
    return [name for dtype in dict.fromkeys(types) for name, known in DTYPES.items() if known == dtype]


@dataclass(frozen=True)
class RawGraph(Graph):
    """A graph whose outputs are what goes into its heads, so that everybody computes the same."""

    @cached_property
    def outputs(self) -> tuple[int, ...]:
        """The layers that heads take their input from; a last layer that is no head gives it itself."""
        layers = (self.nodes[index] for index in super().outputs)
        return tuple(node.sources[0] if node.layer.is_head else node.index for node in layers)

    @classmethod
    def of(cls, graph: Graph) -> RawGraph:
        """The same graph, cut."""
        return cls(**{field.name: getattr(graph, field.name) for field in fields(graph)})


@dataclass(frozen=True)
class Task:
    """What is to be computed."""

    cfg: Path
    size: tuple[int, int]  # width, height
    batch: int = 1
    dtype: str = "fp32"
    device: str = "cpu"

    @property
    def pixels(self) -> str:
        return f"{self.size[0]}x{self.size[1]}"

    @property
    def name(self) -> str:
        return f"{self.cfg.stem} {self.pixels} {self.dtype} batch {self.batch}"

    @property
    def kind(self) -> str:
        """The kind of device."""
        return torch.device(self.device).type

    @property
    def half(self) -> torch.dtype | None:
        """The type of 16 bits, if it is one that our engines compute there."""
        return DTYPES[self.dtype] if self.dtype in halves(self.kind) else None

    @property
    def is_plain(self) -> bool:
        """Whether it is the usual thing: float32 on the CPU."""
        return self.kind == "cpu" and self.dtype == "fp32"


@dataclass(frozen=True, eq=False)
class Case:
    """A task with a network of a `RawGraph` of its size; files that are made of it go into `folder`."""

    task: Task
    network: Network  # float32, on the CPU
    folder: Path

    @cached_property
    def x(self) -> Tensor:
        """(N, C, H, W) made pictures, float32 on the CPU."""
        generator = torch.Generator().manual_seed(1)
        return torch.rand(self.task.batch, *self.network.input_shape.dims, generator=generator)

    @property
    def operations(self) -> int:
        """Floating point operations for the batch, as Darknet counts them."""
        return self.task.batch * sum(node.operations for node in self.network.graph.nodes)

    @cached_property
    def expected(self) -> tuple[Tensor, ...]:
        """What the plain network gives for the first pictures."""
        with torch.inference_mode():
            return self.network.heads(self.x[:CHECKED])

    def file(self, suffix: str) -> Path:
        """A place for a file of this network and size, whatever the batch."""
        return self.folder / f"{self.task.cfg.stem}-{self.task.pixels}{suffix}"

    def difference(self, found: Sequence[Any]) -> float:
        """The largest difference between outputs and the expected ones, as a share of the latter's range."""
        tensors = [torch.as_tensor(output)[:CHECKED].float().cpu() for output in found]
        shapes = [tuple(tensor.shape) for tensor in tensors]
        wanted = [tuple(tensor.shape) for tensor in self.expected]
        if shapes != wanted:
            raise BenchError(f"gives outputs of {shapes} instead of {wanted}")
        shares = [float((y - e).abs().max() / (e.max() - e.min())) for y, e in zip(tensors, self.expected, strict=True)]
        return max(shares, key=lambda share: (share != share, share))  # noqa: PLR0124  # NaN is the worst


def make_network(graph: Graph, weights_file: Path | None) -> Network:
    """A network, cut before its heads, with its weights or with random ones."""
    network = Network(RawGraph.of(graph), initialize=False).eval()
    if weights_file is not None:
        weights.load(network, weights_file)
    else:
        draw(network, torch.Generator().manual_seed(0))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as darknet_py.load gives it
    return network


def at_size(network: Network, width: int, height: int) -> Network:
    """The same network for another size of input, with the same weights."""
    other = resized(network, width, height)
    return sharing(other, RawGraph.of(other.graph))


@torch.no_grad()
def draw(network: Network, generator: torch.Generator) -> None:
    """Random weights under which values stay in range: normalization by what a made batch has at every layer."""
    network.initialize(generator)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momentums = [norm.momentum for norm in norms]
    for norm in norms:
        norm.weight.uniform_(0.5, 1.5, generator=generator)
        norm.bias.normal_(2, 0.5, generator=generator)  # mostly above 0: rounding errors do not grow then
        norm.momentum = 1.0  # running values become those of the batch
    network.train().heads(torch.rand(2, *network.input_shape.dims, generator=generator))
    network.eval()
    for norm, momentum in zip(norms, momentums, strict=True):
        norm.momentum = momentum
