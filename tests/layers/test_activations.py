"""The fourteen activations and their gradients, against formulas in double precision."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darknet_py.layers.activation import ActivationLayer
from darknet_py.layers.base import Shape
from darknet_py.layers.parts.activations import ACTIVATIONS, IN_PLACE, Activate

Formula = Callable[[np.ndarray], np.ndarray]


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def stair(x: np.ndarray) -> np.ndarray:
    """Flat from an even number to the next odd one, then up by one."""
    return np.where(np.floor(x) % 2 == 0, np.floor(x / 2), x - np.floor(x) + np.floor(x / 2))


FORMULAS: dict[str, Formula] = {
    "logistic": logistic,
    "loggy": lambda x: 2 * logistic(x) - 1,
    "relu": lambda x: np.maximum(x, 0),
    "elu": lambda x: np.where(x >= 0, x, np.expm1(x)),
    "selu": lambda x: np.where(x >= 0, 1.0507 * x, 1.0507 * 1.6732 * np.expm1(x)),
    "relie": lambda x: np.where(x > 0, x, 0.01 * x),
    "plse": lambda x: np.where(x < -4, 0.01 * (x + 4), np.where(x > 4, 0.01 * (x - 4) + 1, 0.125 * x + 0.5)),
    "hardtan": lambda x: np.clip(x, -1, 1),
    "lhtan": lambda x: np.where(x < 0, 0.001 * x, np.where(x > 1, 0.001 * (x - 1) + 1, x)),
    "linear": lambda x: x,
    "ramp": lambda x: np.maximum(x, 0) + 0.1 * x,
    "leaky": lambda x: np.where(x > 0, x, 0.1 * x),
    "tanh": np.tanh,
    "stair": stair,
}
# activations.h computes the gradient from the output y.
GRADIENTS: dict[str, Formula] = {
    "logistic": lambda y: (1 - y) * y,
    "loggy": lambda y: (1 - y**2) / 2,
    "relu": lambda y: 1.0 * (y > 0),
    "elu": lambda y: np.where(y >= 0, 1, y + 1),
    "selu": lambda y: np.where(y >= 0, 1.0507, y + 1.0507 * 1.6732),
    "relie": lambda y: np.where(y > 0, 1, 0.01),
    "plse": lambda y: np.where((y < 0) | (y > 1), 0.01, 0.125),
    "hardtan": lambda y: 1.0 * (np.abs(y) < 1),
    "lhtan": lambda y: np.where((y > 0) & (y < 1), 1, 0.001),
    "linear": np.ones_like,
    "ramp": lambda y: (y > 0) + 0.1,
    "leaky": lambda y: np.where(y > 0, 1, 0.1),
    "tanh": lambda y: 1 - y**2,
    "stair": lambda y: 1.0 * (np.floor(y) != y),
}
KINKS = dict.fromkeys(FORMULAS, ()) | {
    **dict.fromkeys(("relu", "elu", "selu", "relie", "ramp", "leaky"), (0,)),
    "plse": (-4, 4),
    "hardtan": (-1, 1),
    "lhtan": (0, 1),
    "stair": range(-50, 51),
}
each_activation = pytest.mark.parametrize("name", FORMULAS)
values = st.lists(st.floats(-50, 50), min_size=1, max_size=20).map(lambda xs: np.array(xs, np.float64))


def away_from_kinks(name: str, x: np.ndarray) -> np.ndarray:
    near = [np.abs(x - kink) < 1e-3 for kink in KINKS[name]]
    return x[~np.any(near, 0)] if near else x


def test_these_are_all_there_are():
    assert list(ACTIVATIONS) == list(FORMULAS)
    assert IN_PLACE.keys() <= ACTIVATIONS.keys()


@each_activation
@settings(max_examples=40, deadline=None)
@given(x=values)
def test_values_equal_the_formula(name, x):
    np.testing.assert_allclose(ACTIVATIONS[name](torch.from_numpy(x)).numpy(), FORMULAS[name](x), atol=1e-9, rtol=1e-9)


@each_activation
@settings(max_examples=40, deadline=None)
@given(x=values)
def test_gradients_equal_the_formula_of_the_output(name, x):
    x = away_from_kinks(name, x)
    leaf = torch.from_numpy(x).requires_grad_()
    y = Activate(name)(leaf)
    y.sum().backward()
    np.testing.assert_allclose(leaf.grad.numpy(), GRADIENTS[name](y.detach().numpy()), atol=1e-9, rtol=1e-6)


@each_activation
def test_gradients_are_those_of_the_values(name):
    x = away_from_kinks(name, np.linspace(-5.03, 4.97, 101))
    h = 1e-6
    slope = (FORMULAS[name](x + h) - FORMULAS[name](x - h)) / (2 * h)
    np.testing.assert_allclose(GRADIENTS[name](FORMULAS[name](x)), slope, atol=1e-6)


@each_activation
def test_at_kinks_values_are_those_of_the_formula(name):
    x = np.array([-6.0, -4, -3, -2, -1, -0.0, 0, 1, 2, 3, 4, 6])
    np.testing.assert_allclose(ACTIVATIONS[name](torch.from_numpy(x)).numpy(), FORMULAS[name](x), atol=1e-12)


@each_activation
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_large_values_stay_numbers(name, dtype):
    """The C program's tanh, (exp(2x)-1)/(exp(2x)+1), is not a number where exp overflows."""
    x = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4], dtype=dtype, requires_grad=True)
    y = Activate(name)(x)
    y.sum().backward()
    assert y.dtype == dtype
    assert y.isfinite().all()
    assert x.grad.isfinite().all()


@each_activation
def test_only_what_is_owned_is_changed_in_place(name):
    x = torch.linspace(-5, 5, 50)
    expected = Activate(name)(x)
    with torch.no_grad():
        kept = x.clone()
        assert torch.equal(Activate(name, owned=False)(kept), expected)
        assert torch.equal(kept, x)
        layer = ActivationLayer(activation=name).build([Shape(50)]).eval()
        assert torch.equal(layer(kept), expected)
        assert torch.equal(kept, x)
        owned = Activate(name)(kept)
    assert torch.equal(owned, expected)
    assert (owned.data_ptr() == kept.data_ptr()) == (name in IN_PLACE or name == "linear")


def test_an_activation_shows_its_name():
    assert str(Activate("leaky")) == "Activate(leaky)"
