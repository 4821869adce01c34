"""Files of a network that was resized say the size it has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from darknet_py import convert
from darknet_py.network import Network
from darknet_py.network.graph import Graph

CFG = """[net]
width=64
height=64
channels=3

[convolutional]
batch_normalize=1
filters=4
size=3
pad=1
stride=2
activation=leaky

[convolutional]
filters=18
activation=linear

[yolo]
mask=0,1,2
anchors=1,2, 3,4, 5,6
num=3
classes=1
"""


def of_torch(path: Path) -> str:
    return torch.load(path, weights_only=True)._metadata["darknet_py"]["cfg"]


def of_safetensors(path: Path) -> str:
    with safe_open(path, "pt") as file:
        return file.metadata()["cfg"]


def of_export(path: Path) -> str:
    extra = {"cfg": ""}
    torch.export.load(path, extra_files=extra)
    return extra["cfg"]


def of_torchscript(path: Path) -> str:
    extra = {"cfg": ""}
    torch.jit.load(path, _extra_files=extra)
    return extra["cfg"].decode()


def of_onnx(path: Path) -> str:
    onnx = pytest.importorskip("onnx")
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}["cfg"]


NOTES: dict[str, tuple[Callable[..., object], Callable[[Path], str]]] = {
    ".pt": (convert.to_torch, of_torch),
    ".safetensors": (convert.to_safetensors, of_safetensors),
    ".pt2": (convert.to_export, of_export),
    ".ts": (convert.to_torchscript, of_torchscript),
    ".onnx": (convert.to_onnx, of_onnx),
}


@pytest.fixture(name="network")
def resized() -> Network:
    network = Network(Graph.parse(CFG), generator=torch.Generator().manual_seed(0)).eval()
    network.resize(96, 96)
    return network


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")
@pytest.mark.parametrize("suffix", NOTES)
def test_the_cfg_in_a_file_is_the_networks(suffix, network, tmp_path):
    write, note = NOTES[suffix]
    path = tmp_path / f"net{suffix}"
    write(network, path)
    graph = Graph.parse(note(path))
    assert (graph.net, graph.nodes) == (network.graph.net, network.graph.nodes)
    assert graph.input_shape == (3, 96, 96)


def test_the_docstring_of_source_code_is_too(network, tmp_path):
    convert.to_python(network, tmp_path / "net.py")
    assert "Input: (N, 3, 96, 96), pictures" in (tmp_path / "net.py").read_text()
