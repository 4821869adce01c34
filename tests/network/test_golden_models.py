"""Official networks, layer by layer, against recordings of the C programs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from darknet_py import weights
from tests.support.places import MODELS, OFFICIAL, needs_models
from tests.support.recordings import load_network, read_graph, relative_difference, use_cpu_formula

NAMES = sorted(path.stem for path in MODELS.glob("*.npz")) or ["yolov2"]


@needs_models
@pytest.mark.parametrize("name", NAMES)
def test_every_layer_equals_the_recorded_one(name, synthetic_weights, tmp_path, monkeypatch):
    monkeypatch.chdir(OFFICIAL)  # yolo9000.cfg names data/9k.tree
    recording = np.load(MODELS / f"{name}.npz")
    path = synthetic_weights(name)
    network = load_network(OFFICIAL / "cfg" / f"{name}.cfg", path)
    if str(recording["build"]) != "AlexeyAB":  # the other tree has the GPU formula everywhere
        use_cpu_formula(network)
    shape = network.input_shape
    x = np.random.default_rng(int(recording["seed"])).random(shape.size, dtype=np.float32)
    with torch.no_grad():
        outputs = network.tap(torch.from_numpy(x).view(1, *shape.dims), range(len(network.layers)))
    for index, output in outputs.items():
        at, recorded = recording[f"layer{index:03d}_at"], recording[f"layer{index:03d}"]
        difference = relative_difference(
            output.flatten()[torch.from_numpy(at).long()], recorded, float(recording[f"layer{index:03d}_absmax"])
        )
        assert difference < 2e-5, f"layer {index} [{network.graph.nodes[index].layer.type}]"


@needs_models
@pytest.mark.parametrize("name", NAMES)
def test_shapes_equal_the_recorded_ones(name):
    graph = read_graph(OFFICIAL / "cfg" / f"{name}.cfg")
    shapes = [(s.w, s.h, s.c) if s.is_image else (0, 0, 0) for s in (node.shape for node in graph.nodes)]
    assert shapes == [tuple(row) for row in np.load(MODELS / f"{name}.npz")["shapes"].tolist()]


@needs_models
@pytest.mark.parametrize("name", NAMES)
def test_saving_gives_the_identical_file(name, synthetic_weights, tmp_path, monkeypatch):
    monkeypatch.chdir(OFFICIAL)
    path = synthetic_weights(name)
    weights.save(load_network(OFFICIAL / "cfg" / f"{name}.cfg", path), tmp_path / "out.weights")
    assert (tmp_path / "out.weights").read_bytes() == path.read_bytes()
