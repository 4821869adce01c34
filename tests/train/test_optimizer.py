"""The optimizers against what the C program's update functions say, value by value."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from darknet_py.errors import CfgError
from darknet_py.train import Stepper
from darknet_py.train.optimizer import DarknetAdam, DarknetSGD, optimizer_of
from tests.support.networks import ALL, BN, CONV, END, NET, batch, build, stored

DECAY, MOMENTUM, RATE, ROWS = 0.01, 0.9, 0.1, 8
SCALES = {1: 0.5, 4: 2.0}  # learning_rate of the layers of ALL


def is_weight(name: str) -> bool:
    return name in ("conv.weight", "linear.weight", "weight")


def slow_sgd(w: float, deltas: list[float], rate: float, decay: float) -> float:
    """update_convolutional_layer_gpu without adam: deltas are minus the gradients, a sum a batch."""
    update = 0.0
    for delta in deltas:
        update += delta
        update += -decay * ROWS * w
        w += rate / ROWS * update
        update *= MOMENTUM
    return w


def slow_adam(w: float, deltas: list[float], rate: float) -> float:
    """adam_update_gpu."""
    b1, b2, eps, m, v = 0.9, 0.999, 1e-7, 0.0, 0.0
    for t, delta in enumerate(deltas, 1):
        d = delta - DECAY * ROWS * w
        m, v = b1 * m + (1 - b1) * d, b2 * v + (1 - b2) * d * d
        w += rate * (m / (1 - b1**t)) / (math.sqrt(v / (1 - b2**t)) + eps)
    return w


@pytest.mark.parametrize("adam", [False, True])
def test_values_follow_the_c_program_one_by_one(adam):
    network = build(ALL.replace("[net]\n", f"[net]\nadam={int(adam)}\n"))
    optimizer = optimizer_of(network)
    assert type(optimizer) is (DarknetAdam if adam else DarknetSGD)
    before, steps = stored(network), 3
    generator = torch.Generator().manual_seed(1)
    grads = {name: [torch.randn(w.shape, generator=generator) for _ in range(steps)] for name, w in before.items()}
    for step in range(steps):
        for node in network.graph.nodes:
            for blob in node.blobs:
                if blob.learned:
                    network.stored(node.index, blob).grad = grads[node.index, blob.name][step]
        optimizer.step()
    for (index, name), after in stored(network).items():
        learned = "running" not in name and index != 2  # [batchnorm] is not updated
        old, deltas = before[index, name].flatten(), [-grad.flatten() for grad in grads[index, name]]
        for place in range(0, old.numel(), max(1, old.numel() // 7)):
            row, rate = [float(delta[place]) for delta in deltas], RATE * SCALES.get(index, 1)
            wanted = float(old[place])
            if learned and adam and index != 4:  # local has no adam
                wanted = slow_adam(wanted, row, rate)
            elif learned:
                wanted = slow_sgd(wanted, row, rate, DECAY if is_weight(name) else 0.0)
            assert float(after.flatten()[place]) == pytest.approx(wanted, rel=1e-4, abs=1e-6), (index, name)


def test_layers_cut_off_by_stopbackward_still_decay():
    network = build(NET + CONV + CONV + "stopbackward=1\n" + END)
    stepper, before = Stepper(network), stored(network)
    stepper.share = stepper.share.__class__(1, 8)
    for _ in range(2):
        stepper.accumulate(*batch(network, 8))
        stepper.update()
    after = stored(network)
    for index in (0, 1):
        assert torch.equal(after[index, "conv.bias"], before[index, "conv.bias"])
        wanted = [slow_sgd(w, [0, 0], RATE, DECAY) for w in before[index, "conv.weight"].flatten().tolist()]
        assert after[index, "conv.weight"].flatten().tolist() == pytest.approx(wanted, rel=1e-5)
    assert not torch.equal(after[2, "conv.bias"], before[2, "conv.bias"])


def test_clip_limits_weights_of_convolutions_alone():
    network = build(ALL.replace("[net]\n", "[net]\nclip=.05\n"))
    optimizer = DarknetSGD(network)
    optimizer.step()
    after = stored(network)
    limited = {place for place, values in after.items() if 0 < values.abs().max() <= 0.05 + 1e-7}
    assert limited == {(0, "conv.weight"), (1, "conv.weight")}


@pytest.mark.parametrize("adam", [0, 1])
def test_a_saved_state_goes_on(adam):
    networks = [build(f"{NET}adam={adam}\n{BN}{END}") for _ in range(3)]
    whole, first, second = map(optimizer_of, networks)

    def step(at: int, optimizer: DarknetSGD, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for weight in networks[at].parameters():
            weight.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step()

    step(0, whole, 1)
    step(0, whole, 2)
    step(1, first, 1)
    networks[2].load_state_dict(networks[1].state_dict())
    second.load_state_dict(first.state_dict())
    step(2, second, 2)
    for mine, wanted in zip(networks[2].parameters(), networks[0].parameters(), strict=True):
        assert torch.equal(mine, wanted)


@pytest.mark.parametrize(("key", "value"), [("B1", 1), ("B2", 1), ("B1", -0.5), ("B2", 2)])
def test_adam_divides_by_no_zero(key, value):
    with pytest.raises(CfgError, match=rf"\[net\] {key}={value:g}: Adam needs 0 or more, and less than 1$"):
        Stepper(build(f"{NET}adam=1\n{key}={value}\n{CONV}{END}"))


def test_a_closure_is_called():
    network = build(NET + CONV + END)
    assert DarknetSGD(network).step(lambda: 3.5) == 3.5


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_and_velocities_in_another_order_give_the_same(layout):
    networks = [build(NET + BN + CONV + END) for _ in range(2)]
    networks[1].to(memory_format=layout)
    first, second = map(DarknetSGD, networks)
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        for one, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()  # with channels_last not in the order of the weights
        first.step()
        second.step()
        if step == 0:
            second.load_state_dict(copy.deepcopy(first.state_dict()))
    for one, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
    wanted = networks[1].layers[0].conv.weight.stride()
    assert second.state[networks[1].layers[0].conv.weight]["velocity"].stride() == wanted
