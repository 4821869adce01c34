"""``.py``: the network as a module in plain torch, to read, change or use elsewhere.

The file holds no weights: it takes the state dict of the converted ``.pt``.
"""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from darknet_py.convert.formats import Format, Options
from darknet_py.convert.python.page import class_name, generate
from darknet_py.errors import DarknetError
from darknet_py.files import replacing
from darknet_py.files.targets import BY_NAME
from darknet_py.network.module import Network

__all__ = ["FORMAT", "class_name", "generate", "load", "run", "write"]


def write(network: Network, path: Path, options: Options) -> None:
    """Write the source code of a network; raises `CfgError` for a layer that has no source text."""
    if options.dtype != torch.float32:
        raise DarknetError("source code holds no values, so it has no type of them: model.half() does that later")
    text = generate(network.graph)
    with replacing(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def load(path: Path, network: Network) -> nn.Module:
    """The module in a file, with the tensors of a network.

    This runs code, so the file must be exactly what `write` writes for this network; otherwise `DarknetError`.
    """
    if path.read_text(encoding="utf-8") != generate(network.graph):
        raise DarknetError(f"{path}: this is not the source code that is written for {network.graph.source}")
    module_class = runpy.run_path(str(path))[class_name(network.graph)]
    with torch.device("meta"):  # no memory for weights that are replaced
        module: nn.Module = module_class()
    module.load_state_dict(network.state_dict(), strict=True, assign=True)
    return module.eval()


def run(path: Path, network: Network, inputs: Sequence[Tensor], _options: Options) -> list[list[Tensor]]:
    """The outputs of the module in the file for each input (N, ...)."""
    module = load(path, network)
    with torch.no_grad():
        outputs = [module(x) for x in inputs]
    return [list(output) if isinstance(output, tuple) else [output] for output in outputs]


FORMAT = Format(BY_NAME["python"], write, run)
