"""`Backend`: one way to compute the convolutions of a network, and to run the resulting program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from darknet_py.engine.convolution import Convolutions
from darknet_py.engine.steps import Program
from darknet_py.errors import DarknetError

Half: TypeAlias = "bool | torch.dtype"  # whether to use 16 bits: the device's usual type, or this one
DEVICES = {"cpu": "the CPU", "cuda": "CUDA"}  # names in messages


class Runner(Protocol):
    """Runs programs for one network, and keeps what the next call can reuse."""

    def heads(self, x: Tensor, current: Callable[[], Program | None]) -> tuple[Tensor, ...] | None:
        """(N, C, H, W) -> the outputs by the `current` program; None if there is none."""


def never() -> bool:
    """False."""
    return False


@dataclass(frozen=True)
class Backend:
    """One way to compute a network on one kind of device."""

    name: str
    device: str  # the type of its devices
    needs: str  # requirements, for messages
    halves: tuple[torch.dtype, ...]  # types of 16 bits, the usual one first
    make: Callable[..., Convolutions | None]  # by `half`; None if this machine lacks something
    runner: Callable[[], Runner]
    leads_in_half: Callable[[], bool] = never  # whether it is preferred in 16 bits on this machine

    def require(self, device: torch.device, half: Half) -> None:
        """Raise `DarknetError` if it does not work on that device or this machine."""
        if device.type != self.device:
            raise DarknetError(f"the engine {self.name} is for {DEVICES[self.device]}, and the network is on {device}")
        if self.make(half) is None:
            raise DarknetError(f"this machine cannot run the engine {self.name}: {self.needs}")
