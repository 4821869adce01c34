"""Values of 16 bits."""

from __future__ import annotations

import pickle

import pytest
import torch
from engines import AVAILABLE, HEAD, MIXED, difference, every_engine, needs_winograd, own_bytes, parsed, picture

from darknet_py import engine as engines
from darknet_py.engine import Engine, fastest, native
from darknet_py.errors import DarknetError

WIDE = "[net]\nwidth=16\nheight=16\nchannels=256\n" + 2 * (
    "[convolutional]\nfilters=256\nsize=3\npad=1\nbatch_normalize=1\nactivation=leaky\n"
)


@every_engine
@pytest.mark.parametrize("text", [MIXED, MIXED + HEAD, WIDE])
def test_outputs_are_near_those_of_32_bits(name, text):
    network = parsed(text)
    engine = Engine(network, name, half=True)
    x = picture(network, 2)
    assert difference(x, engine) < 0.05
    assert (engine.name, {output.dtype for output in engine.heads(x)}) == (name, {torch.float32})


@needs_winograd
def test_large_weights_take_half_the_memory():
    network = parsed(WIDE)
    whole, half = Engine(network, "winograd"), Engine(network, "winograd", half=True)
    assert 0 < difference(picture(network), half) < 0.05
    assert difference(picture(network), whole) < 1e-5
    assert own_bytes(half) < 0.51 * own_bytes(whole)


def test_it_is_kept_when_copied():
    engine = pickle.loads(pickle.dumps(Engine(parsed(), half=True)))
    assert engine.half
    assert not pickle.loads(pickle.dumps(Engine(parsed()))).half


def test_plain_has_none():
    with pytest.raises(DarknetError, match="half needs another engine"):
        Engine(parsed(), "plain", half=True)


@pytest.mark.skipif(len(AVAILABLE) < 2, reason="there is one engine")
def test_the_fastest_depends_on_the_processor(monkeypatch):
    for fast, name in ((True, "fused"), (False, "winograd")):
        monkeypatch.setattr(engines.native, "multiplies_bfloat16", lambda fast=fast: fast)
        assert fastest(half=True) == name
        assert fastest() == "winograd"


@pytest.mark.parametrize(
    ("flags", "maker", "fast"),
    [
        ("fma avx512f avx512_bf16", "AuthenticAMD", True),
        ("fma avx512f avx512_bf16", "GenuineIntel", False),
        ("fma avx512f avx512_bf16 amx_bf16", "GenuineIntel", True),
        ("fma avx2", "AuthenticAMD", False),
    ],
)
def test_processors(flags, maker, fast, monkeypatch):
    lines = {"flags": f"flags\t: {flags}", "vendor_id": f"vendor_id\t: {maker}"}
    monkeypatch.setattr(native, "_told", lines.__getitem__)
    assert native.multiplies_bfloat16.__wrapped__() == fast
