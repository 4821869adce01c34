"""Darknet's activations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darknet_py.cfg.keys import one_of

SELU_SCALE, SELU_ALPHA = 1.0507, 1.6732  # Darknet's digits, fewer than torch's


def linear(x: Tensor) -> Tensor:
    """X."""
    return x


def loggy(x: Tensor) -> Tensor:
    """A logistic from -1 to 1."""
    return 2 * torch.sigmoid(x) - 1


def selu(x: Tensor) -> Tensor:
    """Scaled ELU with Darknet's four digits."""
    return SELU_SCALE * F.elu(x, SELU_ALPHA)


def ramp(x: Tensor) -> Tensor:
    """ReLU plus a tenth of x."""
    return F.relu(x) + 0.1 * x


def plse(x: Tensor) -> Tensor:
    """A logistic of three straight lines."""
    return torch.where(x < -4, 0.01 * (x + 4), torch.where(x > 4, 0.01 * (x - 4) + 1, 0.125 * x + 0.5))


def stair(x: Tensor) -> Tensor:
    """Flat on every second unit, rising by one on the others."""
    n = torch.floor(x)
    flat = torch.floor(x / 2)
    return torch.where(torch.remainder(n, 2) == 0, flat, x - n + flat)


def lhtan(x: Tensor) -> Tensor:
    """X between 0 and 1, and a thousandth of the rise outside."""
    return torch.where(x < 0, 0.001 * x, torch.where(x > 1, 0.001 * (x - 1) + 1, x))


Activation = Callable[[Tensor], Tensor]
ACTIVATIONS: Final[dict[str, Activation]] = {
    "logistic": torch.sigmoid,
    "loggy": loggy,
    "relu": F.relu,
    "elu": F.elu,
    "selu": selu,
    "relie": partial(F.leaky_relu, negative_slope=0.01),
    "plse": plse,
    "hardtan": F.hardtanh,
    "lhtan": lhtan,
    "linear": linear,
    "ramp": ramp,
    "leaky": partial(F.leaky_relu, negative_slope=0.1),
    "tanh": torch.tanh,
    "stair": stair,
}
activation_name = one_of(ACTIVATIONS, fallback="relu")


IN_PLACE: Final[dict[str, Activation]] = {
    "relu": torch.relu_,
    "leaky": partial(F.leaky_relu_, negative_slope=0.1),
    "relie": partial(F.leaky_relu_, negative_slope=0.01),
    "logistic": torch.sigmoid_,
}


class Activate(nn.Module):
    """One of the activations, by name; for an x that nothing else needs, `owned`, in place at inference."""

    def __init__(self, name: str, *, owned: bool = True) -> None:
        super().__init__()
        self.name = name
        self.function = ACTIVATIONS[name]
        self.in_place = IN_PLACE.get(name, self.function) if owned else self.function

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return self.function(x) if torch.is_grad_enabled() else self.in_place(x)

    def extra_repr(self) -> str:
        return self.name
