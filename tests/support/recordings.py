"""How networks of recordings are loaded, and how far outputs are from what was recorded."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch

from darknet_py import weights
from darknet_py.errors import CfgWarning
from darknet_py.network.graph import Graph
from darknet_py.network.module import Network

if TYPE_CHECKING:
    from pathlib import Path


def read_graph(path: Path) -> Graph:
    """The graph of a cfg, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CfgWarning)
        return Graph.read(path)


def load_network(cfg: Path, weights_path: Path) -> Network:
    """A network with its weights, in eval mode."""
    network = Network(read_graph(cfg), initialize=False).eval()
    weights.load(network, weights_path)
    return network


def use_cpu_formula(network: Network) -> None:
    """Change variances so that sqrt(var + 1e-5) is the sqrt(var) + 1e-6 that the CPU build divides by."""
    for module in network.modules():
        if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
            root = module.running_var.double().sqrt() + 1e-6
            module.running_var.copy_((root.square() - 1e-5).float())


def relative_difference(mine: torch.Tensor, recorded: np.ndarray, largest: float | None = None) -> float:
    """The largest difference as a share of the recording's largest value."""
    scale = float(np.abs(recorded).max()) if largest is None else largest
    return float(np.abs(mine.detach().numpy() - recorded).max()) / max(scale, 1e-30)
