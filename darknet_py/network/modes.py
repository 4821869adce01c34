"""Modes of modules, and whether their values are finite, including their submodules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from weakref import WeakKeyDictionary

import torch
from torch import nn

from darknet_py.devices import after_fork


class _Looks:
    """How many threads use a network in eval mode now, and which of its modules were in train mode before."""

    def __init__(self) -> None:
        self.count, self.trained = 0, list[nn.Module]()


_looks: WeakKeyDictionary[nn.Module, _Looks] = WeakKeyDictionary()
_looks_lock = Lock()


@contextmanager
def looking(network: nn.Module) -> Iterator[None]:
    """Keep all modules in eval mode inside the block, or the blocks of several threads, and restore their modes."""
    after_fork()
    with _looks_lock:
        looks = _looks.setdefault(network, _Looks())
        if not looks.count:
            looks.trained = _training(network)
            for module in looks.trained:
                module.training = False
        looks.count += 1
    try:
        yield
    finally:
        with _looks_lock:
            looks.count -= 1
            for module in () if looks.count else looks.trained:
                module.training = True


def _training(module: nn.Module) -> list[nn.Module]:
    """The modules in train mode, several times faster than by `Module.modules`."""
    found, waiting = [], [module]
    while waiting:
        module = waiting.pop()
        waiting += filter(None, module._modules.values())  # noqa: SLF001
        if module.training:
            found.append(module)
    return found


def is_finite(module: nn.Module) -> bool:
    """Whether all weights and statistics of a module are finite, with one transfer from the device."""
    values = [value for value in module.state_dict().values() if value.is_floating_point() and value.numel()]
    return not values or bool(torch.stack([value.isfinite().all() for value in values]).all())
