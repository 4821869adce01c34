"""Every layer against the C program: tests/golden/layers, recorded by upstream's CPU build."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from darknet_py import weights
from darknet_py.network import Network
from tests.support.places import GOLDEN
from tests.support.recordings import load_network, read_graph, relative_difference, use_cpu_formula

LAYERS = GOLDEN / "layers"
CASES = sorted(path.stem for path in LAYERS.glob("*.npz"))


def run(network: Network, recording: np.lib.npyio.NpzFile) -> dict[int, torch.Tensor]:
    x = torch.from_numpy(recording["input"]).view(-1, *network.input_shape.dims)
    with torch.no_grad():
        return network.tap(x, range(len(network.layers)))


def worst(outputs: dict[int, torch.Tensor], recording: np.lib.npyio.NpzFile) -> float:
    # Recurrent layers are recorded for their first time step alone.
    recorded = {index: recording[f"layer{index:02d}"] for index in outputs}
    return max(relative_difference(outputs[n].flatten()[: r.size], r) for n, r in recorded.items())


@pytest.mark.parametrize("case", [case for case in CASES if case != "conv_binary"])
def test_outputs_equal_the_recorded_ones(case):
    recording = np.load(LAYERS / f"{case}.npz")
    network = load_network(LAYERS / f"{case}.cfg", LAYERS / f"{case}.weights")
    assert worst(run(network, recording), recording) < 3e-5  # the GPU builds' batch normalization
    use_cpu_formula(network)
    assert worst(run(network, recording), recording) < 2e-6


def test_binary_is_without_effect_in_the_recorded_cpu_build_alone():
    """The GPU build, which is the reference, takes binary weights; convolutional_layer.c takes them for xnor only."""
    recording = np.load(LAYERS / "conv_binary.npz")
    network = load_network(LAYERS / "conv_binary.cfg", LAYERS / "conv_binary.weights")
    assert worst(run(network, recording), recording) > 0.1
    for module in network.layers:
        module.binary_weights = False
    use_cpu_formula(network)
    assert worst(run(network, recording), recording) < 2e-6


@pytest.mark.parametrize("case", CASES)
def test_shapes_equal_the_recorded_ones(case):
    graph = read_graph(LAYERS / f"{case}.cfg")
    shapes = [(s.w, s.h, s.c) if s.is_image else (0, 0, 0) for s in (node.shape for node in graph.nodes)]
    assert shapes == [tuple(row) for row in np.load(LAYERS / f"{case}.npz")["shapes"].tolist()]


@pytest.mark.parametrize("case", [case for case in CASES if case != "conv_flipped"])
def test_saving_gives_the_identical_file(case, tmp_path):
    source = LAYERS / f"{case}.weights"
    weights.save(load_network(LAYERS / f"{case}.cfg", source), tmp_path / "out.weights")
    assert (tmp_path / "out.weights").read_bytes() == source.read_bytes()


def test_flipped_weights_are_saved_as_they_are_used(tmp_path):
    """The C program transposes them when it loads and writes them as they are; so a plain layer can read them."""
    network = load_network(LAYERS / "conv_flipped.cfg", LAYERS / "conv_flipped.weights")
    weights.save(network, tmp_path / "out.weights")
    graph = network.graph
    plain = replace(graph, nodes=tuple(replace(node, layer=replace(node.layer, flipped=False)) for node in graph.nodes))
    again = Network(plain, initialize=False)
    weights.load(again, tmp_path / "out.weights")
    for name, value in network.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)


def test_a_batch_is_its_pictures_one_by_one():
    network = load_network(LAYERS / "passthrough.cfg", LAYERS / "passthrough.weights")
    x = torch.rand(3, *network.input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(network(x), torch.cat([network(picture[None]) for picture in x]))
