"""Values of 16 bits."""

from __future__ import annotations

import pickle

import pytest
import torch

from darknet_py import engine as engines
from darknet_py.engine import Engine, fastest, winograd
from darknet_py.errors import DarknetError
from darknet_py.kernels import native
from tests.support.engines import (
    AVAILABLE,
    HEAD,
    MIXED,
    changed,
    difference,
    every_engine,
    needs_winograd,
    own_bytes,
    parsed,
    picture,
)

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
        monkeypatch.setattr(engines, "BACKENDS", changed("fused", leads_in_half=lambda fast=fast: fast))
        assert fastest(half=True) == name
        assert fastest() == "winograd"


@pytest.mark.parametrize(
    ("flags", "maker", "fast", "amx"),
    [
        ("fma avx512f avx512_bf16", "AuthenticAMD", True, False),
        ("fma avx512f avx512_bf16", "GenuineIntel", False, False),
        ("fma avx512f avx512_bf16 amx_bf16", "GenuineIntel", True, True),
        ("fma avx2", "AuthenticAMD", False, False),
    ],
)
def test_processors(flags, maker, fast, amx, monkeypatch):
    lines = {"flags": f"flags\t: {flags}", "vendor_id": f"vendor_id\t: {maker}"}
    monkeypatch.setattr(native, "told_of_processor", lines.__getitem__)
    assert (native.multiplies_bfloat16(), native.has_amx()) == (fast, amx)


@needs_winograd
@pytest.mark.parametrize("fast", [True, False])
def test_pictures_are_of_16_bits_where_that_is_multiplied_faster(fast, monkeypatch):
    monkeypatch.setattr(native, "multiplies_bfloat16", lambda: fast)
    monkeypatch.setattr(engines, "BACKENDS", changed("winograd", make=winograd.convolutions.__wrapped__))
    network = parsed()
    engine = Engine(network, "winograd", half=True)
    assert difference(picture(network, 2), engine) < 0.05
    types = {getattr(made, "dtype", torch.float32) for made in engine._prepared._made.values()}
    assert (torch.bfloat16 in types) == fast


def test_other_types_are_refused():
    network = parsed()
    for half in (torch.float16, torch.float64):
        with pytest.raises(DarknetError, match=r"half is float(16|64); engines on cpu compute bfloat16 of 16 bits"):
            Engine(network, half=half)
    assert Engine(network, half=torch.bfloat16).name != "plain" or not AVAILABLE
