"""GPUs of NVIDIA: convolutions without batch normalization, channels last, and CUDA graphs of whole networks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from threading import Lock
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_py.engine.folded import Folded, add
from darknet_py.engine.memory import Memory
from darknet_py.engine.steps import Convolutions, Step, run

MOST_GRAPHS = 8  # shapes of the input; the oldest goes first
WARM_UP = 3  # calls before a graph is captured, in which cuDNN chooses


class Cudnn:
    """One convolution with bias and activation."""

    pools = False

    def __init__(self, conv: Folded, dtype: torch.dtype = torch.float32) -> None:
        self.weight = conv.weight.to(dtype, memory_format=torch.channels_last)
        self.bias, self.slope, self.activate = conv.bias.to(dtype), conv.slope, conv.activate
        self.geometry = conv.stride, conv.padding, (1, 1), conv.groups

    def __call__(
        self, memory: Memory, x: Tensor, other: Tensor | None = None, *, slope: float = 1.0, pool: bool = False
    ) -> Tensor:
        y = F.conv2d(x.to(self.bias.dtype), self.weight, self.bias, *self.geometry)
        if self.slope is None:
            y = self.activate(y)
        elif self.slope != 1:
            F.leaky_relu_(y, self.slope)
        return add(y, other, slope)


@cache
def convolutions(*, half: bool = False) -> Convolutions | None:
    """`Cudnn`, with `half` in float16; None without a GPU."""
    if not torch.cuda.is_available():
        return None
    return partial(Cudnn, dtype=torch.float16 if half else torch.float32)


class Captured(NamedTuple):
    """A graph with the memory that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    x: Tensor
    outputs: tuple[Tensor, ...]


class Graphs:
    """Runs steps as CUDA graphs, one for each shape of the input; what cannot be captured runs step by step."""

    def __init__(self, steps: Sequence[Step], outputs: Sequence[int]) -> None:
        self.steps, self.outputs = steps, outputs
        self._captured: dict[torch.Size, Captured | None] = {}
        self._lock = Lock()

    def heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """The outputs, in memory of their own."""
        with self._lock, torch.cuda.device(x.device):
            if x.shape not in self._captured:
                if len(self._captured) == MOST_GRAPHS:
                    self._captured.pop(next(iter(self._captured)))
                self._captured[x.shape] = self._capture(x)
            captured = self._captured[x.shape]
            if captured is None:
                return self._run(x)
            captured.x.copy_(x)
            captured.graph.replay()
            return tuple(output.clone() for output in captured.outputs)

    def _capture(self, x: Tensor) -> Captured | None:
        x = x.clone(memory_format=torch.channels_last)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._run(x)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                outputs = self._run(x)
        except RuntimeError:  # a layer waits for the device
            return None
        return Captured(graph, x, outputs)

    def _run(self, x: Tensor) -> tuple[Tensor, ...]:
        return run(self.steps, x, self.outputs, Memory())
