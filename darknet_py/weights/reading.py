"""Options for reading a file of values, and the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from darknet_py.layers.parts.batchnorm import EPS
from darknet_py.network.header import Header

Partial: TypeAlias = bool | Literal["matching"]


@dataclass(frozen=True)
class Reading:
    """Options for reading a file."""

    start: int = 0  # the first layer in the file
    cutoff: int | None = None  # the layer before which to stop
    partial: Partial = False  # load as far as the file goes; or, from a file for other classes, the layers that match
    layout: str | None = None  # the layout of a state dict's keys; None recognises it
    bn_eps: float = EPS  # the epsilon of the modules that a state dict comes from
    assign: bool = False  # let the network use the file's tensors instead of copies


@dataclass(frozen=True)
class Loaded:
    """The result of reading a file, or of checking it."""

    header: Header
    layers: int  # how many layers from the first on got their values, counted as in the cfg
    values: int
    held: int = 0  # layers that the file was made from, including those without weights
    whole: bool = False  # whether every tensor of the network got its values
    left: tuple[str, ...] = ()  # layers that `matching` left out, each with the reason
