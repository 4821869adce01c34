"""Memory that is used again."""

from __future__ import annotations

import torch

from darknet_py.engine import Engine
from darknet_py.engine.memory import Memory
from tests.support.engines import AVAILABLE, CLOSE, difference, needs_engine, needs_winograd, parsed, picture


def test_what_is_given_back_is_lent_again():
    memory = Memory()
    first = memory.picture(2, 3, 4, 5)
    assert first.shape == (2, 3, 4, 5)
    assert first.is_contiguous(memory_format=torch.channels_last)
    other = memory.floats(7)
    memory.give_back(first)
    assert memory.floats(100).data_ptr() == first.data_ptr()
    assert other.data_ptr() != first.data_ptr()


def test_the_smallest_that_fits_is_taken():
    memory = Memory()
    blocks = {size: memory.floats(size) for size in (50, 10, 100)}
    for block in blocks.values():
        memory.give_back(block)
    assert memory.floats(11) is blocks[50]
    assert memory.floats(11) is blocks[100]


def test_it_does_not_grow_with_every_size():
    memory = Memory()
    for size in range(1, 50):
        memory.give_back(memory.floats(size))
    assert [len(block) for block in memory._free] == [49]


def test_others_and_what_is_kept_are_not_taken_back():
    memory = Memory()
    memory.give_back(torch.empty(5))
    kept = memory.floats(5)
    memory.end()
    memory.give_back(kept)
    assert memory._free == []
    assert memory.floats(5).data_ptr() != kept.data_ptr()


@needs_engine
def test_what_is_joined_is_given_back():
    """Of a chain of routes, each of which joins the one before with something new, two live at a time."""
    layer = "[convolutional]\nfilters=8\nsize=3\npad=1\nactivation=leaky\n[route]\nlayers=-1,-2\n"
    network = parsed("[net]\nwidth=8\nheight=8\nchannels=3\n[maxpool]\nsize=2\nstride=1\n" + 6 * layer)
    engine = Engine(network, AVAILABLE[-1])
    assert difference(picture(network), engine) < CLOSE
    live, most = set(), 0
    for step in engine._preparation().program().steps:
        live.add(step.index)
        most = max(most, len(live))
        live.difference_update(step.done)
    assert most == 3


@needs_winograd
def test_an_engine_uses_it_again_from_call_to_call():
    engine = Engine(parsed(), "winograd")
    x = picture(engine.network)
    engine.heads(x)
    (memory,) = engine._prepared._runner.memories
    places = sorted(block.data_ptr() for block in memory._free)
    assert places
    engine.heads(x)
    assert sorted(block.data_ptr() for block in memory._free) == places
    engine.forget()
    assert engine._prepared is None
