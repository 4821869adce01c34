"""The learning rate of a batch (get_current_rate in network.c)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import torch

from darknet_py.errors import CfgError
from darknet_py.network.net import Net

MAX_EXPONENT: Final = 700.0  # e to a larger power overflows a double


def rate_at(net: Net, batch: int, generator: torch.Generator | None = None) -> float:
    """The learning rate of [net] after `batch` updates; the C program makes its first update at batch 1.

    `generator` draws the rate of policy random. Raises `CfgError` if the policy lacks a key.
    """
    if batch < net.burn_in:
        return net.learning_rate * _power(batch / net.burn_in, net.power)
    if net.policy == "random":
        return net.learning_rate * _power(float(torch.rand((), generator=generator, dtype=torch.float32)), net.power)
    return net.learning_rate * FORMULAS[net.policy](net, batch)


def _step(net: Net, batch: int) -> float:
    if net.step < 1:
        raise CfgError(f"[net] policy=step needs a step of at least 1, not {net.step}", net.where)
    return _power(net.scale, batch // net.step)


def _steps(net: Net, batch: int) -> float:
    """Scales up to the first step ahead; the C program compares unsigned numbers, so a negative one is always ahead."""
    if len(net.scales) < len(net.steps):
        raise CfgError(f"[net] policy=steps has {len(net.steps)} steps and {len(net.scales)} scales", net.where)
    passed = next((count for count, step in enumerate(net.steps) if step > batch or step < 0), len(net.steps))
    return math.prod(net.scales[:passed])


def _poly(net: Net, batch: int) -> float:
    if net.max_batches < 1:
        raise CfgError("[net] policy=poly needs max_batches", net.where)
    return _power(max(1 - batch / net.max_batches, 0.0), net.power)


def _sigmoid(net: Net, batch: int) -> float:
    """A fall around `step`; the C program subtracts unsigned numbers, so its rate is 0 before."""
    return 1 / (1 + math.exp(min(net.gamma * (batch - net.step), MAX_EXPONENT)))


def _power(base: float, exponent: float) -> float:
    """`base`, a float in the C program, to the power `exponent`; infinite if a double overflows."""
    try:
        return math.pow(np.float32(base), exponent)
    except (OverflowError, ValueError):
        return math.inf


FORMULAS: Final[Mapping[str, Callable[[Net, int], float]]] = {
    "constant": lambda _net, _batch: 1.0,
    "step": _step,
    "steps": _steps,
    "exp": lambda net, batch: _power(net.gamma, batch),
    "poly": _poly,
    "sigmoid": _sigmoid,
}
