"""Networks for the tests of the engines, and how their outputs are compared."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from darknet_py.engine import BACKENDS, Engine
from darknet_py.engine.backend import Backend
from darknet_py.network import Network
from darknet_py.network.graph import Graph

AVAILABLE = [backend.name for backend in BACKENDS if backend.device == "cpu" and backend.make() is not None]
needs_winograd = pytest.mark.skipif("winograd" not in AVAILABLE, reason="there is no compiler for the kernel")
needs_engine = pytest.mark.skipif(not AVAILABLE, reason="this torch has no oneDNN")
every_engine = pytest.mark.parametrize("name", AVAILABLE)
CLOSE = 1e-5  # of the output's range

MIXED = """
[net]
width=64
height=64
channels=3

[convolutional]
filters=32
size=3
stride=2
pad=1
batch_normalize=1
activation=leaky

[convolutional]
filters=64
size=3
stride=2
pad=1
batch_normalize=1
activation=leaky

[convolutional]
filters=32
size=1
batch_normalize=1
activation=relu

[convolutional]
filters=64
size=3
pad=1
batch_normalize=1
activation=leaky

[shortcut]
from=-3
activation=leaky

[convolutional]
filters=64
size=3
pad=1
activation=linear

[shortcut]
from=-2
activation=linear

[convolutional]
filters=48
size=3
pad=1
batch_normalize=1
activation=elu

[convolutional]
filters=48
groups=4
size=3
pad=1
activation=logistic

[maxpool]
size=2
stride=2

[convolutional]
filters=20
size=3
pad=1
batch_normalize=1
activation=leaky

[convolutional]
filters=96
size=3
pad=1
batch_normalize=1
activation=relie

[upsample]
stride=2

[route]
layers=-1,6

[convolutional]
filters=33
size=3
pad=1
activation=linear
"""
HEAD = """
[yolo]
mask=0,1,2
anchors=10,13, 16,30, 33,23
classes=6
num=3
"""


def sane(network: Network, seed: int = 0) -> Network:
    """Weights and statistics as training leaves them: outputs neither grow nor vanish with depth."""
    row = torch.randn(999_983, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            if not tensor.is_floating_point():
                continue
            values = row.repeat(-(-tensor.numel() // len(row)))[: tensor.numel()].view(tensor.shape)
            if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
                tensor.copy_(values.abs().clamp(0.5, 1.5))
            elif tensor.ndim > 1:
                tensor.copy_(values).mul_((2 / tensor[0].numel()) ** 0.5)
            elif name.endswith(("bias", "running_mean")):
                tensor.copy_(values).mul_(0.1)
    return network.eval()


def parsed(text: str = MIXED, seed: int = 0) -> Network:
    return sane(Network(Graph.parse(text), initialize=False), seed)


def picture(network: Network, batch: int = 1, size: tuple[int, int] | None = None) -> torch.Tensor:
    """Random pictures of a width and height, or of the network's own."""
    c, h, w = network.input_shape
    w, h = size or (w, h)
    return torch.rand(batch, c, h, w, generator=torch.Generator().manual_seed(5))


def difference(x: torch.Tensor, *engines: Engine) -> float:
    """The largest difference to the plain network of `engines` as a share of the range of the output."""
    with torch.inference_mode():
        expected = engines[0].network.heads(x)
        pairs = [pair for engine in engines for pair in zip(engine.heads(x), expected, strict=True)]
    assert all(found.shape == wanted.shape for found, wanted in pairs)
    return max(float((found - wanted).abs().max() / (wanted.max() - wanted.min())) for found, wanted in pairs)


def changed(name: str, **changes: object) -> tuple[Backend, ...]:
    """The table of back ends with other values in one of them."""
    return tuple(replace(backend, **changes) if backend.name == name else backend for backend in BACKENDS)


def all_engines(network: Network) -> list[Engine]:
    return [Engine(network, name) for name in AVAILABLE]


def own_bytes(engine: Engine) -> int:
    """The memory of the tensors that an engine holds beside those of the network."""
    made = [getattr(one, "convolution", one) for one in engine._prepared._made.values()]
    tensors = [value for one in made for value in vars(one).values()]
    return sum(value.nbytes for value in tensors if isinstance(value, torch.Tensor))
