"""What a format is: how a network is written in it, and how the file is run for the proof; and a table of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor

from darknet_py.errors import DarknetError
from darknet_py.files.targets import BY_SUFFIX, Target, takers
from darknet_py.layers.parts.batchnorm import EPS
from darknet_py.network.module import Network
from darknet_py.weights.slots import cutoff_of


@dataclass(frozen=True)
class Options:
    """The options of conversions; a format takes those that apply and refuses the others."""

    layout: str | None = None  # the project whose keys a state dict gets: one of `projects.LAYOUTS`
    bn_eps: float = EPS  # the epsilon of the modules that load that state dict
    dtype: torch.dtype = torch.float32
    decode: bool = False  # boxes and scores inside the graph
    nms: bool = False  # and non-maximum suppression
    thresh: float = 0.005
    iou: float = 0.45
    dynamic_size: bool = False  # width and height may change, not only the batch


Write = Callable[[Network, Path, Options], None]
Run = Callable[[Path, Network, Sequence[Tensor], Options], list[list[Tensor]]]
Expect = Callable[[Network, Sequence[Tensor], Options], list[list[Tensor]]]


def heads(network: Network, inputs: Sequence[Tensor]) -> list[list[Tensor]]:
    """The network's outputs for each input (N, ...)."""
    with torch.inference_mode():
        return [list(network.heads(x)) for x in inputs]


@dataclass(frozen=True)
class Format:
    """One kind of file.

    `write` writes a network in eval mode, on the CPU and in float32, to a new file in a temporary folder beside the
    target. `run` returns the outputs of the written file for each input (N, ...); they must equal those that `expect`
    computes with the network, by default `network.heads`.
    """

    target: Target
    write: Write
    run: Run
    expect: Expect | None = None
    values_only: bool = False  # the file has no graph: it needs a cfg, and any input size can be tried


def format_of(path: str | Path) -> Format:
    """The format of a file name's suffix; raises `DarknetError` if there is none."""
    path = Path(path)
    suffix = ".weights" if cutoff_of(path) is not None else path.suffix.lower()
    if suffix not in BY_SUFFIX:
        known = ", ".join(BY_SUFFIX)
        raise DarknetError(f"{path}: there is no format {suffix or 'without a suffix'}; there are {known}")
    return format_in(BY_SUFFIX[suffix].module)


def check_options(target: Target, options: Options) -> None:
    """Raise `DarknetError` for options that a format does not take."""
    if not options.dtype.is_floating_point:
        raise DarknetError(f"{options.dtype} holds no fractions: float32, float16 and bfloat16 do")
    if options.bn_eps != EPS and options.layout in (None, "darknet_py"):
        raise DarknetError(f"bn_eps={options.bn_eps} goes with another project's layout; this package's own has {EPS}")
    asked = [f.name for f in dataclasses.fields(options) if getattr(options, f.name) != f.default and f.name != "dtype"]
    for name in asked:
        if name not in target.takes:
            option = name.replace("_", "-")
            raise DarknetError(f"{target.title} ({target.suffixes[0]}) does not take --{option}; {takers(name)} can")


def format_in(module: str) -> Format:
    """The format of a module in this package; raises `DarknetError` if a package it needs is missing."""
    try:
        form: Format = import_module(f"darknet_py.convert.{module}").FORMAT
    except ModuleNotFoundError as error:
        raise DarknetError(f"this format needs the package {error.name!r}, which is not installed") from error
    return form
