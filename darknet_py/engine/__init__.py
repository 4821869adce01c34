"""Faster ways to compute a network than layer by layer, with outputs equal to the plain network's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, Final

import torch
from torch import Tensor

from darknet_py.engine import fused, winograd
from darknet_py.engine.memory import Memory
from darknet_py.engine.prepared import Prepared
from darknet_py.engine.steps import Convolutions, Step, run
from darknet_py.errors import DarknetError
from darknet_py.network import Network

CONVOLUTIONS: Final[Mapping[str, Callable[[], Convolutions | None]]] = {
    "winograd": winograd.convolutions,
    "fused": fused.convolutions,
}  # the fastest first
ENGINES: Final = ("plain", *CONVOLUTIONS)
NEEDS: Final = {
    "winograd": "it needs Linux, oneDNN in torch, and gcc, which compiles the kernel at its first use",
    "fused": "it needs oneDNN in torch",
}


def fastest() -> str:
    """The first that this machine has of winograd, fused and plain."""
    return next((name for name, make in CONVOLUTIONS.items() if make() is not None), "plain")


class Engine:
    """Computes the heads of one network, the fastest way or the one of that `name`.

    It prepares itself at the first call, and follows the network: after training, loading or resizing it takes what
    is there then, by the rules of `Watch`. What it is not made for goes through the network as it is: other devices
    than the CPU, other types than float32, rows, recurrent layers, a network that trains, was compiled or has hooks.

    Raises `DarknetError` for a name that there is not, and for an engine that this machine or device does not have.
    """

    def __init__(self, network: Network, name: str | None = None) -> None:
        if name is not None:
            _check(name, network)
        self.network, self._wanted = network, name
        self._lock = Lock()
        self._prepared: Prepared | None = None
        self._memories: list[Memory] = []  # one for each call at the same time

    def __reduce__(self) -> tuple[Any, ...]:
        return Engine, (self.network, self._wanted)

    @property
    def name(self) -> str:
        """The one of `ENGINES` that computes the network as it is."""
        return (self._wanted or fastest()) if self._steps() else "plain"

    @torch.inference_mode()
    def heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """What `Network.heads` gives, without gradients."""
        network = self.network
        if x.device.type != "cpu":
            self.forget()
        suits = x.ndim == 4 and len(x) and x.dtype == torch.float32 and x.device.type == "cpu"
        steps = self._steps() if suits else ()
        if not steps:
            return network.heads(x)
        network.check_input(x)
        try:
            memory = self._memories.pop()
        except IndexError:
            memory = Memory()
        outputs = run(steps, x.contiguous(memory_format=torch.channels_last), network.graph.outputs, memory)
        self._memories.append(memory)
        return outputs

    def forget(self) -> None:
        """Give back the memory; the next call takes the weights anew, also those changed where torch does not see."""
        self._prepared = None
        self._memories.clear()

    @torch.inference_mode()
    def _steps(self) -> tuple[Step, ...]:
        """The steps for the network as it is; none where it computes itself."""
        network = self.network
        alone = self._wanted == "plain" or "_run" in vars(network)  # compiled
        if alone or network.training or torch.is_autocast_enabled("cpu"):
            return ()
        with self._lock:
            if self._prepared is None:
                make = CONVOLUTIONS.get(self._wanted or fastest(), lambda: None)()
                self._prepared = None if make is None else Prepared(make)
            return () if self._prepared is None else self._prepared.steps(network)


def _check(name: str, network: Network) -> None:
    if name not in ENGINES:
        raise DarknetError(f"there is no engine {name!r}; there are {', '.join(ENGINES)}")
    if name == "plain":
        return
    if network.device.type != "cpu":
        raise DarknetError(f"the engine {name} is for the CPU, and the network is on {network.device}")
    if CONVOLUTIONS[name]() is None:
        raise DarknetError(f"this machine cannot run the engine {name}: {NEEDS[name]}")
