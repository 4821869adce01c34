"""The recorded training steps of the C program, taken again."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from darknet_py.network import Network
from darknet_py.train import Stepper
from tests.support.places import GOLDEN
from tests.support.recordings import load_network

FOLDER = GOLDEN / "train"
CASES = sorted(path.stem for path in FOLDER.glob("*.npz") if path.stem != "region_tree")  # which was never updated
NUMBER = re.compile(r"-?\d+\.\d+|-?nan")
LINE, LINE_BN = 5e-5, 1e-3  # what the numbers of a line may differ by: four decimals
CHANGE, CHANGE_BN = 1e-4, 0.1  # what weights may differ by, as a share of what the steps changed
WEIGHT, WEIGHT_BN = 1e-4, 1e-2  # and as a share of the largest weight


def test_one_case_was_not_updated():
    start, end = ((FOLDER / f"region_tree.{at}.weights").read_bytes() for at in ("start", "end"))
    assert start == end


@pytest.mark.parametrize("case", CASES)
def test_the_recorded_steps_give_the_recorded_numbers(case):
    recorded = np.load(FOLDER / f"{case}.npz")
    stepper = Stepper(load_network(FOLDER / f"{case}.cfg", FOLDER / f"{case}.start.weights"), build="cpu")
    normalized = any(isinstance(module, torch.nn.BatchNorm2d) for module in stepper.network.modules())
    lines: list[str] = []
    for step, (images, truth) in enumerate(zip(recorded["inputs"], recorded["truths"], strict=True)):
        losses = stepper.accumulate(torch.from_numpy(images), torch.from_numpy(truth))
        if (step + 1) % stepper.share.count == 0:
            stepper.update()
        lines += stepper.criterion.lines([numbers.tolist() for numbers in losses.statistics])
        assert stepper.network.seen == recorded["seen"][step]
        assert stepper.rate_at(stepper.batch) == pytest.approx(recorded["lr"][step], rel=1e-6)
        assert float(losses.cost) == pytest.approx(recorded["cost"][step], rel=1e-2 if normalized else 1e-5)
    compare_lines(lines, [str(line) for line in recorded["log"]], LINE_BN if normalized else LINE)
    compare_weights(stepper.network, case, normalized)


def compare_lines(mine: list[str], recorded: list[str], tolerance: float) -> None:
    """The same words, and numbers that differ by no more; Recall and count jump where an overlap is near .5."""
    assert [NUMBER.sub("#", line) for line in mine] == [NUMBER.sub("#", line) for line in recorded]
    for one, other in zip(mine, recorded, strict=True):
        numbers = [[float(n.lstrip("-") if "nan" in n else n) for n in NUMBER.findall(line)] for line in (one, other)]
        if tolerance == LINE_BN and "Region" in one:
            numbers = [row[:4] for row in numbers]
        np.testing.assert_allclose(*numbers, rtol=0, atol=tolerance)


def compare_weights(network: Network, case: str, normalized: bool) -> None:
    """Every stored tensor equals that of end.weights, also when measured by what is new in it."""
    ends, starts = (load_network(FOLDER / f"{case}.cfg", FOLDER / f"{case}.{at}.weights") for at in ("end", "start"))
    share, weight = (CHANGE_BN, WEIGHT_BN) if normalized else (CHANGE, WEIGHT)
    for node in network.graph.nodes:
        for blob in node.blobs:
            mine, end, start = (n.stored(node.index, blob).detach() for n in (network, ends, starts))
            off, change = (mine - end).abs().max(), (end - start).abs().max()
            assert off <= min(share * change, weight * end.abs().max()), (node.index, blob.name)
            assert change > 0 or node.index <= network.graph.last_frozen


def test_adam_is_without_effect_in_the_recorded_cpu_build_alone():
    recorded = np.load(FOLDER / "adam.npz")
    stepper = Stepper(load_network(FOLDER / "adam.cfg", FOLDER / "adam.start.weights"))
    for images, truth in zip(recorded["inputs"], recorded["truths"], strict=True):
        stepper.accumulate(torch.from_numpy(images), torch.from_numpy(truth))
        stepper.update()
    with pytest.raises(AssertionError):
        compare_weights(stepper.network, "adam", normalized=False)
    assert stepper.optimizer.param_groups[0]["updates"] == 4


@pytest.mark.parametrize("case", ["detection", "classifier_cost"])
def test_the_gpu_build_limits_gradients_of_connected_layers(case):
    recorded = np.load(FOLDER / f"{case}.npz")
    given: list[float] = []  # the largest gradient of the outputs: one a build
    for build in ("cpu", "gpu"):
        network = load_network(FOLDER / f"{case}.cfg", FOLDER / f"{case}.start.weights")
        stepper = Stepper(network, build=build)
        linear = network.layers[5].linear
        linear.register_full_backward_hook(lambda module, inputs, outputs: given.append(float(outputs[0].abs().max())))
        stepper.accumulate(torch.from_numpy(recorded["inputs"][0]), torch.from_numpy(recorded["truths"][0]))
    assert given[0] > 1 >= given[1] > 0.5
