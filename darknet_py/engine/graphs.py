"""CUDA graphs: a whole network as one launch."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, NamedTuple

import torch
from torch import Tensor

from darknet_py.engine.memory import Memory
from darknet_py.engine.steps import Program

MOST_GRAPHS = 8  # input shapes; the oldest is dropped first
WARM_UP = 3  # calls before a graph is captured, in which cuDNN chooses algorithms


class Captured(NamedTuple):
    """A captured graph with its memory for input and outputs."""

    graph: torch.cuda.CUDAGraph
    x: Tensor
    outputs: tuple[Tensor, ...]


class Graphs:
    """Runs a program as CUDA graphs, one per input shape; programs that cannot be captured run step by step.

    The graphs share their memory, because they run one after the other.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self._captured: dict[tuple[torch.Size, bool], Captured | None] = {}  # by shape and use of TF32
        self._lock = Lock()
        self._pool: Any = None
        self._done: torch.cuda.Event | None = None

    def heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, C, H, W) -> the outputs, in memory of their own."""
        with self._lock, torch.cuda.device(x.device):
            key = _key(x)
            if key not in self._captured:
                if len(self._captured) == MOST_GRAPHS:
                    self._captured.pop(next(iter(self._captured)))
                self._captured[key] = self._capture(x)
            captured = self._captured[key]
            return self._run(x) if captured is None else self._replayed(captured, x)

    def early(self, x: Tensor) -> tuple[Tensor, ...] | None:
        """(N, C, H, W) -> the outputs, if there is a graph for such an input."""
        with self._lock, torch.cuda.device(x.device):
            captured = self._captured.get(_key(x))
            return None if captured is None else self._replayed(captured, x)

    def _replayed(self, captured: Captured, x: Tensor) -> tuple[Tensor, ...]:
        if self._done is None:
            self._done = torch.cuda.Event()
        else:
            self._done.wait()  # another stream may still use the memory
        captured.x.copy_(x)
        captured.graph.replay()
        outputs = tuple(output.clone() for output in captured.outputs)
        self._done.record()
        return outputs

    def _capture(self, x: Tensor) -> Captured | None:
        torch.cuda.synchronize()
        x, graph = x.clone(), torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        same = {name: getattr(torch.backends.cudnn, name) for name in ("enabled", "deterministic", "allow_tf32")}
        with torch.backends.cudnn.flags(**same, benchmark=True):
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):
                    self._run(x)
            torch.cuda.current_stream().wait_stream(stream)
            try:
                with torch.cuda.graph(graph, pool=self._pool):
                    outputs = self._run(x)
            except RuntimeError:  # a layer synchronises with the device
                return None
        self._pool = graph.pool()
        return Captured(graph, x, outputs)

    def _run(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.program.run(x, Memory())


def _key(x: Tensor) -> tuple[torch.Size, bool]:
    return x.shape, torch.backends.cudnn.allow_tf32


class OnGpu:
    """Runs a program as CUDA graphs; the GPU starts before it is known whether the program is still current."""

    def __init__(self) -> None:
        self._graphs: Graphs | None = None

    def heads(self, x: Tensor, current: Callable[[], Program | None]) -> tuple[Tensor, ...] | None:
        """(N, C, H, W) -> the outputs; None without a program."""
        graphs = self._graphs
        early = None if graphs is None else graphs.early(x)
        program = current()
        if program is None:
            return None
        if graphs is None or graphs.program is not program:
            self._graphs = graphs = Graphs(program)
            early = None
        return graphs.heads(x) if early is None else early
