"""What a format is: how a network gets into it, and how it is run to prove that nothing changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from darknet_py.network import Network


@dataclass(frozen=True)
class Options:
    """What can be asked of a conversion; a format takes what applies to it and refuses the rest."""

    layout: str | None = None  # whose keys a state dict gets: one of `layouts.LAYOUTS`
    dtype: torch.dtype = torch.float32
    upto: int | None = None  # only the layers before this one
    decode: bool = False  # boxes and scores inside the graph
    nms: bool = False  # and non-maximum suppression
    thresh: float = 0.005
    iou: float = 0.45
    dynamic_size: bool = False  # width and height may change, not only the batch


Write = Callable[[Network, Path, Options], None]
Run = Callable[[Path, Network, Sequence[Tensor], Options], list[list[Tensor]]]


@dataclass(frozen=True)
class Format:
    """One kind of file.

    `write` puts a network in eval mode on the CPU into a new file (beside the old one, then renamed). `run` gives, for
    each input (N, ...), what the written file makes of it: as many outputs, in the order of `network.heads`.
    """

    name: str
    suffixes: tuple[str, ...]
    write: Write
    run: Run
    takes: frozenset[str] = frozenset()  # fields of `Options` that apply, beside `dtype` and `upto`
