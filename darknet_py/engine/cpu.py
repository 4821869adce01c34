"""Runs programs on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from darknet_py.engine.memory import Memory
from darknet_py.engine.steps import Program


class OnCpu:
    """Runs a program in memory that the next call reuses; simultaneous calls have separate memory."""

    def __init__(self) -> None:
        self.memories: list[Memory] = []  # those not in use

    def heads(self, x: Tensor, current: Callable[[], Program | None]) -> tuple[Tensor, ...] | None:
        """(N, C, H, W) -> the outputs; None without a program."""
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
