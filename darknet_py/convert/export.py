"""``.pt2``: the graph of torch.export, for torch.export.load and for compilers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from darknet_py.convert.formats import Format, Options
from darknet_py.convert.traceable import Traceable, comparable, expect, note, one_sequence
from darknet_py.errors import DarknetError, memory_errors
from darknet_py.files.targets import BY_NAME
from darknet_py.network.module import Network


def write(network: Network, path: Path, options: Options) -> None:
    """Write a network as torch.export saves it, with the cfg beside the graph."""
    program = export(Traceable(network, options), options)
    torch.export.save(program, path, extra_files=note(network, options))


def run(path: Path, network: Network, inputs: Sequence[Tensor], options: Options) -> list[list[Tensor]]:
    """The outputs of the graph in the file for each input (N, ...)."""
    module = torch.export.load(path).module()
    with torch.no_grad():
        return [comparable(module(one_sequence(network, x)), options) for x in inputs]


def export(module: Traceable, options: Options) -> ExportedProgram:
    """The graph of a module for any batch size, and with `dynamic_size` for any height and width from two strides on.

    They must be multiples of `graph.stride`. A recurrent network takes one sequence of its steps and starts from zeros.
    Raises `DarknetError` if torch finds that a layer needs a fixed size.
    """
    graph = module.network.graph
    shape = example_shape(module.network, options)
    dims: dict[int, Any] = {} if graph.recurrent else {0: Dim("batch")}
    if options.dynamic_size:
        dims |= {axis: graph.stride * Dim(name) for axis, name in ((2, "rows"), (3, "columns"))}
    module.network.require_memory()
    try:
        with (
            memory_errors(f"an example of the input of {graph.source}"),
            torch.enable_grad(),
        ):  # keeps layers from working in place
            x = torch.zeros(shape, dtype=torch.float32)
            return torch.export.export(module, (x,), dynamic_shapes={"images": dims}, strict=False)
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        raise DarknetError(f"torch.export cannot export {graph.source}: {reason}") from error


def example_shape(network: Network, options: Options) -> list[int]:
    """The shape of an input to trace with; torch would make a dimension of 1 a constant."""
    graph = network.graph
    shape = [graph.net.time_steps if graph.recurrent else 2, *graph.input_shape.dims]
    if options.dynamic_size:
        shape[2:] = [max(2, math.ceil(side / graph.stride)) * graph.stride for side in shape[2:]]
    return shape


FORMAT = Format(BY_NAME["export"], write, run, expect=expect)
