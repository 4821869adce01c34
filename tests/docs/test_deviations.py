"""Deviations from the C program that no other test pins, and that docs/deviations.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from darknet_py.network import Network
from darknet_py.network.graph import Graph

ROOT = Path(__file__).parents[2]
CFG = """
[net]
width=8
height=8
channels=3
[convolutional]
batch_normalize=1
filters=4
size=3
pad=1
activation=leaky
[local]
filters=2
size=3
pad=1
activation=linear
"""


def test_docs_name_tests_that_exist():
    text = (ROOT / "docs/deviations.md").read_text(encoding="utf-8")
    for name in set(re.findall(r"`(test_\w+\.py)`", text)):
        assert list((ROOT / "tests").rglob(name)), name
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for name in set(re.findall(r"`(test_\w+)`", text)):
        assert f"def {name}(" in sources, name


def test_a_fresh_network_has_weights_everywhere_and_gives_finite_values():
    network = Network(Graph.parse(CFG), generator=torch.Generator().manual_seed(0)).eval()
    conv, local = network.layers
    assert conv.bn.running_var.tolist() == [1] * 4
    assert conv.bn.running_mean.tolist() == [0] * 4
    assert (local.weight != 0).all()
    assert local.weight.abs().max() <= (2 / 36) ** 0.5
    with torch.no_grad():
        assert network(torch.rand(1, 3, 8, 8)).isfinite().all()


def test_the_same_seed_draws_the_same_weights():
    first, second = (Network(Graph.parse(CFG), generator=torch.Generator().manual_seed(3)) for _ in range(2))
    for name, value in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], value, rtol=0, atol=0)
