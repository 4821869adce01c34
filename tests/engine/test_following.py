"""Engines take the weights that their network has now, and are not made anew for nothing."""

from __future__ import annotations

import gc
import time
import weakref

import pytest
import torch
from torch import nn

from darknet_py import weights
from darknet_py.engine import Engine, prepared
from darknet_py.engine.watch import Watch
from darknet_py.model import Model
from darknet_py.network import Network
from tests.support.engines import (
    CLOSE,
    HEAD,
    MIXED,
    all_engines,
    difference,
    needs_engine,
    own_bytes,
    parsed,
    picture,
    sane,
)

pytestmark = needs_engine


def trained(network: Network, optimizer: torch.optim.Optimizer) -> None:
    """One step of training."""
    network.train()
    optimizer.zero_grad()
    sum(head.square().mean() for head in network.heads(picture(network, 2))).backward()
    optimizer.step()
    network.eval()


def sgd(network: Network, **options) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, **options)


def loaded(network: Network) -> None:
    network.load_state_dict(parsed(seed=1).state_dict())


def assigned(network: Network) -> None:
    network.load_state_dict(parsed(seed=1).state_dict(), assign=True)


def drawn(network: Network) -> None:
    network.initialize(torch.Generator().manual_seed(3))


def rounded(network: Network) -> None:
    network.to(torch.bfloat16).to(torch.float32)


def behind_its_back(network: Network) -> None:
    for parameter, other in zip(network.parameters(), parsed(seed=1).parameters(), strict=True):
        parameter.data.copy_(other)


def by_numpy(network: Network) -> None:
    for parameter in network.parameters():
        parameter.detach().numpy()[...] *= 1.5


def one_tensor(network: Network) -> None:
    with torch.no_grad():
        network.layers[3].conv.weight[0, 0, 0, 0] += 3


def one_mean(network: Network) -> None:
    network.layers[7].bn.running_mean.add_(0.5)


def other_parameter(network: Network) -> None:
    network.layers[5].conv.weight = nn.Parameter(torch.randn_like(network.layers[5].conv.weight))


def other_storage(network: Network) -> None:
    network.layers[5].conv.weight.data = torch.randn_like(network.layers[5].conv.weight)


def other_layer(network: Network) -> None:
    network.layers[5] = nn.Conv2d(64, 64, 3, padding=1)


def other_activation(network: Network) -> None:
    network.layers[3].activate = nn.ReLU()


CHANGES = [
    loaded, assigned, drawn, rounded, behind_its_back, by_numpy, one_tensor, one_mean, other_parameter, other_storage,
    other_layer, other_activation,
    lambda network: trained(network, sgd(network)),
    lambda network: trained(network, sgd(network, fused=True)),
    lambda network: trained(network, torch.optim.Adam(network.parameters(), 1e-2, foreach=True)),
    lambda network: network.requires_grad_(False) and loaded(network),
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_followed(change):
    network = parsed()
    engines, x = all_engines(network), picture(network)
    before = [engine.heads(x)[0] for engine in engines]
    change(network)
    assert difference(x, *engines) < CLOSE
    assert not any(torch.allclose(engine.heads(x)[0], old) for engine, old in zip(engines, before, strict=True))


def test_a_file_that_is_loaded_later(tmp_path):
    """All biases are zero in both, so that nothing but torch's counts of changes tells."""
    network = Network(parsed().graph, initialize=False).eval()
    engines = all_engines(network)
    for seed in (1, 2):
        path = tmp_path / f"{seed}.weights"
        weights.save(Network(network.graph, generator=torch.Generator().manual_seed(seed)), path)
        weights.load(network, path)
        assert difference(picture(network), *engines) < CLOSE


def test_training_and_measuring_in_turn():
    network = parsed()
    optimizer, engines, x = sgd(network, fused=True), all_engines(network), picture(network)
    for _ in range(3):
        trained(network, optimizer)
        assert difference(x, *engines) < CLOSE
        trained(network, optimizer)
        network.resize(96, 64)
        assert difference(picture(network), *engines) < CLOSE
        network.resize(64, 64)


def test_weights_that_were_made_for_inference_alone(tmp_path):
    """They have no counts of changes; whole files that are loaded are seen by the biases."""
    with torch.inference_mode():
        network = parsed()
        engines = all_engines(network)
        assert difference(picture(network), *engines) < CLOSE
        assert engines[0].name != "plain"
        sane(network, seed=1)
        assert difference(picture(network), *engines) < CLOSE
        network.layers[3].bn.running_var.mul_(2)
        assert difference(picture(network), *engines) < CLOSE


def test_nothing_is_made_twice_for_nothing(monkeypatch):
    made, folded = [], prepared.folded
    monkeypatch.setattr(prepared, "folded", lambda module: made.append(module) or folded(module))
    network = parsed()
    model = Model(network)
    convolutions = sum(node.layer.type == "convolutional" for node in network.graph.nodes)
    for size in ((64, 64), (96, 32), (64, 64)):
        network.resize(*size)
        for batch in (1, 3):
            model.engine.heads(picture(network, batch))
    model.classifier.classify([torch.rand(3, 9, 9)] * 3, 1)
    network.train().eval()
    network.requires_grad_(False)
    network.to("cpu").to(torch.float32)
    model.classify(torch.rand(3, 9, 9))
    assert len(made) == convolutions
    network.layers[0].bn.weight.add_(1)
    model.engine.heads(picture(network))
    model.engine.forget()
    model.engine.heads(picture(network))
    assert len(made) == 3 * convolutions


def test_not_a_number_is_no_change():
    network = parsed()
    network.layers[0].bn.bias.detach()[0] = torch.nan
    watch = Watch([network.layers[0]])
    assert watch.unchanged()
    network.layers[0].bn.bias.data[0] = 1
    assert not watch.unchanged()


def test_old_weights_are_given_back():
    network = parsed()
    engine, x = Engine(network), picture(network)
    engine.heads(x)
    old = [weakref.ref(made) for made in engine._prepared._made.values()]
    assert old
    one_tensor(network)
    engine.heads(x)
    gc.collect()
    assert not any(made() for made in old)
    kept = [weakref.ref(made) for made in engine._prepared._made.values()]
    engine.forget()
    gc.collect()
    assert not any(made() for made in kept)


def test_memory_of_the_weights():
    """Each is held once beside the network's own; only small ones are held as the larger ones that they make."""
    conv = "[convolutional]\nbatch_normalize=1\nfilters={}\nsize={}\npad=1\nactivation=leaky\n"
    layers = [(256, 3), (512, 3), (256, 1), (512, 3)]
    network = parsed("[net]\nwidth=16\nheight=16\nchannels=256\n" + "".join(conv.format(*layer) for layer in layers))
    size = sum(parameter.nbytes for parameter in network.parameters())
    for engine in all_engines(network):
        engine.heads(picture(network))
        assert 0.9 * size < own_bytes(engine) < 1.01 * size


def test_the_last_biases_are_looked_at():
    """Fine-tuning may change those of the last layer alone."""
    conv = "[convolutional]\nfilters=4\nsize=1\nactivation=linear\n"
    for count in (1, 2, 16, 17, 40):
        network = parsed("[net]\nwidth=4\nheight=4\nchannels=4\n" + count * conv)
        watch = Watch(network.layers)
        assert watch.unchanged()
        network.layers[-1].conv.bias.data += 1
        assert not watch.unchanged()


def test_nothing_is_kept_for_a_network_that_moved():
    network = parsed()
    engine = Engine(network)
    engine.heads(picture(network))
    old = weakref.ref(next(iter(engine._prepared._made.values())))
    network.to("meta")
    engine.heads(torch.empty(1, 3, 64, 64, device="meta"))
    gc.collect()
    assert old() is None


def test_looking_for_changes_takes_no_time():
    """Even with a picture of 64 x 64 it is a small share of a call."""
    network = parsed(MIXED + HEAD)
    engine, x = Engine(network), picture(network)
    call, look = (min(timed(f) for _ in range(20)) for f in (lambda: engine.heads(x), engine._preparation().program))
    assert look < call / 10


def timed(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
