"""Memory is counted before it is taken: what there is, and what networks need."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from darknet_py import DarknetError, load
from darknet_py.check import check
from darknet_py.devices import memory
from darknet_py.errors import CfgError
from darknet_py.layers.base import Shape
from darknet_py.layers.maxpool import WIDE, MaxPool
from darknet_py.layers.normalization import Normalization
from darknet_py.loss.criterion import Criterion
from darknet_py.network import Network
from darknet_py.network.graph import MAX_VALUES, Graph

NET = "[net]\nwidth={side}\nheight={side}\nchannels=3\n"
REGION = "[convolutional]\nfilters=6\n[region]\nanchors=1,1\nnum=1\nclasses=1\n"
GROUPS = {"2": "0::/box/inner\n", "1": "4:memory:/box/inner\n3:cpu:/box\n"}


@pytest.fixture
def system(tmp_path):
    """A /proc and a /sys/fs/cgroup with nothing in them."""
    for name in ("proc/self", "cgroups/box/inner", "cgroups/memory/box/inner"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path / "proc", tmp_path / "cgroups"


def test_nobody_says_how_much_there_is(system):
    assert memory.available(*system) is None


def test_free_memory_and_swap(system):
    (system[0] / "meminfo").write_text("MemTotal:  9000 kB\nMemFree: 1 kB\nMemAvailable: 3000 kB\nSwapFree: 500 kB\n")
    assert memory.available(*system) == 3500 << 10


@pytest.mark.parametrize(
    ("version", "folder", "limit", "used"),
    [
        ("2", "box/inner", "max", "anon"),
        ("2", "box", "max", "anon"),
        ("1", "memory/box/inner", "limit_in_bytes", "rss"),
    ],
)
def test_what_a_group_or_one_above_it_allows(system, version, folder, limit, used):
    proc, cgroups = system
    (proc / "meminfo").write_text("MemAvailable: 3000 kB\n")
    (proc / "self" / "cgroup").write_text(GROUPS[version])
    (cgroups / folder / f"memory.{limit}").write_text("2048000\n")
    (cgroups / folder / "memory.stat").write_text(f"file 7\n{used} 48000\nother 1\n")
    assert memory.available(*system) == 2_000_000
    (cgroups / folder / f"memory.{limit}").write_text("max\n" if version == "2" else "9223372036854771712\n")
    assert memory.available(*system) == 3000 << 10


def test_what_ulimit_leaves(system, monkeypatch):
    proc, _ = system
    (proc / "self" / "statm").write_text("10 5 3 1 0 4 0\n")
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1 << 20, 1 << 20))
    assert memory.available(*system) == (1 << 20) - 10 * resource.getpagesize()
    (proc / "self" / "statm").write_text("1000000 5 3 1 0 4 0\n")
    assert memory.available(*system) == 0


def test_what_is_wanted_and_what_there_is_are_said(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 3 << 29)
    memory.require(3 << 29, "it")
    with pytest.raises(DarknetError, match=r"^it needs 2\.0 GiB of memory, and there are 1\.5 GiB; buy some$"):
        memory.require(2 << 30, "it", "buy some")
    assert memory.size(5 << 20) == "5 MiB"


def graph_of(sections: str, side: int = 16) -> Graph:
    return Graph.parse(NET.format(side=side) + sections, "x.cfg")


def test_weights_that_there_is_no_memory_for_are_not_drawn(monkeypatch):
    graph = graph_of("[convolutional]\nfilters=8\n")
    assert graph.stored_bytes == 4 * (8 * 3 + 8)
    monkeypatch.setattr(memory, "available", lambda: 100)
    with pytest.raises(DarknetError, match=r"^x\.cfg: this network needs 0 MiB of memory, and there are 0 MiB$"):
        Network(graph)


def test_a_picture_that_there_is_no_memory_for(monkeypatch, tmp_path):
    path = tmp_path / "x.cfg"
    path.write_text(NET.format(side=20000) + "[maxpool]\nsize=1000\nstride=1000\n" + REGION)
    monkeypatch.setattr(memory, "available", lambda: 8 << 30)
    message = r"x\.cfg: a picture of 20000 x 20000 x 3 needs 13\.\d GiB of memory, and there are 8\.0 GiB"
    with pytest.raises(DarknetError, match=message):
        load(path, device="cpu")
    with pytest.raises(DarknetError, match=message):
        Criterion(Network(Graph.read(path)))
    (problem,) = check(path)
    assert (problem.severity, problem.where) == ("warning", (str(path), 1))
    assert "needs 13.9 GiB of memory, and there are 8.0 GiB here" in problem.message


def test_the_least_that_a_picture_takes():
    graph = graph_of("[maxpool]\nsize=4\nstride=1\n[convolutional]\nfilters=2\n")  # 16 + 3 wide with its padding
    beside = 3 * 19 * 19
    assert graph.picture_bytes == 4 * (2 * 3 * 256 + max(3 * 256 + beside, 3 * 256 + 2 * 256))


@pytest.mark.parametrize(
    "section",
    [
        "[maxpool]\nsize=3\nstride=30001\npadding=60000\n",
        "[crnn]\noutput_filters=1\nhidden_filters=15000\n",
    ],
)
def test_what_a_layer_takes_beside_its_output_is_bounded(section):
    graph = "[net]\nwidth=500\nheight=500\nchannels=3\n" + section
    with pytest.raises(
        CfgError, match=r"^x\.cfg:5: \[\w+\] takes [\d,]+ values to work out .*, and 2,147,483,648 are too many"
    ):
        Graph.parse(graph, "x.cfg")


@pytest.mark.parametrize("side", [1, 2, 16, 21])
@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2},
        {"padding": 400, "stride": 31},
        {"stride": 7},
        {"padding": 302, "stride": 3},
        {"padding": 598, "stride": 99},
    ],
)
def test_a_wide_window_takes_what_its_input_can_use_of_it(side, options):
    layer = MaxPool(size=300, **options)
    x = torch.randn(2, 3, side, 2 * side)
    inputs = [Shape(3, side, 2 * side)]
    try:
        out = layer.out_shape(inputs)
    except CfgError:
        pytest.skip("the window does not fit")
    before = layer.total_padding // 2
    after = layer.total_padding - before
    padded = F.pad(x, (before, after, before, after), value=torch.finfo(x.dtype).min)
    expected = F.max_pool2d(padded, 300, layer.stride)
    assert expected.shape[1:] == out.dims
    torch.testing.assert_close(layer.build(inputs)(x), expected, rtol=0, atol=0)
    assert layer.workspace(inputs) <= padded[0].numel()


def test_windows_larger_than_their_input_take_no_memory(monkeypatch):
    graph = graph_of(f"[maxpool]\nsize=32768\nstride=1\n[normalization]\nsize=2000000000\n{REGION}")
    assert graph.picture_bytes < 100_000
    network = Network(graph).eval()
    x = torch.rand(1, 3, 16, 16)
    pooled = network.tap(x, [0])[0]
    torch.testing.assert_close(pooled, x.amax((2, 3), keepdim=True).expand_as(x))
    network.resize(32, 32)  # of which the window sees all as well
    x = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(network.tap(x, [0])[0], x.amax((2, 3), keepdim=True).expand_as(x))


@pytest.mark.parametrize("size", [1, 2, 5, 6, 7, 40])
def test_normalization_over_more_channels_than_there_are(size):
    x = torch.rand(2, 6, 3, 3)
    layer = Normalization(size=size, alpha=0.3)
    before, after = (size - 1) // 2, size // 2
    squares = x.square()
    sums = torch.stack([squares[:, max(c - before, 0) : c + after + 1].sum(1) for c in range(6)], 1)
    missed = squares[:, after : after + 1] if after < 6 else 0
    torch.testing.assert_close(layer.build([Shape(6, 3, 3)])(x), x * (1 + 0.3 * (sums - missed)) ** -0.75)


def test_wide_is_far_beyond_what_networks_have():
    assert WIDE > 13 * 4
    assert MaxPool(size=13, stride=1).along(4) == (13, 6, 6)
    assert replace(MaxPool(size=300, stride=1)).along(4) == (7, 3, 3)
    assert MAX_VALUES == 2**31
    assert Path("/proc").exists() is (memory.available() is not None)
