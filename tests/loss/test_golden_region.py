"""The [region] loss against what the C program computed in its first step, for every recording of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from darknet_py.loss.base import HeadLoss
from darknet_py.loss.parts.pairs import BoxPairs
from darknet_py.loss.region import RegionLoss
from darknet_py.network import Network
from tests.support.places import GOLDEN
from tests.support.recordings import load_network, relative_difference

CASES = sorted((GOLDEN / "train").glob("region*.cfg"))


def unscaled(pairs: BoxPairs, weight: float | Tensor) -> Tensor:
    """In AlexeyAB's tree, which recorded region_tree, small boxes count no more than large ones."""
    return weight * (pairs.wanted - pairs.values)


def normalize_as_cpu(module: nn.BatchNorm2d, args: tuple[Tensor], _output: Tensor) -> Tensor:
    """Of the CPU build: the unbiased variance, and the small number outside the root."""
    (x,) = args
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True)
    return (x - mean) / (var.sqrt() + 1e-6) * module.weight[:, None, None] + module.bias[:, None, None]


def first_step(cfg: Path, *, cpu_formula: bool = True) -> tuple[np.lib.npyio.NpzFile, Network, Tensor, HeadLoss, str]:
    recorded = np.load(cfg.with_suffix(".npz"))
    network = load_network(cfg, cfg.with_suffix(".start.weights")).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and cpu_formula:
            module.register_forward_hook(normalize_as_cpu)
    node = network.graph.nodes[-1]
    loss = RegionLoss(node, network.graph)
    if cfg.stem == "region_tree":
        loss.box_loss = unscaled
    source = node.sources[0]
    raw = network.tap(torch.from_numpy(recorded["inputs"][0]), [source])[source].detach().requires_grad_()
    result = loss(raw, torch.from_numpy(recorded["truths"][0]), int(recorded["seen"][0]))
    result.objective.backward()
    return recorded, network, raw, result, loss.line(result.statistics.tolist())


@pytest.mark.parametrize("cfg", CASES, ids=lambda path: path.stem)
def test_first_step_is_that_of_the_c_program(cfg: Path) -> None:
    recorded, network, raw, result, line = first_step(cfg)
    output = network.layers[-1](raw)
    assert relative_difference(output.flatten(), recorded["output"]) < 1e-5
    assert relative_difference(-raw.grad.flatten(), recorded["delta"]) < 1e-5
    if not np.isnan(recorded["cost"][0]):
        assert result.cost.item() == pytest.approx(float(recorded["cost"][0]), rel=1e-5)
    expected = next(text for text in recorded["log"] if text.startswith("Region"))
    assert numbers(line) == pytest.approx(numbers(expected), abs=2e-6)
    assert words(line) == words(expected)


def test_batch_normalization_as_the_gpu_build_has_it_stays_close() -> None:
    recorded, _, raw, result, _ = first_step(GOLDEN / "train" / "region_bn.cfg", cpu_formula=False)
    assert relative_difference(-raw.grad.flatten(), recorded["delta"]) < 1e-2
    assert result.cost.item() == pytest.approx(float(recorded["cost"][0]), rel=1e-2)


def numbers(line: str) -> list[float]:
    return [float(part.rpartition(" ")[2]) for part in line.split(",")]


def words(line: str) -> list[str]:
    return [part.rpartition(" ")[0] for part in line.split(",")]
