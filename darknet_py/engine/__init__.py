"""Faster ways to compute a network than layer by layer, with outputs equal to the plain network's."""

from __future__ import annotations

import warnings
from functools import partial
from threading import Lock
from typing import Any, Final

import torch
from torch import Tensor

from darknet_py.devices import after_fork
from darknet_py.engine import cuda, fused, winograd
from darknet_py.engine.backend import DEVICES, Backend, Half
from darknet_py.engine.prepared import Prepared
from darknet_py.errors import DarknetError, DarknetWarning
from darknet_py.network.module import Network

PLAIN: Final = "plain"  # the network itself
BACKENDS: Final = (winograd.BACKEND, fused.BACKEND, cuda.BACKEND)  # for each kind of device the fastest first
ENGINES: Final = (PLAIN, *(backend.name for backend in BACKENDS))


def fastest(device: str = "cpu", *, half: Half = False) -> str:
    """The first engine of that kind of device that works on this machine, or plain."""
    backends = [backend for backend in BACKENDS if backend.device == device]
    if half:
        backends.sort(key=lambda backend: not backend.leads_in_half())
    return next((backend.name for backend in backends if backend.make(half) is not None), PLAIN)


class Engine:
    """Computes the heads of one network, the fastest way or the one of that `name`.

    It prepares itself at the first call, and follows the network: after training, loading or resizing it uses the new
    weights, by the rules of `Watch`. The plain network computes what the engine is not made for: devices other than the
    CPU and NVIDIA's GPUs, types other than float32, rows, recurrent layers, and a network that trains, was compiled or
    has hooks.

    With `half` it uses values of 16 bits where that is faster, so outputs differ: float16 on a GPU, or bfloat16 if
    `half` is that type; bfloat16 on the CPU, for large weights only or for everything.

    Raises `DarknetError` for an unknown name, an engine that does not work on this machine or device, `half` with the
    plain engine, and a type that the device's engines do not compute.
    """

    def __init__(self, network: Network, name: str | None = None, *, half: Half = False) -> None:
        _check(name, network, half)
        self.network, self.half, self._wanted = network, half, name
        self._lock = Lock()
        self._prepared: Prepared | None = None
        self._watched: int | None = None  # the number of the preparation whose outputs were checked

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Engine, half=self.half), (self.network, self._wanted)

    @property
    def name(self) -> str:
        """The one of `ENGINES` that computes the network now: the fastest that any of its convolutions uses."""
        prepared = self._preparation()
        return PLAIN if prepared is None else prepared.name

    @torch.inference_mode()
    def heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """The outputs of `Network.heads` for (N, C, H, W) or rows, without gradients."""
        suits = x.ndim == 4 and len(x) and x.dtype == torch.float32 and x.device.type == self.network.device.type
        prepared = self._preparation() if suits else None
        outputs = None if prepared is None else prepared.heads(x)
        return _plain(self.network, x) if outputs is None else outputs

    def watched(self, outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The outputs (N, ...) for pictures; a `DarknetWarning` if the first ones with these weights are not finite."""
        number = 0 if self._prepared is None else self._prepared.number
        if self._watched == number:
            return outputs
        self._watched = number
        if not bool(torch.stack([output.isfinite().all() for output in outputs]).all()):
            bad = self.network.not_finite()
            more = f" and of {len(bad) - 1} more layers" if bad[1:] else ""
            cause = f"the weights of {bad[0]}{more}" if bad else "its outputs"
            text = f"{self.network.graph.source}: {cause} are NaN or infinite, so the results mean nothing"
            warnings.warn(DarknetWarning(text), stacklevel=2)
        return outputs

    def forget(self) -> None:
        """Free the memory; the next call reads the weights again, including changes that torch does not count."""
        self._prepared = self._watched = None

    def _preparation(self) -> Prepared | None:
        """The preparation that computes the network on its device; None for the plain network."""
        after_fork()
        kind = self.network.device.type
        prepared = self._prepared
        if prepared is not None and prepared.backend.device != kind:
            self.forget()
            prepared = None
        alone = self.network.compiled or self.network.training
        if alone or kind not in DEVICES or torch.is_autocast_enabled(kind):
            return None
        return prepared or self._prepare(kind)

    def _prepare(self, kind: str) -> Prepared | None:
        name = self._wanted or fastest(kind, half=self.half)
        backend = _named(name)
        convolutions = None if backend is None or backend.device != kind else backend.make(self.half)
        if backend is None or convolutions is None:
            return None
        with self._lock:
            if self._prepared is None:
                self._prepared = Prepared(self.network, backend, convolutions)
            return self._prepared


def _plain(network: Network, x: Tensor) -> tuple[Tensor, ...]:
    """The outputs of the plain network; `DarknetError` if its parameters have several types or devices."""
    try:
        return network.heads(x)
    except RuntimeError as error:
        kinds = sorted({f"{p.dtype} on {p.device}" for p in network.parameters() if p.is_floating_point()})
        if len(kinds) < 2:
            raise
        source = network.graph.source
        raise DarknetError(f"{source}: the parameters have several types or devices: {', '.join(kinds)}") from error


def _named(name: str) -> Backend | None:
    """The back end of that name; None for plain and for an unknown name."""
    return next((backend for backend in BACKENDS if backend.name == name), None)


def _check(name: str | None, network: Network, half: Half) -> None:
    kind = network.device.type
    known = list(dict.fromkeys(dtype for backend in BACKENDS if backend.device == kind for dtype in backend.halves))
    if isinstance(half, torch.dtype) and half not in known:
        types = " or ".join(str(dtype).removeprefix("torch.") for dtype in known) or "nothing"
        raise DarknetError(f"half is {str(half).removeprefix('torch.')}; engines on {kind} compute {types} of 16 bits")
    if name is None:
        return
    if name not in ENGINES:
        raise DarknetError(f"there is no engine {name!r}; there are {', '.join(ENGINES)}")
    backend = _named(name)
    if backend is not None:
        backend.require(network.device, half)
    elif half:
        raise DarknetError("the engine plain computes with the network's own values; half needs another engine")
