"""How a file of values is to be read, and what reading it did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from darknet_py.layers.parts.batchnorm import EPS
from darknet_py.network.header import Header

Partial: TypeAlias = bool | Literal["matching"]


@dataclass(frozen=True)
class Reading:
    """How a file is to be read."""

    start: int = 0  # the layer that the file begins with
    cutoff: int | None = None  # the layer before which to stop
    partial: Partial = False  # take what there is from the front; or, of other classes, the layers that match
    layout: str | None = None  # whose keys a state dict has; None finds out
    bn_eps: float = EPS  # what the modules that a state dict is from add to a variance
    assign: bool = False  # the tensors of the network may become those of the file, instead of copies


@dataclass(frozen=True)
class Loaded:
    """What reading a file did, or would do."""

    header: Header
    layers: int  # layers up to here got their values, counted as the cfg counts
    values: int
    held: int = 0  # layers that the file was made from, those without weights too
    whole: bool = False  # every tensor of the network got its values
    left: tuple[str, ...] = ()  # layers that `matching` left out, each with the reason
