"""What a back end is: one way to compute the convolutions of a network, and to call what was made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from darknet_py.engine.convolution import Convolutions
from darknet_py.engine.steps import Program
from darknet_py.errors import DarknetError

Half: TypeAlias = "bool | torch.dtype"  # whether to use 16 bits: the device's usual ones, or these
DEVICES = {"cpu": "the CPU", "cuda": "CUDA"}  # in messages


class Runner(Protocol):
    """Calls programs for one network, and keeps what the next call can use."""

    def heads(self, x: Tensor, current: Callable[[], Program | None]) -> tuple[Tensor, ...] | None:
        """(N, C, H, W) -> the outputs by the program that is `current`; None where there is none."""


def never() -> bool:
    """No."""
    return False


@dataclass(frozen=True)
class Backend:
    """One way to compute a network on one kind of device."""

    name: str
    device: str  # the type of the devices that it is for
    needs: str  # what a machine that cannot run it lacks
    halves: tuple[torch.dtype, ...]  # of 16 bits, the usual type first
    make: Callable[..., Convolutions | None]  # of `half`; None where this machine lacks something
    runner: Callable[[], Runner]
    leads_in_half: Callable[[], bool] = never  # whether it goes before the others in 16 bits, on this machine

    def require(self, device: torch.device, half: Half) -> None:
        """Raise `DarknetError` where it does not compute on that device, or not on this machine."""
        if device.type != self.device:
            raise DarknetError(f"the engine {self.name} is for {DEVICES[self.device]}, and the network is on {device}")
        if self.make(half) is None:
            raise DarknetError(f"this machine cannot run the engine {self.name}: {self.needs}")
