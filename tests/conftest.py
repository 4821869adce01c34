"""Fixtures of all tests; where recordings are and how they are loaded is in `tests.support`."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
import torch

from darknet_py import weights
from tests.support.places import OFFICIAL, SYNTHETIC

if "PYTEST_XDIST_WORKER" in os.environ:  # one thread a worker, in the processes it starts too
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_threads():
    """A test that asks torch for other threads does so for itself alone."""
    before = torch.get_num_threads()
    yield
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)


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
