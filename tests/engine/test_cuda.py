"""The engine for GPUs; what needs none of it is tested on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from darknet_py import engine as engines
from darknet_py.engine import Engine, cuda
from darknet_py.engine import graphs as cuda_graphs
from darknet_py.engine.convolution import Activated
from darknet_py.engine.cpu import OnCpu
from darknet_py.engine.memory import Memory
from darknet_py.engine.plain import Folded
from darknet_py.errors import DarknetError
from darknet_py.network import Network
from tests.support.engines import MIXED, changed, difference, parsed, picture, sane
from tests.support.recordings import read_graph

CFGS = sorted((Path(__file__).parents[2] / "cfg").glob("*.cfg"))
CFGS = [path for path in CFGS if path.stem != "yolo9000"]  # whose tree is not here
BLOCK = "[convolutional]\nfilters=512\nsize=3\npad=1\nbatch_normalize=1\nactivation=leaky\n"
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def test_without_a_gpu():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert cuda.convolutions() is None
    with pytest.raises(DarknetError, match="the engine cuda is for CUDA, and the network is on cpu"):
        Engine(parsed(), "cuda")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_its_steps_give_what_the_network_gives(dtype, monkeypatch):
    on_cpu = {"device": "cpu", "runner": OnCpu, "make": lambda half: lambda conv: cuda.Cudnn(conv, dtype)}
    monkeypatch.setattr(engines, "BACKENDS", changed("cuda", **on_cpu))
    network = parsed()
    engine = Engine(network, "cuda")
    assert engine.name == "cuda"
    assert difference(picture(network, 2), engine) < (1e-5 if dtype == torch.float32 else 0.05)


def test_an_activation_that_is_no_leaky():
    x, weight, bias = torch.randn(1, 4, 5, 5), torch.randn(6, 4, 3, 3), torch.randn(6)
    conv = Activated(cuda.Cudnn(Folded(weight, bias, (1, 1), (1, 1), 1)), torch.sigmoid_)
    torch.testing.assert_close(conv(Memory(), x), F.conv2d(x, weight, bias, padding=1).sigmoid())


class Recorder:
    """Stands for a CUDA graph: computes anew what was captured."""

    def __init__(self, graphs: cuda_graphs.Graphs, x: torch.Tensor) -> None:
        self.graphs, self.x, self.outputs = graphs, x, graphs.program.run(x, Memory())

    def replay(self) -> None:
        for output, value in zip(self.outputs, self.graphs.program.run(self.x, Memory()), strict=True):
            output.copy_(value)


class Mark:
    """Stands for an event."""

    def wait(self) -> None:
        pass

    record = wait


def test_a_graph_a_shape(monkeypatch):
    captured = []

    def capture(graphs: cuda_graphs.Graphs, x: torch.Tensor) -> cuda_graphs.Captured:
        recorder = Recorder(graphs, x.clone())
        captured.append(tuple(x.shape))
        return cuda_graphs.Captured(recorder, recorder.x, recorder.outputs)

    monkeypatch.setattr(cuda_graphs.Graphs, "_capture", capture)
    monkeypatch.setattr(torch.cuda, "device", torch.device)
    monkeypatch.setattr(torch.cuda, "Event", Mark)
    network = parsed()
    graphs = cuda_graphs.Graphs(Engine(network)._preparation().program())
    sizes = [(32, 32 + 8 * n) for n in range(cuda_graphs.MOST_GRAPHS + 1)]
    for size in (*sizes, sizes[-1], sizes[0]):
        x = picture(network, 1, size)
        (wanted,), (found,) = network.heads(x), graphs.heads(x)
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
        kept = found.clone()
        graphs.heads(x + 1)
        assert found.equal(kept)
    assert captured == [(1, 3, h, w) for w, h in (*sizes, sizes[0])]


def test_what_cannot_be_captured_runs_step_by_step(monkeypatch):
    monkeypatch.setattr(cuda_graphs.Graphs, "_capture", lambda graphs, x: None)
    monkeypatch.setattr(torch.cuda, "device", torch.device)
    network = parsed()
    x = picture(network)
    (found,) = cuda_graphs.Graphs(Engine(network)._preparation().program()).heads(x)
    torch.testing.assert_close(found, network.heads(x)[0], rtol=1e-3, atol=1e-4)


INTERPRETED = """
import torch, torch.nn.functional as F
from darknet_py.kernels.triton import epilogue, stem, stem_weight
from darknet_py.errors import DarknetError

def finished(y, pool):
    y = F.leaky_relu(y, 0.1)
    return F.max_pool2d(y, 2, 2, ceil_mode=True) if pool else y

for n, k, step, h, w in ((1, 32, 32, 8, 8), (2, 33, 40, 7, 9), (3, 130, 136, 5, 3), (1, 1, 8, 1, 1)):
    x, bias, other = torch.randn(n, step, h, w), torch.randn(k), torch.randn(n, k, h, w)
    x = x.contiguous(memory_format=torch.channels_last)
    for pool in (False, True):
        wanted = finished(x[:, :k] + bias.view(-1, 1, 1), pool)
        torch.testing.assert_close(epilogue(x.clone(), bias, 0.1, pool=pool), wanted)
    wanted = F.leaky_relu(finished(x[:, :k] + bias.view(-1, 1, 1), False) + other, 0.3)
    torch.testing.assert_close(epilogue(x.clone(), bias, 0.1, other, 0.3), wanted)
for n, c, k, h, w in ((2, 3, 32, 8, 150), (1, 1, 16, 7, 9), (3, 3, 33, 5, 3), (1, 4, 20, 2, 2)):
    x, weight, bias = torch.randn(n, c, h, w), torch.randn(k, c, 3, 3), torch.randn(k)
    for pool in (False, True):
        wanted = finished(F.conv2d(x, weight, bias, padding=1), pool)
        for layout in (torch.contiguous_format, torch.channels_last):
            given = x.contiguous(memory_format=layout)
            found = stem(given, stem_weight(weight, pool=pool), bias, 0.1, pool=pool)
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
assert stem_weight(torch.empty(32, 5, 3, 3), pool=True) is None
assert stem_weight(torch.empty(256, 3, 3, 3)) is None

x, weight, bias = torch.randn(1, 8, 4, 4), torch.randn(8, 3, 3, 3), torch.randn(8)
x = x.contiguous(memory_format=torch.channels_last)
picture, taps = torch.randn(1, 3, 4, 4), stem_weight(weight)
for call in (
    lambda: epilogue(x.contiguous(), bias, 0.1),
    lambda: epilogue(x, torch.randn(9), 0.1),
    lambda: epilogue(x, torch.randn(16)[::2], 0.1),
    lambda: epilogue(x, bias.int(), 0.1),
    lambda: epilogue(x, bias.to("meta"), 0.1),
    lambda: epilogue(x, bias, 0.1, x[:, :, :3]),
    lambda: stem(picture, taps, bias, 0.1, pool=True),
    lambda: stem(torch.randn(1, 4, 4, 4), taps, bias, 0.1),
    lambda: stem(picture, taps, torch.randn(17), 0.1),
    lambda: stem(picture.int(), taps, bias, 0.1),
):
    try:
        call()
    except DarknetError as error:
        assert "does not take these together" in str(error)
    else:
        raise AssertionError(call)
"""


def test_the_kernels_as_triton_interprets_them():
    """That needs no GPU."""
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    subprocess.run([sys.executable, "-c", INTERPRETED], env=environment, check=True, timeout=300)


# On a GPU


@pytest.fixture
def exact():
    """Without TF32, so that float32 is computed in full."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@needs_gpu
@pytest.mark.parametrize("half", [False, True, torch.bfloat16])
def test_outputs_are_those_of_the_network(half, exact):
    network = parsed(MIXED).cuda()
    engine, close = Engine(network, half=half), 0.05 if half else 1e-5
    assert engine.name == "cuda"
    for batch, size in ((2, (64, 64)), (1, (96, 64)), (2, (64, 64)), (3, (40, 56))):
        assert difference(picture(network, batch, size).cuda(), engine) < close
    assert {output.dtype for output in engine.heads(picture(network).cuda())} == {torch.float32}


@needs_gpu
@pytest.mark.parametrize("path", CFGS, ids=lambda path: path.stem)
def test_every_cfg_of_the_repository(path, exact):
    graph = read_graph(path)
    side = 64 if graph.net.height % 32 == 0 else graph.net.height
    network = sane(Network(graph.resized(side, side), initialize=False)).cuda()
    x = picture(network, 2).cuda()
    assert difference(x, Engine(network)) < 1e-5
    assert difference(x, Engine(network, half=True)) < 0.1


@needs_gpu
def test_changes_of_the_network_are_seen(exact):
    network = parsed(MIXED).cuda()
    engine, x = Engine(network), picture(network, 2).cuda()
    before = engine.heads(x)[0]
    with torch.no_grad():
        network.layers[0].conv.weight.mul_(0.5)
    assert not engine.heads(x)[0].allclose(before)
    assert difference(x, engine) < 1e-5
    network.train()
    assert engine.name == "plain"
    network.eval()
    assert difference(x, engine) < 1e-5
    network.cpu()
    assert difference(x.cpu(), engine) < 1e-5
    network.cuda()
    assert difference(x, engine) < 1e-5


@needs_gpu
def test_streams_wait_for_each_other(exact):
    network = parsed(MIXED).cuda()
    engine = Engine(network)
    pictures = [torch.rand(4, 3, 64, 64, device="cuda") for _ in range(8)]
    wanted = [engine.heads(x)[0].clone() for x in pictures]
    torch.cuda.synchronize()
    streams, found = [torch.cuda.Stream() for _ in pictures], []
    for stream, x in zip(streams, pictures, strict=True):
        with torch.cuda.stream(stream):
            found.append(engine.heads(x)[0])
    torch.cuda.synchronize()
    assert all(torch.equal(y, e) for y, e in zip(found, wanted, strict=True))


@needs_gpu
def test_another_size_takes_no_second_copy_of_the_weights():
    network = parsed("[net]\nwidth=8\nheight=8\nchannels=512\n" + 4 * BLOCK).cuda()
    engine = Engine(network)
    engine.heads(picture(network).cuda())
    before = torch.cuda.memory_allocated()
    engine.heads(picture(network, 1, (16, 8)).cuda())
    parameters = sum(tensor.nbytes for tensor in network.parameters())
    assert torch.cuda.memory_allocated() - before < 0.1 * parameters


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("n", "k", "extra", "h", "w"), [(2, 32, 0, 8, 150), (1, 33, 7, 7, 9), (3, 425, 7, 1, 1)])
@pytest.mark.parametrize("pool", [False, True])
def test_the_kernels(dtype, n, k, extra, h, w, pool, exact):
    kernels = cuda._kernels()
    if kernels is None:
        pytest.skip("there is no Triton")
    rng = torch.Generator(device="cuda").manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, device="cuda", generator=rng).to(dtype)

    def end(y: torch.Tensor) -> torch.Tensor:
        y = F.leaky_relu(y, 0.1)
        return F.max_pool2d(y, 2, 2, ceil_mode=True) if pool else y

    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 0.02, "atol": 0.02}
    x, bias = drawn(n, k + extra, h, w).contiguous(memory_format=torch.channels_last), drawn(k)
    wanted = end(x[:, :k].float() + bias.float().view(-1, 1, 1))
    torch.testing.assert_close(kernels.epilogue(x.clone(), bias, 0.1, pool=pool).float(), wanted, **close)
    if not pool:
        other = drawn(n, k, h, w)
        summed = F.leaky_relu(wanted + other.float(), 0.3)
        torch.testing.assert_close(kernels.epilogue(x, bias, 0.1, other, 0.3).float(), summed, **close)
    for c in (1, 3):
        pixels, weight, bias = drawn(n, c, h, w).float(), drawn(40, c, 3, 3), drawn(40)
        wanted = end(F.conv2d(pixels.to(dtype).float(), weight.float(), bias.float(), padding=1))
        for layout in (torch.contiguous_format, torch.channels_last):
            given = pixels.contiguous(memory_format=layout)
            found = kernels.stem(given, kernels.stem_weight(weight, pool=pool), bias, 0.1, pool=pool)
            torch.testing.assert_close(found.float(), wanted, **close)


@needs_gpu
def test_without_the_kernels(monkeypatch, exact):
    monkeypatch.setattr(cuda, "_kernels", lambda: None)
    network = parsed(MIXED).cuda()
    assert difference(picture(network, 2).cuda(), Engine(network)) < 1e-5
