"""The engine for GPUs; what needs none of it is tested on the CPU."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from engines import MIXED, difference, parsed, picture

from darknet_py import engine as engines
from darknet_py.engine import CONVOLUTIONS, DEVICES, Engine, cuda
from darknet_py.engine.folded import Folded
from darknet_py.engine.memory import Memory
from darknet_py.engine.steps import run
from darknet_py.errors import DarknetError

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def test_without_a_gpu():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert cuda.convolutions() is None
    with pytest.raises(DarknetError, match="the engine cuda is for CUDA, and the network is on cpu"):
        Engine(parsed(), "cuda")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_its_steps_give_what_the_network_gives(dtype, monkeypatch):
    monkeypatch.setattr(
        engines, "CONVOLUTIONS", {**CONVOLUTIONS, "cuda": lambda half: lambda conv: cuda.Cudnn(conv, dtype)}
    )
    monkeypatch.setattr(engines, "DEVICES", {**DEVICES, "cuda": "cpu"})
    network = parsed()
    engine = Engine(network, "cuda")
    assert engine.name == "cuda"
    assert difference(picture(network, 2), engine) < (1e-5 if dtype == torch.float32 else 0.05)


def test_an_activation_that_is_no_leaky():
    x, weight, bias = torch.randn(1, 4, 5, 5), torch.randn(6, 4, 3, 3), torch.randn(6)
    conv = cuda.Cudnn(Folded(weight, bias, (1, 1), (1, 1), 1, None, torch.sigmoid_))
    torch.testing.assert_close(conv(Memory(), x), F.conv2d(x, weight, bias, padding=1).sigmoid())


class Recorder:
    """Stands for a CUDA graph: computes anew what was captured."""

    def __init__(self, graphs: cuda.Graphs, x: torch.Tensor) -> None:
        self.graphs, self.x, self.outputs = graphs, x, run(graphs.steps, x, graphs.outputs, Memory())

    def replay(self) -> None:
        for output, value in zip(
            self.outputs, run(self.graphs.steps, self.x, self.graphs.outputs, Memory()), strict=True
        ):
            output.copy_(value)


def test_a_graph_a_shape(monkeypatch):
    captured = []

    def capture(graphs: cuda.Graphs, x: torch.Tensor) -> cuda.Captured:
        recorder = Recorder(graphs, x.clone())
        captured.append(tuple(x.shape))
        return cuda.Captured(recorder, recorder.x, recorder.outputs)

    monkeypatch.setattr(cuda.Graphs, "_capture", capture)
    monkeypatch.setattr(torch.cuda, "device", torch.device)
    network = parsed()
    graphs = cuda.Graphs(Engine(network)._steps(), network.graph.outputs)
    sizes = [(32, 32 + 8 * n) for n in range(cuda.MOST_GRAPHS + 1)]
    for size in (*sizes, sizes[-1], sizes[0]):
        x = picture(network, 1, size)
        (wanted,), (found,) = network.heads(x), graphs.heads(x)
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
        kept = found.clone()
        graphs.heads(x + 1)
        assert found.equal(kept)
    assert captured == [(1, 3, h, w) for w, h in (*sizes, sizes[0])]


def test_what_cannot_be_captured_runs_step_by_step(monkeypatch):
    monkeypatch.setattr(cuda.Graphs, "_capture", lambda graphs, x: None)
    monkeypatch.setattr(torch.cuda, "device", torch.device)
    network = parsed()
    x = picture(network)
    (found,) = cuda.Graphs(Engine(network)._steps(), network.graph.outputs).heads(x)
    torch.testing.assert_close(found, network.heads(x)[0], rtol=1e-3, atol=1e-4)


@needs_gpu
@pytest.mark.parametrize("half", [False, True])
def test_on_a_gpu(half):
    network = parsed(MIXED).cuda()
    engine = Engine(network, half=half)
    assert engine.name == "cuda"
    for size in ((64, 64), (96, 64), (64, 64)):
        x = picture(network, 2, size).cuda()
        (found,), (wanted,) = engine.heads(x), network.heads(x)
        torch.testing.assert_close(found, wanted, rtol=0, atol=0.05 if half else 1e-2)
    with torch.no_grad():
        network.layers[0].conv.weight.mul_(0.5)
    torch.testing.assert_close(engine.heads(x)[0], network.heads(x)[0], rtol=0, atol=0.05 if half else 1e-2)
