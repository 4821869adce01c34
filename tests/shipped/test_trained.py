"""The detectors in weights/ that were trained here are whole, small, and find what tools/datasets/shapes.py draws."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from darknet_py import weights
from darknet_py.evaluate import measure
from darknet_py.model import load
from darknet_py.network import Network
from tests.support.recordings import read_graph
from tools.datasets import shapes as tool

ROOT = Path(__file__).parents[2]

STEMS = ("shapes", "shapes9")
LIMIT = 4_000_000  # bytes
SEED = 9_041  # not that of the pictures they were trained on
LEAST = 0.8  # mean average precision


def files(stem: str) -> tuple[Path, Path]:
    """The cfg and the weights, which belong to the repository: without them these tests fail."""
    path = ROOT / "weights" / f"{stem}.weights"
    assert path.is_file(), f"{path} is missing; weights/README.md says how it is made"
    return ROOT / "cfg" / f"{stem}.cfg", path


@pytest.mark.parametrize("stem", STEMS)
def test_the_file_is_small_and_fills_the_network(stem):
    cfg, path = files(stem)
    graph = read_graph(cfg)
    assert path.stat().st_size in weights.expected_bytes(graph)
    assert path.stat().st_size < LIMIT
    network = Network(graph)
    weights.load(network, path)
    assert all(tensor.isfinite().all() for tensor in network.state_dict().values())
    assert network.header.seen == graph.net.max_batches * graph.net.batch * graph.net.subdivisions


@pytest.mark.parametrize("stem", STEMS)
def test_it_finds_what_is_in_new_pictures(stem, tmp_path):
    cfg, path = files(stem)
    model = load(cfg, path, data=ROOT / "cfg" / f"{stem}.data", device="cpu")
    scores = measure(model, draw(tmp_path, tree=stem == "shapes9"))
    assert not scores.problems
    assert len(scores.truths) > 60
    assert scores.mean_average_precision(0.5, "area") > LEAST


@pytest.mark.parametrize("stem", STEMS)
def test_a_network_that_was_not_trained_does_not(stem, tmp_path):
    torch.manual_seed(0)
    model = load(ROOT / "cfg" / f"{stem}.cfg", device="cpu")
    scores = measure(model, draw(tmp_path, tree=stem == "shapes9"))
    assert scores.mean_average_precision(0.5, "area") < 0.1


def draw(folder: Path, *, tree: bool) -> list[str]:
    """Twenty pictures with their labels."""
    target = folder / "set"
    arguments = ["--folder", str(target), "--train", "0", "--valid", "20", "--seed", str(SEED), "--quiet"]
    assert tool.main([*arguments, *["--tree"] * tree]) == 0
    return (target / "valid.txt").read_text(encoding="utf-8").splitlines()
