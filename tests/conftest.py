"""Where recordings and official files are, and how networks of recordings are loaded."""

from __future__ import annotations

import importlib.util
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from darknet_py import weights
from darknet_py.errors import CfgWarning
from darknet_py.graph import Graph
from darknet_py.network import Network

if "PYTEST_XDIST_WORKER" in os.environ:  # one thread a worker, in the processes it starts too
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)

GOLDEN = Path(__file__).parent / "golden"
SHARED = Path(__file__).parents[2] / "shared"
OFFICIAL = SHARED / "official"
MODELS = SHARED / "golden" / "models"
PHOTO = SHARED / "golden" / "photo"
SYNTHETIC = SHARED / "golden" / "synthetic_weights.py"

needs_official = pytest.mark.skipif(not OFFICIAL.is_dir(), reason="the official cfg files are not here")
needs_models = pytest.mark.skipif(
    not (OFFICIAL.is_dir() and MODELS.is_dir()), reason="the recordings of official models are not here"
)
needs_photo = pytest.mark.skipif(
    not (OFFICIAL.is_dir() and PHOTO.is_dir()), reason="the recordings of a photograph are not here"
)


@pytest.fixture(autouse=True)
def same_threads():
    """A test that asks torch for other threads does so for itself alone."""
    before = torch.get_num_threads()
    yield
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)


def official_cfgs() -> list[Path]:
    """The official cfg files, or none where they are not here."""
    return sorted((OFFICIAL / "cfg").glob("*.cfg"))


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


@pytest.fixture(scope="session")
def synthetic_weights(tmp_path_factory: pytest.TempPathFactory):
    """Writes the weights that the recordings of official models were made with, each once."""
    spec = importlib.util.spec_from_file_location("synthetic_weights", SYNTHETIC)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("synthetic")

    def write(name: str) -> Path:
        path = folder / f"{name}.weights"
        if not path.exists():
            with path.open("wb") as file:
                file.write(weights.Header().pack())
                text = (OFFICIAL / "cfg" / f"{name}.cfg").read_text(encoding="utf-8", errors="replace")
                file.writelines(blob.astype("<f4").data for blob in module.blobs(text, 7))
        return path

    return write
