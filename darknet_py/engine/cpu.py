"""Calls on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from darknet_py.engine.memory import Memory
from darknet_py.engine.steps import Program


class OnCpu:
    """Runs a program in memory that the next call uses again; calls at the same time have one memory each."""

    def __init__(self) -> None:
        self.memories: list[Memory] = []  # those that no call is using

    def heads(self, x: Tensor, current: Callable[[], Program | None]) -> tuple[Tensor, ...] | None:
        """(N, C, H, W) -> the outputs; None where there is no program."""
        program = current()
        if program is None:
            return None
        try:
            memory = self.memories.pop()
        except IndexError:
            memory = Memory()
        outputs = program.run(x.contiguous(memory_format=torch.channels_last), memory)
        self.memories.append(memory)
        return outputs
