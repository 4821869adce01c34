"""Faster ways to compute a network than layer by layer, with outputs equal to the plain network's.

An engine is made of a network and follows it: after training or loading other weights it takes those. Which one is
used follows from the device and from what the machine has, by the rule of `choose`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from torch import Tensor

from darknet_py.engine import fused, winograd
from darknet_py.engine.steps import Convolutions, Stepwise
from darknet_py.errors import DarknetError
from darknet_py.network import Network


class Engine(Protocol):
    """Computes the heads of one network."""

    name: str

    def heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """What `Network.heads` gives, without gradients."""
        ...


class Plain:
    """The network itself."""

    name = "plain"

    def __init__(self, network: Network) -> None:
        self.network = network

    def heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """The outputs of the network's heads."""
        return self.network.heads(x)


CONVOLUTIONS: Final[Mapping[str, Callable[[], Convolutions | None]]] = {
    "winograd": winograd.convolutions,
    "fused": fused.convolutions,
}
ENGINES: Final = ("plain", *CONVOLUTIONS)


def choose(network: Network) -> str:
    """The engine for a network where it is: the first that this machine has of winograd, fused, plain."""
    if network.device.type != "cpu" or network.graph.recurrent:
        return "plain"
    return next((name for name, make in CONVOLUTIONS.items() if make() is not None), "plain")


def engine_for(network: Network, name: str | None = None) -> Engine:
    """An engine for a network on its device; `name` None lets `choose` decide.

    Raises `DarknetError` for a name that there is not, or an engine that this machine or device does not have.
    """
    name = name or choose(network)
    if name == "plain":
        return Plain(network)
    if name not in CONVOLUTIONS:
        raise DarknetError(f"there is no engine {name!r}; there are {', '.join(ENGINES)}")
    if network.device.type != "cpu":
        raise DarknetError(f"the engine {name} is for the CPU, and the network is on {network.device}")
    convolutions = CONVOLUTIONS[name]()
    if convolutions is None:
        raise DarknetError(f"this machine does not have the engine {name}: it needs {NEEDS[name]}")
    return Stepwise(network, name, convolutions)


NEEDS: Final = {
    "winograd": "Linux, oneDNN in torch, and gcc, which compiles the kernel at its first use",
    "fused": "oneDNN in torch",
}
