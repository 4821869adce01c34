"""Darknet's activations of x, of any shape: one row in `ACTIVATIONS` each, and a function if torch has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darknet_py.cfg.keys import one_of

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Activation:
    """One activation: how it is computed, how it is written in a cfg and in source code, and its formula."""

    name: str
    function: Function
    text: str  # the expression in source code, with {x} in it
    formula: str  # one line of documentation
    in_place: Function | None = None  # the same in place
    slope: float | None = None  # the slope below 0, if the function is x above

    @property
    def helper(self) -> Function | None:
        """The function that source code must define if torch has none; its name is that of the activation."""
        return self.function if self.text.startswith(f"{self.name}(") else None


# The definitions below are also copied into generated source code, so they may only use torch.


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU with Darknet's slope."""
    return F.leaky_relu(x, 0.1)


def relie(x: Tensor) -> Tensor:
    """Leaky ReLU with a smaller slope."""
    return F.leaky_relu(x, 0.01)


def loggy(x: Tensor) -> Tensor:
    """A logistic from -1 to 1."""
    return 2 * torch.sigmoid(x) - 1


def selu(x: Tensor) -> Tensor:
    """Scaled ELU with Darknet's digits."""
    return 1.0507 * F.elu(x, 1.6732)


def ramp(x: Tensor) -> Tensor:
    """ReLU plus a tenth of x."""
    return F.relu(x) + 0.1 * x


def plse(x: Tensor) -> Tensor:
    """A logistic made of three straight lines."""
    above = torch.where(x > 4, 0.01 * (x - 4) + 1, 0.125 * x + 0.5)
    return torch.where(x < -4, 0.01 * (x + 4), above)


def stair(x: Tensor) -> Tensor:
    """Flat on every second unit, and rising by one on the others."""
    n, flat = torch.floor(x), torch.floor(x / 2)
    return torch.where(torch.remainder(n, 2) == 0, flat, x - n + flat)


def lhtan(x: Tensor) -> Tensor:
    """The identity between 0 and 1, with a slope of .001 outside."""
    above = torch.where(x > 1, 0.001 * (x - 1) + 1, x)
    return torch.where(x < 0, 0.001 * x, above)


def linear(x: Tensor) -> Tensor:
    """The identity."""
    return x


leaky_ = partial(F.leaky_relu_, negative_slope=0.1)
relie_ = partial(F.leaky_relu_, negative_slope=0.01)
ROWS: Final = (
    Activation("logistic", torch.sigmoid, "torch.sigmoid({x})", "1 / (1 + exp(-x))", torch.sigmoid_),
    Activation("loggy", loggy, "loggy({x})", "2 / (1 + exp(-x)) - 1"),
    Activation("relu", F.relu, "F.relu({x})", "x; 0 below 0", torch.relu_, slope=0.0),
    Activation("elu", F.elu, "F.elu({x})", "x; exp(x) - 1 below 0", F.elu_),
    Activation("selu", selu, "selu({x})", "1.0507 x; 1.0507 * 1.6732 (exp(x) - 1) below 0"),
    Activation("relie", relie, "relie({x})", "x; 0.01 x below 0", relie_, slope=0.01),
    Activation("plse", plse, "plse({x})", "x / 8 + 1 / 2 from -4 to 4; beyond, it rises by 0.01"),
    Activation("hardtan", F.hardtanh, "F.hardtanh({x})", "x from -1 to 1; beyond, -1 and 1", F.hardtanh_),
    Activation("lhtan", lhtan, "lhtan({x})", "x from 0 to 1; beyond, it rises by 0.001"),
    Activation("linear", linear, "{x}", "x", slope=1.0),
    Activation("ramp", ramp, "ramp({x})", "1.1 x; 0.1 x below 0"),
    Activation("leaky", leaky, "leaky({x})", "x; 0.1 x below 0", leaky_, slope=0.1),
    Activation("tanh", torch.tanh, "torch.tanh({x})", "tanh(x)", torch.tanh_),
    Activation("stair", stair, "stair({x})", "floor(x / 2), and x - floor(x) more where floor(x) is odd"),
)
ACTIVATIONS: Final[Mapping[str, Activation]] = {row.name: row for row in ROWS}
activation_name = one_of(ACTIVATIONS, fallback="relu")


def activated(name: str, x: str) -> str:
    """Source text of an activation of the expression `x`."""
    return ACTIVATIONS[name].text.format(x=x)


class Activate(nn.Module):
    """An activation by name; at inference it works in place on an x that nothing else needs (`owned`)."""

    def __init__(self, name: str, *, owned: bool = True) -> None:
        super().__init__()
        activation = ACTIVATIONS[name]
        self.name, self.slope, self.function = name, activation.slope, activation.function
        self.in_place = (owned and activation.in_place) or activation.function

    def forward(self, x: Tensor) -> Tensor:
        """`x` of any shape."""
        return self.function(x) if torch.is_grad_enabled() else self.in_place(x)

    def extra_repr(self) -> str:
        return self.name
