"""Updates: mini-batches, counting, random numbers, states, and what layers do while training."""

from __future__ import annotations

import copy
import io
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from darknet_py.errors import DarknetError
from darknet_py.layers.convolutional import Smoothed
from darknet_py.layers.parts.dense import Dense
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.train import Stepper, share_of
from tests.support.networks import ALL, BN, CONV, END, NET, batch, build, stored

RNN = (
    "[net]\nbatch=2\ntime_steps=3\ninputs=4\nlearning_rate=.1\n"
    "[{}]\noutput=6\n[connected]\noutput=5\nactivation=linear\n[softmax]\n"
)


def train(network: Network, updates: int, first: int = 0, **options) -> Stepper:
    stepper = Stepper(network, **options)
    go_on(stepper, updates, first)
    return stepper


def go_on(stepper: Stepper, updates: int, first: int = 0) -> None:
    for update in range(first, first + updates):
        images, truth = batch(stepper.network, stepper.share.count * stepper.share.rows, update)
        for part in zip(images.split(stepper.share.rows), truth.split(stepper.share.rows), strict=True):
            stepper.accumulate(*part)
        stepper.update()


def largest_difference(one: Network, other: Network) -> float:
    pairs = zip(stored(one).values(), stored(other).values(), strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-12)) for a, b in pairs)


def test_seen_batch_and_rate_count_as_the_c_program_does():
    network = build(NET.replace("learning_rate=.1", "learning_rate=.1\npolicy=poly\nmax_batches=10") + CONV + END)
    network.seen = 8 * 3
    stepper = Stepper(network)
    assert (stepper.share.count, stepper.share.rows, stepper.batch) == (2, 4, 3)
    assert stepper.rate == pytest.approx(0.1 * 0.7**4)
    images, truth = batch(network, 4)
    stepper.accumulate(images, truth)
    assert (network.seen, stepper.batch) == (28, 3)
    stepper.accumulate(images, truth)
    assert (network.seen, stepper.batch) == (32, 4)
    stepper.update()
    assert stepper.rate == pytest.approx(0.1 * 0.6**4)
    assert stepper.optimizer.param_groups[0]["lr"] == stepper.rate


def test_mini_batches_make_the_update_of_the_whole_batch():
    text = NET + CONV + END
    whole, parts = build(text.replace("subdivisions=2", "subdivisions=1")), build(text)
    train(whole, 3)
    train(parts, 3)
    assert whole.seen == parts.seen == 24
    assert largest_difference(parts, whole) < 1e-5


def test_the_loss_falls():
    network = build(NET + BN + END)
    stepper, (images, truth) = Stepper(network), batch(network, 8)
    costs = []
    for _ in range(20):
        parts = [stepper.accumulate(*part) for part in zip(images.split(4), truth.split(4), strict=True)]
        stepper.update()
        costs.append(sum(float(losses.cost) for losses in parts))
    assert costs[-1] < 0.8 * costs[0]


def test_no_gradient_and_no_graph_up_to_stopbackward():
    network = build(NET + BN + CONV + "stopbackward=1\n" + CONV + END)
    stepper, before = Stepper(network), stored(network)
    outputs = network.tap(batch(network, 4)[0], (1, 2))
    assert [outputs[1].requires_grad, outputs[2].requires_grad] == [False, True]
    stepper.accumulate(*batch(network, 4))
    trained = {index for index, layer in enumerate(network.layers) for w in layer.parameters() if w.grad is not None}
    assert trained == {2, 3}
    assert not torch.equal(stored(network)[0, "bn.running_mean"], before[0, "bn.running_mean"])
    network.eval()
    assert network.tap(batch(network, 4)[0], (1,))[1].requires_grad  # only training stops there


def test_nothing_to_train_is_an_error():
    with pytest.raises(DarknetError, match="stopbackward"):
        Stepper(build(NET + CONV + END + "stopbackward=1\n"))
    with pytest.raises(DarknetError, match="nothing to train with"):
        Stepper(build(NET + CONV))


@pytest.mark.parametrize("keys", ["batch=1\nsubdivisions=2", "batch=0"])
def test_batches_without_pictures_are_errors(keys):
    with pytest.raises(DarknetError, match="batch"):
        share_of(Graph.parse(f"[net]\n{keys}\nwidth=4\nheight=4\nchannels=3\n[softmax]\n").net)


@pytest.mark.parametrize("adam", [0, 1])
def test_a_resumed_run_is_the_run(adam):
    text = f"{NET}adam={adam}\npolicy=random\n{BN}[dropout]\nprobability=.3\n{END}"
    network = build(text)
    whole = train(network, 4)
    half = train(build(text), 2)
    file = io.BytesIO()
    torch.save({"network": half.network.state_dict(), "stepper": half.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    torch.manual_seed(99)
    resumed = Stepper(build(text, seed=5))
    resumed.network.load_state_dict(state["network"])
    resumed.load_state_dict(state["stepper"])
    assert (resumed.batch, resumed.rate) == (2, half.rate)
    go_on(resumed, 2, first=2)
    assert resumed.rate == whole.rate
    for mine, wanted in zip(resumed.network.state_dict().values(), network.state_dict().values(), strict=True):
        assert torch.equal(mine, wanted)


def test_states_of_other_networks_are_refused():
    state = Stepper(build(NET + CONV + END)).state_dict()
    with pytest.raises(DarknetError, match="not of a run of"):
        Stepper(build(ALL)).load_state_dict(state)
    with pytest.raises(DarknetError, match="not of a run of"):
        Stepper(build(NET + CONV + END)).load_state_dict({})


@pytest.mark.parametrize(
    "text",
    [
        f"{NET}{CONV}[dropout]\n{END}",
        f"{NET}[connected]\noutput=44\n[detection]\nclasses=1\ncoords=4\nside=2\nnum=2\nrandom=1\n",
    ],
)
def test_what_is_drawn_follows_from_seed_and_pictures_seen_alone(text):
    def costs(seed: int, global_seed: int) -> list[float]:
        torch.manual_seed(global_seed)
        stepper = Stepper(build(text), seed=seed)
        images, truth = batch(stepper.network, 4)
        if stepper.criterion.truth_size == 24:
            truth = torch.rand(4, 24, generator=torch.Generator().manual_seed(3)).add(0.5)  # an object in every cell
        state = torch.get_rng_state()
        found = [float(stepper.accumulate(images, truth).cost) for _ in range(2)]
        assert torch.equal(torch.get_rng_state(), state)
        return found

    first = costs(0, 1)
    assert first == costs(0, 2) != costs(1, 2)
    assert first[0] != first[1]


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch.compile does so itself
def test_bf16_channels_last_and_compile_give_nearly_the_same(monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    networks = [build(ALL) for _ in range(4)]
    train(networks[0], 2, channels_last=False)
    for network, options, near in zip(
        networks[1:], ({}, {"compile": True}, {"amp": torch.bfloat16}), (1e-5, 1e-5, 0.2), strict=True
    ):
        stepper = train(network, 2, **options)
        assert 0 < largest_difference(network, networks[0]) + 1e-12 < near, options
        assert all(weight.dtype == torch.float32 for weight in network.parameters())
        assert stepper.network.layers[0].conv.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("layer", ["rnn", "gru", "lstm"])
def test_recurrent_networks_train_and_can_carry_their_state(layer):
    text = RNN.format(layer)
    network = build(text)
    stepper = train(network, 3)
    assert (stepper.share.rows, stepper.batch, network.seen) == (6, 3, 18)
    state = stepper.network.recurrent()[0]
    assert state.state is None
    again = build(text)
    again.carry_state()
    stepper = train(again, 3)
    assert largest_difference(again, network) > 1e-4
    resumed = Stepper(build(text))
    resumed.network.carry_state()
    resumed.network.load_state_dict(again.state_dict())
    resumed.load_state_dict(copy.deepcopy(stepper.state_dict()))
    for one in (stepper, resumed):
        go_on(one, 1, first=3)
    assert largest_difference(resumed.network, again) == 0


def test_measuring_in_between_changes_nothing():
    networks = [build(NET + BN + END) for _ in range(2)]
    steppers = [Stepper(network) for network in networks]
    for update in range(2):
        for stepper in steppers:
            go_on(stepper, 1, update)
        networks[1].eval()
        with torch.no_grad():
            networks[1](batch(networks[1], 2)[0])
    assert largest_difference(*networks) == 0


def test_smooth_pulls_outputs_to_their_neighbours():
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    Smoothed.apply(x, 0.5).sum().backward()
    padded = F.pad(x.detach(), (2, 2, 2, 2), value=float("nan"))
    for i in range(4):
        for j in range(6):
            window = padded[:, :, i : i + 5, j : j + 5]
            delta = -1 + 0.5 * (window - x.detach()[:, :, i : i + 1, j : j + 1]).nan_to_num(0).sum((2, 3))
            torch.testing.assert_close(-x.grad[:, :, i, j], delta)


def test_smooth_is_a_key_of_training():
    text = (NET + CONV + END, NET + CONV + "smooth=.1\n" + END)
    plain, smooth, cpu = build(text[0]), build(text[1]), build(text[1])
    for network, options in ((plain, {}), (smooth, {}), (cpu, {"build": "cpu"})):
        train(network, 1, **options)
    assert largest_difference(smooth, plain) > 1e-3
    assert largest_difference(cpu, plain) == 0


def test_gradients_of_dense_layers_are_limited_where_the_gpu_build_does_so():
    dense = Dense(2, 3, "linear", batch_normalize=False)
    dense.initialize(torch.Generator().manual_seed(0))
    weights = torch.tensor([0.5, 3.0, -7.0])
    for which, wanted in ((None, [0.5, 3, -7]), ("cpu", [0.5, 3, -7]), ("gpu", [0.5, 1, -1])):
        dense.build, dense.linear.bias.grad = which, None
        (dense(torch.ones(1, 2)) * weights).sum().backward()
        assert dense.linear.bias.grad.tolist() == wanted


@pytest.mark.parametrize("which", ["gpu", "cpu"])
def test_a_network_follows_a_build_for_as_long_as_it_is_trained(which):
    """What is left behind would change how others train it."""
    network = build(ALL.replace(CONV, f"{CONV}smooth=.1\n", 1))
    convolution, dense = network.layers[0], network.layers[5]
    seen, stepper = [], Stepper(network, build=which)
    convolution.register_forward_hook(lambda *_: seen.append((convolution.build, dense.build)))
    go_on(stepper, 1)
    assert set(seen) == {(which, which)}
    assert (convolution.smooth, convolution.build, dense.build) == (0.1, None, None)
    with pytest.raises(DarknetError, match="the truth for this batch"):
        stepper.accumulate(torch.rand(2, 3, 8, 12), torch.zeros(2, 7))
    assert (convolution.build, dense.build) == (None, None)


def test_batch_normalization_of_one_value_is_an_error():
    network = build(NET.replace("batch=8", "batch=2") + "[connected]\noutput=5\nbatch_normalize=1\n[softmax]\n")
    with pytest.raises(DarknetError, match="larger mini-batches"):
        Stepper(network).accumulate(*batch(network, 1))
