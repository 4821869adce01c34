"""CUDA graphs: a whole network as one launch."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any, NamedTuple

import torch
from torch import Tensor

from darknet_py.engine.memory import Memory
from darknet_py.engine.steps import Step, run

MOST_GRAPHS = 8  # shapes of the input; the oldest goes first
WARM_UP = 3  # calls before a graph is captured, in which cuDNN chooses


class Captured(NamedTuple):
    """A graph with the memory that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    x: Tensor
    outputs: tuple[Tensor, ...]


class Graphs:
    """Runs steps as CUDA graphs, one for each shape of the input; what cannot be captured runs step by step.

    Their memory is shared, since they run one after the other.
    """

    def __init__(self, steps: Sequence[Step], outputs: Sequence[int]) -> None:
        self.steps, self.outputs = steps, outputs
        self._captured: dict[tuple[torch.Size, bool], Captured | None] = {}  # by shape, and whether TF32 is used
        self._lock = Lock()
        self._pool: Any = None
        self._done: torch.cuda.Event | None = None

    def heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """The outputs, in memory of their own."""
        with self._lock, torch.cuda.device(x.device):
            key = _key(x)
            if key not in self._captured:
                if len(self._captured) == MOST_GRAPHS:
                    self._captured.pop(next(iter(self._captured)))
                self._captured[key] = self._capture(x)
            captured = self._captured[key]
            return self._run(x) if captured is None else self._replayed(captured, x)

    def early(self, x: Tensor) -> tuple[Tensor, ...] | None:
        """The outputs, if there is a graph for such an input."""
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
            except RuntimeError:  # a layer waits for the device
                return None
        self._pool = graph.pool()
        return Captured(graph, x, outputs)

    def _run(self, x: Tensor) -> tuple[Tensor, ...]:
        return run(self.steps, x, self.outputs, Memory())


def _key(x: Tensor) -> tuple[torch.Size, bool]:
    return x.shape, torch.backends.cudnn.allow_tf32
