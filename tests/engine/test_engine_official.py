"""Engines against the plain network and the C programs, for the official cfg files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from darknet_py.network import Network
from tests.support.engines import CLOSE, all_engines, difference, needs_engine, own_bytes, picture, sane
from tests.support.places import ALL_TESTS, MODELS, OFFICIAL, needs_models, needs_official, official_cfgs
from tests.support.recordings import load_network, read_graph, relative_difference, use_cpu_formula

pytestmark = needs_engine
FIRST = {  # a network of each family
    "cifar", "darknet19", "densenet201", "extraction", "go", "resnet50", "tiny", "writing",
    "yolov1-tiny", "yolov2", "yolov2-tiny", "yolov3-tiny", "yolov3",
}  # fmt: skip
CFGS = [path for path in official_cfgs() if ALL_TESTS or path.stem in FIRST] or [Path("yolov2.cfg")]
MODEL_NAMES = {"yolov2-tiny-voc", "yolov3-tiny", "resnet18"}
RECORDED = sorted(path.stem for path in MODELS.glob("*.npz") if ALL_TESTS or path.stem in MODEL_NAMES) or ["yolov2"]


@pytest.fixture(autouse=True)
def _in_the_official_folder(monkeypatch):
    monkeypatch.chdir(OFFICIAL)  # cfgs name data/9k.tree


@needs_official
@pytest.mark.parametrize("cfg", CFGS, ids=lambda path: path.stem)
def test_equals_the_plain_network(cfg):
    graph = read_graph(cfg)
    side = 3 * graph.stride
    network = sane(Network(graph.resized(side, side) if graph.resizable else graph, initialize=False))
    engines = all_engines(network)
    assert difference(picture(network) if not graph.recurrent else rows(network), *engines) < CLOSE
    if cfg.stem.startswith(("yolov2", "yolov3")):
        size = sum(parameter.nbytes for parameter in network.parameters())
        assert max(own_bytes(engine) for engine in engines) < 1.3 * size


def rows(network: Network) -> torch.Tensor:
    return torch.rand(network.graph.net.time_steps, *network.input_shape.dims)


@needs_models
@pytest.mark.parametrize("name", RECORDED)
def test_equals_what_the_c_program_computed(name, synthetic_weights):
    recording = np.load(MODELS / f"{name}.npz")
    network = load_network(OFFICIAL / "cfg" / f"{name}.cfg", synthetic_weights(name))
    if str(recording["build"]) != "AlexeyAB":  # the other tree has the GPU formula everywhere
        use_cpu_formula(network)
    dims = network.input_shape.dims
    x = np.random.default_rng(int(recording["seed"])).random(network.input_shape.size, dtype=np.float32)
    for engine in all_engines(network):
        for index, output in zip(network.graph.outputs, engine.heads(torch.from_numpy(x).view(1, *dims)), strict=True):
            at, recorded = recording[f"layer{index:03d}_at"], recording[f"layer{index:03d}"]
            largest = float(recording[f"layer{index:03d}_absmax"])
            found = output.clone().flatten()[torch.from_numpy(at).long()]
            assert relative_difference(found, recorded, largest) < 2 * CLOSE
