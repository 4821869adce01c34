"""Engines against the plain network."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

import darknet_py
from darknet_py import engine as engines
from darknet_py.boxes.suppress import Nms
from darknet_py.engine import BACKENDS, ENGINES, Engine
from darknet_py.errors import DarknetError, ImageError
from darknet_py.model import Model
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.predict.classifier import Classifier
from darknet_py.predict.detector import Detector
from tests.support.engines import (
    AVAILABLE,
    CLOSE,
    HEAD,
    MIXED,
    all_engines,
    changed,
    difference,
    every_engine,
    needs_engine,
    parsed,
    picture,
)
from tests.support.places import GOLDEN
from tests.support.recordings import load_network

LAYERS = sorted(path.stem for path in (GOLDEN / "layers").glob("*.cfg"))
BOXES = sorted(path.stem for path in (GOLDEN / "boxes").glob("*.cfg"))
CONV = "[convolutional]\nfilters=32\nsize=3\npad=1\nactivation=leaky\n"
PLACES = "[net]\nwidth=16\nheight=16\nchannels=32\n" + 3 * CONV


@pytest.fixture
def threads():
    """Puts the number of threads back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def calls_of_plain(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows with every call of `Network.heads`."""
    calls, heads = [], Network.heads
    monkeypatch.setattr(Network, "heads", lambda self, x: calls.append(len(x)) or heads(self, x))
    return calls


@needs_engine
@pytest.mark.parametrize(("count", "batches"), [(1, (1, 2, 3, 4, 5)), (2, (1, 3))])
def test_equals_the_plain_network_with_any_batch_and_threads(count, batches, threads):
    threads(count)
    network = parsed()
    engines = all_engines(network)
    for batch in batches:
        assert difference(picture(network, batch), *engines) < CLOSE


@needs_engine
@pytest.mark.parametrize(
    "size", [(320, 320), (416, 416), (608, 608), (352, 608), (576, 320), (40, 56), (8, 8), (8, 136)]
)
def test_equals_the_plain_network_at_other_sizes(size):
    network = parsed()
    assert difference(picture(network, 1, size), *all_engines(network)) < CLOSE


@needs_engine
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (13, 7), (5, 50), (15, 33)])
def test_equals_the_plain_network_at_odd_sizes(size):
    network = parsed(PLACES)
    assert difference(picture(network, 2, size), *all_engines(network)) < CLOSE


@every_engine
def test_sizes_may_change_in_the_middle(name):
    network = parsed()
    engine = Engine(network, name)
    for size in ((64, 64), (96, 32), (64, 64), (72, 40)):
        network.resize(*size)
        assert difference(picture(network), engine) < CLOSE
        assert difference(picture(network, 2, (32, 48)), engine) < CLOSE
    assert engine.name == name


@needs_engine
@pytest.mark.parametrize("case", [f"layers/{case}" for case in LAYERS] + [f"boxes/{case}" for case in BOXES])
def test_equals_the_plain_network_for_every_layer(case):
    network = load_network(GOLDEN / f"{case}.cfg", GOLDEN / f"{case}.weights")
    x = torch.rand(2 * network.graph.net.time_steps, *network.input_shape.dims)
    assert difference(x, *all_engines(network)) < CLOSE


@needs_engine
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_inputs_and_weights_may_lie_in_any_way(layout):
    network = parsed().to(memory_format=layout)
    engines, x = all_engines(network), picture(network, 3)
    last = x.contiguous(memory_format=torch.channels_last)
    for given in (x, last, last[::2], x.transpose(2, 3), x[:1].expand(3, -1, -1, -1), last[:, :, :32, 8:40]):
        before = given.clone()
        assert difference(given, *engines) < CLOSE
        assert given.equal(before)


@needs_engine
def test_outputs_are_not_written_again():
    engine = Engine(parsed())
    first, x = picture(engine.network), picture(engine.network).neg()
    (one,) = engine.heads(first)
    kept = one.clone()
    engine.heads(x)
    assert one.equal(kept)


VIEWS = f"""
[net]
width=32
height=32
channels=32
{CONV}
[route]
layers=-1
[dropout]
probability=.5
{CONV}{CONV}{CONV}
[shortcut]
from=2
activation=leaky
{CONV}
[route]
layers=2,-1
{CONV}"""


@needs_engine
def test_what_lies_in_the_memory_of_another_layer_keeps_it():
    network = parsed(VIEWS)
    engines = all_engines(network)
    for batch in (1, 3, 1):
        assert difference(picture(network, batch), *engines) < CLOSE


@needs_engine
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize(
    "pool", ["size=2\nstride=2", "size=2\nstride=1", "size=2\nstride=2\npadding=0", "size=3\nstride=2"]
)
def test_pooling_after_a_convolution(channels, pool):
    text = f"[net]\nwidth=24\nheight=24\nchannels={channels}\n" + 2 * f"{CONV}[maxpool]\n{pool}\n"
    network = parsed(text)
    engines = all_engines(network)
    for size in ((24, 24), (23, 17), (9, 14)):
        assert difference(picture(network, 2, size), *engines) < CLOSE


@needs_engine
def test_a_convolution_that_is_pooled_and_needed_as_it_is():
    network = parsed(f"{PLACES}[maxpool]\nsize=2\nstride=2\n{CONV}[upsample]\nstride=2\n[route]\nlayers=-1,2\n")
    assert difference(picture(network), *all_engines(network)) < CLOSE


@needs_engine
def test_several_threads_may_call_it():
    network = parsed()
    xs = [picture(network, batch) for batch in (1, 2, 3, 1)]
    wanted = [Engine(network).heads(x)[0] for x in xs]
    engine = Engine(network)
    with ThreadPoolExecutor(4) as pool:
        for found, expected in zip(pool.map(lambda x: engine.heads(x)[0], xs * 4), wanted * 4, strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=0)


@needs_engine
def test_an_output_that_a_shortcut_takes_can_be_an_output_itself():
    """Only where nothing else needs a convolution's output does the shortcut become a part of it."""
    route = "[shortcut]\nfrom=-2\nactivation=leaky\n[route]\nlayers=-2,-1\n"
    for text in (PLACES + route, PLACES + "[shortcut]\nfrom=-1\nactivation=leaky\n"):
        network = parsed(text)
        assert difference(picture(network), *all_engines(network)) < CLOSE


@every_engine
def test_a_shortcut_that_comes_to_fit_is_added_with_its_activation(name):
    """With one pixel both sides of the shortcut have one size, with more they have not."""
    shortcut = "[shortcut]\nfrom=-3\nactivation=relu\n"
    network = parsed(f"[net]\nwidth=16\nheight=16\nchannels=32\n{CONV}[maxpool]\nsize=2\nstride=2\n{CONV}{shortcut}")
    engine = Engine(network, name)
    for size in ((16, 16), (1, 1), (16, 16)):
        network.resize(*size)
        assert difference(picture(network), engine) < CLOSE


def nothing(half: bool = False) -> None:
    """A back end that this machine does not have."""


def test_the_default_is_the_fastest_that_there_is(monkeypatch):
    network = parsed()
    assert Engine(network).name == [*AVAILABLE, "plain"][0]
    monkeypatch.setattr(engines, "BACKENDS", changed("winograd", make=nothing))
    assert Engine(network).name == ("fused" if "fused" in AVAILABLE else "plain")
    monkeypatch.setattr(engines, "BACKENDS", tuple(replace(backend, make=nothing) for backend in BACKENDS))
    engine = Engine(network)
    assert engine.name == "plain"
    assert difference(picture(network), engine) == 0
    with pytest.raises(DarknetError, match="this machine cannot run the engine winograd: it needs Linux"):
        Engine(network, "winograd")


def test_names_that_there_are_not():
    with pytest.raises(DarknetError, match="there is no engine 'warp'; there are plain, winograd, fused, cuda"):
        Engine(parsed(), "warp")


@needs_engine
def test_an_engine_for_the_cpu_on_another_device():
    network = parsed().to("meta")
    with pytest.raises(DarknetError, match="the engine fused is for the CPU, and the network is on meta"):
        Engine(network, "fused")
    assert Engine(network).name == Engine(network, "plain").name == "plain"
    assert Engine(network).heads(torch.empty(1, 3, 64, 64, device="meta"))[0].device.type == "meta"


@needs_engine
def test_what_goes_through_the_network_itself(monkeypatch):
    calls = calls_of_plain(monkeypatch)
    network = parsed()
    engine, x = Engine(network), picture(network)
    engine.heads(x)
    assert calls == []
    network.train()
    assert engine.name == "plain"
    engine.heads(picture(network, 2))
    network.eval()
    network.layers[3].bn.train()
    engine.heads(picture(network, 2))
    network.eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert engine.name == "plain"
        engine.heads(x)
    seen = []
    handle = network.layers[5].conv.register_forward_hook(lambda *args: seen.append(1))
    engine.heads(x)
    handle.remove()
    engine.heads(x[:0])
    assert (calls, seen) == ([2, 2, 1, 1, 0], [1])
    engine.heads(x)
    assert len(calls) == 5
    network.to(torch.bfloat16)
    assert engine.name == "plain"
    assert engine.heads(x.bfloat16())[0].dtype == torch.bfloat16
    assert len(calls) == 6


@needs_engine
def test_a_compiled_network_goes_as_it_is():
    network = parsed()
    network.compile(backend="eager")
    assert Engine(network).name == "plain"


@needs_engine
def test_rows_and_recurrent_layers():
    recurrent = load_network(GOLDEN / "layers" / "gru.cfg", GOLDEN / "layers" / "gru.weights")
    for network in (recurrent, parsed("[net]\ninputs=6\n[connected]\noutput=4\n")):
        x = torch.rand(network.graph.net.time_steps, *network.input_shape.dims)
        assert difference(x, Engine(network)) == 0


@needs_engine
def test_inputs_that_do_not_fit():
    engine = Engine(parsed())
    with pytest.raises(ImageError, match="this network takes"):
        engine.heads(torch.rand(1, 4, 64, 64))


@needs_engine
def test_the_layers_of_a_user():
    """Layers that were changed for others compute themselves, before the first call and after it."""
    for first in (True, False):
        network = parsed()
        engine = Engine(network)
        if not first:
            engine.heads(picture(network))
        network.layers[3].conv = torch.nn.Conv2d(32, 64, 3, padding=1, padding_mode="reflect")
        network.layers[7] = torch.nn.Sequential(torch.nn.Conv2d(64, 48, 3, padding=1), torch.nn.Softplus())
        torch.nn.utils.parametrizations.weight_norm(network.layers[5].conv)
        assert difference(picture(network), engine) < CLOSE
        assert engine.name == "fused"  # the kernels suit none of those that are left


@needs_engine
def test_models_and_what_they_give_use_it(tmp_path, monkeypatch):
    calls = calls_of_plain(monkeypatch)
    cfg = tmp_path / "net.cfg"
    cfg.write_text(MIXED + HEAD, encoding="utf-8")
    model = darknet_py.load(cfg, device="cpu")
    assert model.engine.name == AVAILABLE[0]
    assert model.detector.engine is model.detector.engine is model.engine
    assert model.detector == model.detector
    model.detect(torch.rand(3, 50, 70))
    Detector(model.network).detect([torch.rand(3, 50, 70)], darknet_py.predict.decode.Settings(), Nms())
    classifier = Model(parsed())
    assert classifier.classifier.engine is classifier.engine
    classifier.classify(torch.rand(3, 50, 70))
    Classifier(parsed()).classify([torch.rand(3, 50, 70)], 1)
    assert calls == []
    plain = darknet_py.load(cfg, device="cpu", engine="plain")
    assert plain.engine.name == "plain"
    plain.detect(torch.rand(3, 50, 70))
    assert calls == [1]
    with pytest.raises(DarknetError, match="the engine cuda is for CUDA, and the network is on cpu"):
        darknet_py.load(cfg, device="cpu", engine="cuda")


@needs_engine
def test_models_can_be_copied():
    model = Model(parsed(MIXED + HEAD))
    x = picture(model.network)
    (wanted,) = model.engine.heads(x)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.engine.network is other.network is not model.network
        torch.testing.assert_close(other.engine.heads(x)[0], wanted, rtol=0, atol=0)


def test_every_name_is_known():
    assert ENGINES == ("plain", "winograd", "fused", "cuda")
    assert Graph.parse(MIXED).resizable
