"""Every activation after a convolution, alone and before what is computed together with it."""

from __future__ import annotations

import pytest
import torch

from darknet_py.engine import Engine
from darknet_py.engine.convolution import Activated
from darknet_py.engine.memory import Memory
from darknet_py.layers.parts.activations import ACTIVATIONS
from tests.support.engines import AVAILABLE, CLOSE, difference, every_engine, needs_engine, parsed, picture

NET = "[net]\nwidth=24\nheight=24\nchannels={}\n"
CONV = "[convolutional]\nfilters=32\nsize={}\npad=1\nbatch_normalize=1\nactivation={}\n"
AFTER = {
    "nothing": "",
    "a sum": "[shortcut]\nfrom=-2\nactivation=leaky\n",
    "pooling": "[maxpool]\nsize=2\nstride=2\n",
}


def network_of(activation: str, after: str, channels: int = 32, size: int = 3) -> str:
    conv = CONV.format(size, activation)
    return NET.format(channels) + conv + conv + AFTER[after] + conv


@every_engine
@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_and_what_follows(name, activation, after):
    close = 1e-3 if activation == "stair" else CLOSE  # a step moves by what is rounded before it
    for channels, size in ((32, 3), (3, 3), (32, 1)):
        network = parsed(network_of(activation, after, channels, size))
        assert difference(picture(network, 2), Engine(network, name)) < close


@every_engine
@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "stair"])
def test_and_in_16_bits(name, activation, after):
    network = parsed(network_of(activation, after))
    assert difference(picture(network, 2), Engine(network, name, half=True)) < 0.05


@pytest.mark.skipif("winograd" not in AVAILABLE, reason="there is no compiler for the kernel")
@pytest.mark.parametrize("activation", ["elu", "tanh", "leaky"])
def test_the_kernels_are_used_whatever_the_activation(activation):
    network = parsed(network_of(activation, "nothing"))
    engine = Engine(network, "winograd")
    assert engine.name == "winograd"
    assert {made.engine for made in engine._prepared._made.values()} == {"winograd"}


@needs_engine
def test_an_engine_has_the_name_of_what_computes():
    only_fused = parsed(network_of("leaky", "nothing", size=1))
    assert {Engine(only_fused, name).name for name in AVAILABLE} == {"fused"}
    nothing = parsed(NET.format(3) + "[maxpool]\nsize=2\nstride=2\n[avgpool]\n")
    assert {Engine(nothing, name).name for name in (None, *AVAILABLE)} == {"plain"}
    assert difference(picture(nothing), Engine(nothing)) == 0


class Doubles:
    """Stands for a convolution: twice its input, in memory that is lent."""

    engine, pools = "none", True

    def __call__(self, memory, x, other=None, *, slope=1.0, pool=False):
        y = memory.picture(*x.shape)
        return y.copy_(x).mul_(2)


def test_memory_of_sums_is_given_back_where_the_activation_does_not_write_over_them():
    memory, x = Memory(), torch.randn(1, 2, 3, 4)
    found = Activated(Doubles(), torch.tanh)(memory, x, x, slope=0.5)
    wanted = torch.nn.functional.leaky_relu((2 * x).tanh() + x, 0.5)
    torch.testing.assert_close(found, wanted)
    assert [len(block) for block in memory._free] == [24]
    over = Activated(Doubles(), torch.tanh_)(memory, x)
    assert memory._free == []
    memory.give_back(over)
    assert [len(block) for block in memory._free] == [24]
