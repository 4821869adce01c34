"""Faster ways to compute a network than layer by layer, with outputs equal to the plain network's."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from threading import Lock
from typing import Any, Final

import torch
from torch import Tensor

from darknet_py.devices import after_fork
from darknet_py.engine import cuda, fused, winograd
from darknet_py.engine import graphs as cuda_graphs
from darknet_py.engine.memory import Memory
from darknet_py.engine.prepared import Prepared
from darknet_py.engine.steps import Convolutions, Half, Step, run
from darknet_py.errors import DarknetError, DarknetWarning
from darknet_py.kernels import native
from darknet_py.network.module import Network

CONVOLUTIONS: Final[Mapping[str, Callable[..., Convolutions | None]]] = {
    "winograd": winograd.convolutions,
    "fused": fused.convolutions,
    "cuda": cuda.convolutions,
}  # for each kind of device the fastest first
ENGINES: Final = ("plain", *CONVOLUTIONS)
DEVICES: Final = {"winograd": "cpu", "fused": "cpu", "cuda": "cuda"}
HALVES: Final = {"cpu": (torch.bfloat16,), "cuda": (torch.float16, torch.bfloat16)}  # the usual one first
NEEDS: Final = {
    "winograd": "it needs Linux, oneDNN in torch, and gcc, which compiles the kernel at its first use",
    "fused": "it needs oneDNN in torch",
    "cuda": "it needs a GPU of NVIDIA",
}


def fastest(device: str = "cpu", *, half: Half = False) -> str:
    """The first that this machine has of the engines for that kind of device, or plain."""
    names = [name for name in CONVOLUTIONS if DEVICES[name] == device]
    if half and native.has_amx():
        names.sort(key="fused".__ne__)
    return next((name for name in names if CONVOLUTIONS[name](half=half) is not None), "plain")


class Engine:
    """Computes the heads of one network, the fastest way or the one of that `name`.

    It prepares itself at the first call, and follows the network: after training, loading or resizing it takes what
    is there then, by the rules of `Watch`. What it is not made for goes through the network as it is: other devices
    than the CPU and GPUs of NVIDIA, other types than float32, rows, recurrent layers, a network that trains, was
    compiled or has hooks.

    With `half` values of 16 bits are used where that is faster, so that outputs differ: float16 on a GPU, or bfloat16
    if `half` is that type; bfloat16 on the CPU, there for large weights alone or for all.

    Raises `DarknetError` for a name that there is not, for an engine that this machine or device does not have, for
    `half` with the plain one, and for a type that the device's engines do not compute.
    """

    def __init__(self, network: Network, name: str | None = None, *, half: Half = False) -> None:
        _check(name, network, half)
        self.network, self.half, self._wanted = network, half, name
        self._lock = Lock()
        self._prepared: Prepared | None = None
        self._graphs: cuda_graphs.Graphs | None = None
        self._memories: list[Memory] = []  # one for each call at the same time
        self._watched: int | None = None  # the number of the preparation whose outputs were looked at

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Engine, half=self.half), (self.network, self._wanted)

    @property
    def name(self) -> str:
        """The one of `ENGINES` that computes the network as it is."""
        return self._chosen() if self._steps() else "plain"

    @torch.inference_mode()
    def heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """What `Network.heads` gives, without gradients."""
        network = self.network
        if x.device.type != network.device.type:
            return network.heads(x)  # which says what is wrong
        suits = x.ndim == 4 and len(x) and x.dtype == torch.float32
        graphs = self._graphs if suits and x.is_cuda else None
        early = None if graphs is None else graphs.early(x)  # a GPU computes while this looks whether that holds
        steps = self._steps() if suits else ()
        if not steps:
            return _plain(network, x)
        if graphs is not None and early is not None and graphs.steps is steps:
            return early
        network.check_input(x)
        if x.device.type == "cuda":
            if graphs is None or graphs.steps is not steps:
                self._graphs = graphs = cuda_graphs.Graphs(steps, network.graph.outputs)
            return graphs.heads(x)
        try:
            memory = self._memories.pop()
        except IndexError:
            memory = Memory()
        outputs = run(steps, x.contiguous(memory_format=torch.channels_last), network.graph.outputs, memory)
        self._memories.append(memory)
        return outputs

    def watched(self, outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The outputs for pictures; where the first for these weights are no numbers, a `DarknetWarning` says why."""
        number = 0 if self._prepared is None else self._prepared.number
        if self._watched == number:
            return outputs
        self._watched = number
        if not bool(torch.stack([output.isfinite().all() for output in outputs]).all()):
            bad = self.network.not_finite()
            more = f" and of {len(bad) - 1} more layers" if bad[1:] else ""
            cause = f"the weights of {bad[0]}{more}" if bad else "its outputs"
            text = f"{self.network.graph.source}: {cause} are NaN or infinite, so that what is found means nothing"
            warnings.warn(DarknetWarning(text), stacklevel=2)
        return outputs

    def forget(self) -> None:
        """Give back the memory; the next call takes the weights anew, also those changed where torch does not see."""
        self._prepared = self._graphs = self._watched = None
        self._memories.clear()

    def _chosen(self) -> str:
        return self._wanted or fastest(self.network.device.type, half=self.half)

    @torch.inference_mode()
    def _steps(self) -> tuple[Step, ...]:
        """The steps for the network as it is; none where it computes itself."""
        after_fork()
        network = self.network
        kind = network.device.type
        if self._prepared is not None and self._prepared.device != kind:
            self.forget()
        alone = kind not in DEVICES.values() or "_run" in vars(network)  # compiled
        if alone or network.training or torch.is_autocast_enabled(kind):
            return ()
        name = self._chosen()
        if name == "plain":
            return ()
        with self._lock:
            if self._prepared is None or self._prepared.name != name:
                make = CONVOLUTIONS[name](half=self.half)
                if make is None or DEVICES[name] != kind:
                    return ()
                self._prepared = Prepared(name, make, kind)
            return self._prepared.steps(network)


def _plain(network: Network, x: Tensor) -> tuple[Tensor, ...]:
    """What the network itself gives; `DarknetError` where that fails since it is in parts of several kinds."""
    try:
        return network.heads(x)
    except RuntimeError as error:
        kinds = sorted({f"{p.dtype} on {p.device}" for p in network.parameters() if p.is_floating_point()})
        if len(kinds) < 2:
            raise
        source = network.graph.source
        raise DarknetError(f"{source}: the parameters have several types or devices: {', '.join(kinds)}") from error


def _check(name: str | None, network: Network, half: Half) -> None:
    kind = network.device.type
    known = HALVES.get(kind, ())
    if isinstance(half, torch.dtype) and half not in known:
        types = " or ".join(str(dtype).removeprefix("torch.") for dtype in known) or "nothing"
        raise DarknetError(f"half is {str(half).removeprefix('torch.')}; engines on {kind} compute {types} of 16 bits")
    if name is None:
        return
    if name not in ENGINES:
        raise DarknetError(f"there is no engine {name!r}; there are {', '.join(ENGINES)}")
    if name == "plain":
        if half:
            raise DarknetError("the engine plain computes with the network's own values; half needs another engine")
        return
    if kind != DEVICES[name]:
        device = "the CPU" if DEVICES[name] == "cpu" else DEVICES[name].upper()
        raise DarknetError(f"the engine {name} is for {device}, and the network is on {network.device}")
    if CONVOLUTIONS[name](half=half) is None:
        raise DarknetError(f"this machine cannot run the engine {name}: {NEEDS[name]}")
