"""Learning rates, as formulas and as get_current_rate of the C program gave them."""

from __future__ import annotations

import math
from contextlib import nullcontext

import pytest
import torch

from darknet_py.errors import CfgError, CfgWarning
from darknet_py.network.graph import Graph
from darknet_py.network.net import POLICIES, Net
from darknet_py.train.schedule import FORMULAS, rate_at


def net(**keys: object) -> Net:
    text = "".join(f"{name}={value}\n" for name, value in keys.items())
    return Graph.parse(f"[net]\nwidth=4\nheight=4\nchannels=3\nlearning_rate=0.1\n{text}[softmax]\n").net


@pytest.mark.parametrize(
    ("keys", "rates"),
    [
        ({"policy": "constant"}, {0: 0.1, 1: 0.1, 10**6: 0.1}),
        (
            {"policy": "step", "step": 10, "scale": 0.5},
            {0: 0.1, 9: 0.1, 10: 0.05, 19: 0.05, 20: 0.025, 101: 0.1 / 1024},
        ),
        ({"policy": "steps", "steps": "3,5", "scales": "10,.01"}, {0: 0.1, 2: 0.1, 3: 1, 4: 1, 5: 0.01, 99: 0.01}),
        ({"policy": "steps", "steps": "5,3", "scales": "10,.01"}, {3: 0.1, 4: 0.1, 5: 0.01}),  # the first ahead counts
        ({"policy": "steps", "steps": "-1,3", "scales": ".1,10"}, {0: 0.1, 1: 0.1, 3: 0.1, 99: 0.1}),
        ({"policy": "steps", "steps": "2,-1,9", "scales": "10,.1,.1"}, {1: 0.1, 2: 1, 9: 1, 10**6: 1}),
        ({"policy": "exp", "gamma": 0.5}, {0: 0.1, 1: 0.05, 4: 0.1 / 16}),
        ({"policy": "poly", "max_batches": 10}, {0: 0.1, 1: 0.1 * 0.9**4, 10: 0, 11: 0}),
        ({"policy": "poly", "max_batches": 10, "power": 0.5}, {5: 0.1 * math.sqrt(0.5), 20: 0}),
        (
            {"policy": "sigmoid", "gamma": 0.1, "step": 20},
            {20: 0.05, 30: 0.1 / (1 + math.e), 10: 0.1 / (1 + 1 / math.e)},
        ),
        ({"policy": "sigmoid", "gamma": 100, "step": 20}, {21: 0, 1000: 0, 0: 0.1}),
        ({"policy": "constant", "burn_in": 4}, {0: 0, 1: 0.1 / 256, 2: 0.1 / 16, 3: 0.1 * 0.75**4, 4: 0.1}),
        ({"policy": "constant", "burn_in": 4, "power": 1}, {1: 0.025, 3: 0.075, 4: 0.1}),
        ({"policy": "constant", "burn_in": 4, "power": -1}, {0: math.inf, 2: 0.2}),
        ({"policy": "poly", "max_batches": 10, "power": -4}, {0: 0.1, 10: math.inf}),
        ({"policy": "exp", "gamma": 10, "burn_in": 4, "power": 1}, {3: 0.075, 4: 1000}),
        ({"policy": "nonsense"}, {7: 0.1}),
    ],
)
def test_policies_give_what_their_formulas_say(keys, rates):
    with pytest.warns(CfgWarning) if keys["policy"] == "nonsense" else nullcontext():
        asked = net(**keys)
    for batch, rate in rates.items():
        assert rate_at(asked, batch) == pytest.approx(rate, rel=1e-6, abs=1e-12)


# Net keys, then batch and rate: from get_current_rate of libdarknet.so
RECORDED = [
    ({"policy": "exp", "gamma": 1.001, "burn_in": 5, "power": 2.5}, 400, 0.14915544),
    ({"policy": "constant", "burn_in": 100}, 18, 0.000104976),
    ({"policy": "poly", "max_batches": 50, "burn_in": 5}, 49, 1.5999939e-08),
    ({"policy": "steps", "steps": "100,265", "scales": "2,0.1", "burn_in": 100}, 27, 0.00053144113),
    ({"policy": "step", "step": 1, "scale": 1.01, "burn_in": 5, "power": 0.7}, 369, 3.9317459),
]


@pytest.mark.parametrize(("keys", "batch", "rate"), RECORDED)
def test_rates_are_those_of_the_c_program(keys, batch, rate):
    assert rate_at(net(**keys), batch) == pytest.approx(rate, rel=5e-6)


def test_every_policy_of_the_cfg_is_known():
    assert {*FORMULAS, "random"} == set(POLICIES)


def test_random_rates_follow_from_the_generator():
    asked = net(policy="random", power=2)
    rates = [rate_at(asked, 5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert rates[0] == rates[1] != rates[2]
    generator = torch.Generator().manual_seed(0)
    many = [rate_at(asked, 5, generator) for _ in range(2000)]
    assert 0 <= min(many) < 0.001
    assert 0.099 < max(many) <= 0.1
    assert sum(many) / len(many) == pytest.approx(0.1 / 3, rel=0.1)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"policy": "poly"}, "max_batches"),
        ({"policy": "step", "step": 0}, "step of at least 1"),
        ({"policy": "steps", "steps": "1,2", "scales": ".1"}, "2 steps and 1 scales"),
    ],
)
def test_policies_without_their_keys_are_errors_with_a_place(keys, says):
    with pytest.raises(CfgError, match=says) as caught:
        rate_at(net(**keys), 10)
    assert caught.value.where == ("<cfg>", 1)


def test_no_rate_overflows():
    assert rate_at(net(policy="exp", gamma=10), 10**6) == math.inf
    assert rate_at(net(policy="sigmoid", gamma=-100, step=5), 10**6) == pytest.approx(0.1)


def test_the_official_schedule_that_never_starts():
    """yolov2-tiny-voc.cfg: get_current_rate compares -1 without a sign, and so never goes past it."""
    asked = net(policy="steps", steps="-1,100,20000,30000", scales=".1,10,.1,.1")
    assert {rate_at(asked, batch) for batch in (0, 1, 100, 20_000, 40_000)} == {0.1}
