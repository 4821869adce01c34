"""All official cfg files: they build, export, compile, and their weights files survive loading and saving."""

from __future__ import annotations

import filecmp
from pathlib import Path

import numpy as np
import pytest
import torch

from darknet_py import weights
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.weights import Header
from tests.support.places import ALL_TESTS, OFFICIAL, needs_official, official_cfgs
from tests.support.recordings import read_graph

CFGS = official_cfgs() or [Path("yolov2.cfg")]
DEEPER = {  # than resnet18, resnext50, darknet19, yolov3, extraction, yolov1-tiny and yolov2
    "resnet34", "resnet50", "resnet101", "resnet152", "resnext101-32x4d", "resnext152-32x4d", "darknet19_448",
    "darknet53", "darknet53_448", "yolov3-voc", "yolov3-openimages", "yolov3-spp", "extraction22k",
    "extraction.conv", "yolov1", "yolov2-voc", "densenet201", "go.test", "cifar.test", "vgg-conv",
}  # fmt: skip
pytestmark = [needs_official, pytest.mark.parametrize("cfg", CFGS, ids=lambda path: path.stem)]


@pytest.fixture(autouse=True)
def _in_the_official_folder(monkeypatch):
    monkeypatch.chdir(OFFICIAL)  # cfgs name data/9k.tree


def small(graph: Graph) -> Graph:
    """The same network on a smaller picture, where it takes one."""
    side = 4 * graph.stride
    return graph.resized(side, side) if graph.resizable and side < graph.net.width else graph


def outputs_of(result: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def skip_deeper(cfg: Path) -> None:
    if cfg.stem in DEEPER and not ALL_TESTS:
        pytest.skip("takes minutes, and a smaller network of the same sections is tested; set DARKNET_PY_ALL_TESTS")


def test_torch_export_takes_it_whole(cfg):
    skip_deeper(cfg)
    graph = small(read_graph(cfg))
    if graph.recurrent:
        pytest.skip("recurrent")
    network = Network(graph, generator=torch.Generator().manual_seed(0)).eval()
    x = torch.rand(1, *graph.input_shape.dims)
    with torch.no_grad():
        exported = torch.export.export(network, (x,)).module()
        for mine, other in zip(network.heads(x), outputs_of(exported(x)), strict=True):
            torch.testing.assert_close(other, mine, rtol=1e-4, atol=1e-4)


def test_torch_compile_takes_it_whole(cfg):
    skip_deeper(cfg)
    graph = small(read_graph(cfg))
    if graph.recurrent:
        pytest.skip("recurrent")
    network = Network(graph, generator=torch.Generator().manual_seed(0)).eval()
    x = torch.rand(1, *graph.input_shape.dims)
    torch._dynamo.reset()
    with torch.no_grad():
        compiled = torch.compile(network, fullgraph=True, backend="eager")
        for mine, other in zip(network.heads(x), outputs_of(compiled(x)), strict=True):
            torch.testing.assert_close(other, mine, rtol=1e-4, atol=1e-4)


def test_loading_then_saving_gives_the_identical_file(cfg, tmp_path):
    graph = read_graph(cfg)
    source, target = tmp_path / "in.weights", tmp_path / "out.weights"
    values = weights.expected_bytes(graph)[0] // 4 - 5
    pattern = np.random.default_rng(0).standard_normal(1 << 20).astype("<f4")
    with source.open("wb") as file:
        file.write(Header(seen=32013312).pack())
        while values:
            count = min(values, len(pattern))
            file.write(pattern[:count].data)
            pattern = np.roll(pattern, 1)
            values -= count
    network = Network(graph, initialize=False)
    weights.load(network, source)
    weights.save(network, target)
    assert filecmp.cmp(source, target, shallow=False)
    source.unlink()
    target.unlink()
