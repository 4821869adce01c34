"""``.ts``: TorchScript, for programs that still load it; torch recommends ``.pt2``."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from darknet_py.convert.export import example_shape
from darknet_py.convert.formats import Format, Options
from darknet_py.convert.traceable import Traceable, comparable, expect, note, one_sequence
from darknet_py.files.targets import BY_NAME
from darknet_py.network.module import Network


def write(network: Network, path: Path, options: Options) -> None:
    """Trace a network and write it, with the cfg beside the graph."""
    module = Traceable(network, options)
    with quiet():
        with torch.enable_grad():  # keeps layers from working in place
            x = torch.zeros(example_shape(network, options), dtype=torch.float32)
            traced = torch.jit.trace(module, x, check_trace=False)
        torch.jit.save(traced, str(path), _extra_files=note(network, options))


def run(path: Path, network: Network, inputs: Sequence[Tensor], options: Options) -> list[list[Tensor]]:
    """The outputs of the graph in the file for each input (N, ...)."""
    with quiet(), torch.no_grad():
        module = torch.jit.load(str(path))
        return [comparable(module(one_sequence(network, x)), options) for x in inputs]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence that torch.jit is deprecated and that comparisons of sizes become constants."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is deprecated", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message="Converting a tensor to a Python|Iterating over a tensor")
        yield


FORMAT = Format(BY_NAME["torchscript"], write, run, expect=expect)
