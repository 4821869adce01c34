"""State dicts of other projects: modules with their names load what is written, and what they save is read."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from darknet_py import convert, weights
from darknet_py.errors import DarknetError, WeightsError
from darknet_py.layers.connected import Connected
from darknet_py.layers.convolutional import Convolutional
from darknet_py.layers.yolo import Yolo
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.weights import projects, tensors
from darknet_py.weights.projects import COUNTER, LAYOUTS
from tests.support.places import GOLDEN
from tests.support.recordings import read_graph

CONVOLUTIONS = """
[net]
width=32
height=32
channels=3

[convolutional]
batch_normalize=1
filters=4
size=3
pad=1
activation=leaky

[maxpool]
size=2
stride=2

[convolutional]
batch_normalize=1
filters=6
size=3
pad=1
groups=2
activation=leaky

[route]
layers=-1,-2

[convolutional]
filters=14
size=1
activation=linear
"""
YOLO = f"{CONVOLUTIONS}\n[yolo]\nmask=1,2\nanchors=1,2, 3,4, 5,6\nclasses=2\nnum=3\n"
CONNECTED = (
    f"{CONVOLUTIONS}\n[connected]\noutput=5\nactivation=leaky\n[dropout]\n[connected]\noutput=3\nactivation=linear\n"
)
TEXTS = {"ultralytics": YOLO, "eriklindernoren": YOLO, "marvis": CONNECTED, "darknet_py": CONNECTED}


class Ultralytics(nn.Module):
    """Names as in ultralytics/yolov3 (archive)."""

    eps = 1e-4

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.module_list = nn.ModuleList(self.block(*node) for node in numbered(network))

    def block(self, index: int, layer: nn.Module, number: int) -> nn.Module:
        block = nn.Sequential()
        if hasattr(layer, "conv"):
            block.add_module("Conv2d", copy_of(layer.conv))
            if layer.bn is not None:
                block.add_module("BatchNorm2d", nn.BatchNorm2d(layer.bn.num_features, momentum=0.03, eps=self.eps))
            block.add_module("activation", nn.LeakyReLU(0.1))
        return block


class Eriklindernoren(nn.Module):
    """Names as in eriklindernoren/PyTorch-YOLOv3."""

    eps = 1e-5

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.module_list = nn.ModuleList(self.block(*node) for node in numbered(network))

    def block(self, index: int, layer: nn.Module, number: int) -> nn.Module:
        block = nn.Sequential()
        if hasattr(layer, "conv"):
            block.add_module(f"conv_{index}", copy_of(layer.conv))
            if layer.bn is not None:
                block.add_module(f"batch_norm_{index}", nn.BatchNorm2d(layer.bn.num_features, eps=self.eps))
        if isinstance(getattr(layer, "layer", None), Yolo):
            yolo = nn.Module()
            anchors = torch.zeros(len(layer.layer.anchor_boxes), 2)
            yolo.register_buffer("anchors", anchors)
            yolo.register_buffer("anchor_grid", anchors.view(1, -1, 1, 1, 2))
            block.add_module(f"yolo_{index}", yolo)
        return block


class Marvis(nn.Module):
    """Names as in marvis/pytorch-yolo2."""

    eps = 1e-5

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.models = nn.ModuleList(self.block(*node) for node in numbered(network))

    def block(self, index: int, layer: nn.Module, number: int) -> nn.Module:
        if hasattr(layer, "linear"):
            linear = copy_of(layer.linear)
            return linear if layer.activate.name == "linear" else nn.Sequential(linear, nn.LeakyReLU(0.1))
        block = nn.Sequential()
        if hasattr(layer, "conv"):
            block.add_module(f"conv{number}", copy_of(layer.conv))
            if layer.bn is not None:
                block.add_module(f"bn{number}", nn.BatchNorm2d(layer.bn.num_features))
        return block


REPLICAS = {"ultralytics": Ultralytics, "eriklindernoren": Eriklindernoren, "marvis": Marvis}


def numbered(network: Network) -> list[tuple[int, nn.Module, int]]:
    number, found = 0, []
    for index, (node, layer) in enumerate(zip(network.graph.nodes, network.layers, strict=True)):
        number += isinstance(node.layer, Convolutional)
        found.append((index, layer, number))
    return found


def copy_of(module: nn.Conv2d | nn.Linear) -> nn.Module:
    if isinstance(module, nn.Linear):
        return nn.Linear(module.in_features, module.out_features)
    return nn.Conv2d(
        module.in_channels, module.out_channels, module.kernel_size, module.stride, module.padding,
        groups=module.groups, bias=module.bias is not None,
    )  # fmt: skip


def drawn(text: str) -> Network:
    network = Network(Graph.parse(text, "net.cfg"), initialize=False).eval()
    rng = torch.Generator().manual_seed(5)
    for key, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5 if "var" in key else -1, 1.5, generator=rng)
    return network


@pytest.fixture
def files(tmp_path):
    """Writes a cfg and weights for it."""

    def write(text: str) -> tuple[Network, Path, Path]:
        network = drawn(text)
        cfg, source = tmp_path / "net.cfg", tmp_path / "net.weights"
        cfg.write_text(text, encoding="utf-8")
        weights.save(network, source)
        return network, cfg, source

    return write


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_there_and_back_is_the_identical_file(name, suffix, files, tmp_path):
    _, cfg, source = files(TEXTS[name])
    convert.convert(cfg, source, tmp_path / f"a{suffix}", layout=name)
    convert.convert(cfg, tmp_path / f"a{suffix}", tmp_path / "b.weights")
    assert (tmp_path / "b.weights").read_bytes() == source.read_bytes()
    convert.convert(cfg, tmp_path / f"a{suffix}", tmp_path / "c.weights", layout=name)
    assert (tmp_path / "c.weights").read_bytes() == source.read_bytes()


def test_a_layout_that_is_named_is_not_found_out(files, tmp_path, monkeypatch):
    _, cfg, source = files(YOLO)
    monkeypatch.chdir(tmp_path)
    convert.convert(cfg, source, tmp_path / "a.pt", layout="ultralytics")
    for wrong in ("marvis", "eriklindernoren", "darknet_py"):
        with pytest.raises(WeightsError, match=rf"a.pt: it does not fit .*net.cfg \({wrong} keys\): \d+ missing"):
            convert.convert(cfg.name, "a.pt", "b.weights", layout=wrong)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("name", REPLICAS)
def test_their_modules_load_what_is_written(name, suffix, files, tmp_path):
    network, cfg, source = files(TEXTS[name])
    convert.convert(cfg, source, tmp_path / f"a{suffix}", layout=name)
    if suffix == ".pt":
        state = torch.load(tmp_path / "a.pt", weights_only=True)
    else:
        state = tensors.opened(tmp_path / "a.safetensors").tensors
    model = REPLICAS[name](network)
    model.load_state_dict(state, strict=True)
    mine = [tensor for key, tensor in network.state_dict().items() if not key.endswith(COUNTER)]
    theirs = [t for key, t in model.state_dict().items() if not key.endswith(COUNTER) and ".yolo_" not in key]
    assert all(torch.equal(*pair) for pair in zip(mine, theirs, strict=True))


@pytest.mark.parametrize("wrapped", ["plain", "parallel", "checkpoint"])
@pytest.mark.parametrize("name", REPLICAS)
def test_what_their_modules_save_is_read(name, wrapped, files, tmp_path):
    network, cfg, _ = files(TEXTS[name])
    model = REPLICAS[name](network)
    state = model.state_dict()
    if wrapped == "parallel":
        state = nn.DataParallel(model).state_dict()
    content = {"epoch": 7, "best_fitness": 0.3, "model": state, "optimizer": None} if wrapped == "checkpoint" else state
    torch.save(content, tmp_path / "theirs.pt")
    read = Network(Graph.read(cfg))
    loaded = convert.read_into(read, tmp_path / "theirs.pt")
    assert loaded.layers == len(read.layers)
    values = [t for key, t in model.state_dict().items() if not key.endswith(COUNTER) and ".yolo_" not in key]
    mine = [t for key, t in read.state_dict().items() if not key.endswith(COUNTER)]
    assert all(torch.equal(*pair) for pair in zip(mine, values, strict=True))


def test_yolo_anchors_are_those_of_the_mask(files, tmp_path):
    network, _, _ = files(YOLO)
    convert.to_torch(network, tmp_path / "a.pt", layout="eriklindernoren")
    state = torch.load(tmp_path / "a.pt", weights_only=True)
    assert state["module_list.5.yolo_5.anchors"].tolist() == [[3, 4], [5, 6]]
    assert state["module_list.5.yolo_5.anchor_grid"].shape == (1, 2, 1, 1, 2)


def test_files_without_anchors_and_counters_are_read(files, tmp_path):
    network, cfg, _ = files(YOLO)
    state = Eriklindernoren(network).state_dict()
    old = OrderedDict((key, t) for key, t in state.items() if not key.endswith(COUNTER) and ".yolo_" not in key)
    torch.save(old, tmp_path / "old.pt")
    convert.read_into(Network(Graph.read(cfg)), tmp_path / "old.pt")


@pytest.mark.parametrize("eps", [1e-4, 1e-3, 1e-6])
def test_their_epsilon_goes_into_the_variances(eps, files, tmp_path):
    network, cfg, source = files(YOLO)
    model = Ultralytics(network)
    convert.to_torch(network, tmp_path / "a.pt", layout="ultralytics", bn_eps=eps)
    model.load_state_dict(torch.load(tmp_path / "a.pt", weights_only=True))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = eps
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first = model.eval().module_list[0](x)
        torch.testing.assert_close(first, network.tap(x, [0])[0], rtol=1e-5, atol=1e-6)
    convert.convert(cfg, tmp_path / "a.pt", tmp_path / "b.weights", bn_eps=eps)
    back = Network(Graph.read(cfg))
    weights.load(back, tmp_path / "b.weights")
    variance, expected = (net.layers[0].bn.running_var for net in (back, network))
    torch.testing.assert_close(variance, expected, rtol=0, atol=2e-7)
    convert.convert(cfg, source, tmp_path / "c.pt", layout="ultralytics", bn_eps=eps)
    first, second = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in "ac")
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_an_epsilon_of_both_files_is_the_source_s(files, tmp_path):
    network, cfg, _ = files(YOLO)
    torch.save(Ultralytics(network).state_dict(), tmp_path / "theirs.pt")
    convert.convert(cfg, tmp_path / "theirs.pt", tmp_path / "mine.safetensors", bn_eps=1e-4)
    read = Network(Graph.read(cfg))
    convert.read_into(read, tmp_path / "mine.safetensors")
    assert torch.allclose(read.layers[0].bn.running_var, torch.tensor(1 + 9e-5), rtol=0, atol=1e-7)


def test_layers_a_project_does_not_have(files, tmp_path):
    network, cfg, _ = files(CONNECTED)
    for name in ("ultralytics", "eriklindernoren"):
        with pytest.raises(DarknetError, match=rf"{name} has no name for linear.weight of layer 5 \[connected\]"):
            convert.to_torch(network, tmp_path / "a.pt", layout=name)
    torch.save({"module_list.0.Conv2d.weight": torch.ones(4, 3, 3, 3)}, tmp_path / "b.pt")
    with pytest.raises(WeightsError, match=r"b.pt: ultralytics has no name for linear.weight"):
        convert.read_into(Network(Graph.read(cfg)), tmp_path / "b.pt")
    normal = drawn(CONNECTED.replace("output=5", "output=5\nbatch_normalize=1"))
    with pytest.raises(DarknetError, match="marvis has no name for bn.weight of layer 5"):
        convert.to_torch(normal, tmp_path / "a.pt", layout="marvis")
    assert isinstance(normal.graph.nodes[5].layer, Connected)


def test_keys_of_nobody(files, tmp_path):
    _, cfg, _ = files(YOLO)
    torch.save({f"backbone.{n}.weight": torch.ones(2) for n in range(5)}, tmp_path / "a.pt")
    with pytest.raises(
        WeightsError, match=r"its keys \(backbone.0.weight, .*, \.\.\.\) are those of none .*: darknet_py"
    ):
        convert.read_into(Network(Graph.read(cfg)), tmp_path / "a.pt")


def test_convolutions_are_counted_from_one():
    network = Network(read_graph(Path(__file__).parents[2] / "cfg" / "yolov2.cfg"), initialize=False)
    keys = {key.own: key.foreign for key in LAYOUTS["marvis"].keys(network)}
    assert keys["layers.0.conv.weight"] == "models.0.conv1.weight"
    assert keys["layers.30.conv.bias"] == "models.30.conv23.bias"
    assert keys["layers.26.bn.running_var"] == "models.26.bn21.running_var"


@pytest.mark.parametrize("case", ["lstm", "crnn", "deconv", "local", "batchnorm"])
def test_this_package_has_names_for_everything(case):
    graph = read_graph(GOLDEN / "layers" / f"{case}.cfg")
    network = Network(graph, initialize=False)
    keys = [key.own for key in LAYOUTS["darknet_py"].keys(network)]
    assert keys == list(network.state_dict())


@pytest.mark.parametrize(
    ("keys", "bare"),
    [
        (["module.layers.0.a", "module.layers.1.b"], ["layers.0.a", "layers.1.b"]),
        (["module.model.layers.0.a", "module.model.b"], ["layers.0.a", "b"]),
        (["_orig_mod.net.models.0.weight"], ["models.0.weight"]),
        (["module.layers.0.a", "b"], ["layers.0.a", "b"]),
        (["model.layers.0.a", "model.layers.1.a", "ema.layers.0.a"], ["layers.0.a", "layers.1.a"]),
        (["models.0.bias"], ["models.0.bias"]),
        (["module.nothing"], ["module.nothing"]),
        ([], []),
    ],
)
def test_wrappers(keys, bare):
    assert list(projects.unwrapped(dict.fromkeys(keys, 0))) == bare
