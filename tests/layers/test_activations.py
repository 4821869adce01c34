"""Every activation against a formula in double precision, which is all that a new one needs here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darknet_py.layers.activation import ActivationLayer
from darknet_py.layers.base import Shape
from darknet_py.layers.parts.activations import ACTIVATIONS, Activate
from tools.docs.layers import document

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
each_activation = pytest.mark.parametrize("name", ACTIVATIONS)
values = st.lists(st.floats(-50, 50), min_size=1, max_size=20).map(lambda xs: np.array(xs, np.float64))


def away_from_kinks(formula: Formula, x: np.ndarray, h: float = 1e-3) -> np.ndarray:
    """The places where a formula rises alike to the left and to the right."""
    left, right = formula(x) - formula(x - h), formula(x + h) - formula(x)
    return x[np.abs(right - left) < 1e-2 * h]


@each_activation
@settings(max_examples=40, deadline=None)
@given(x=values)
def test_values_equal_the_formula(name, x):
    found = ACTIVATIONS[name].function(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, FORMULAS[name](x), atol=1e-9, rtol=1e-9)


@each_activation
@settings(max_examples=40, deadline=None)
@given(x=values)
def test_gradients_are_those_of_the_formula(name, x):
    formula, h = FORMULAS[name], 1e-6
    x = away_from_kinks(formula, x)
    leaf = torch.from_numpy(x).requires_grad_()
    Activate(name)(leaf).sum().backward()
    np.testing.assert_allclose(leaf.grad.numpy(), (formula(x + h) - formula(x - h)) / (2 * h), atol=1e-6)


@each_activation
def test_most_places_have_a_gradient_to_compare(name):
    x = np.linspace(-5.03, 4.97, 101)
    assert len(away_from_kinks(FORMULAS[name], x)) > 95


@each_activation
def test_at_kinks_values_are_those_of_the_formula(name):
    x = np.array([-6.0, -4, -3, -2, -1, -0.0, 0, 1, 2, 3, 4, 6])
    np.testing.assert_allclose(ACTIVATIONS[name].function(torch.from_numpy(x)).numpy(), FORMULAS[name](x), atol=1e-12)


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
    assert (owned.data_ptr() == kept.data_ptr()) == (ACTIVATIONS[name].in_place is not None or name == "linear")


@each_activation
def test_a_slope_is_all_there_is_to_it(name):
    x = torch.linspace(-5, 5, 50)
    slope = ACTIVATIONS[name].slope
    if slope is not None:
        torch.testing.assert_close(Activate(name)(x), torch.where(x > 0, x, slope * x))


@each_activation
def test_the_list_of_sections_and_keys_has_its_formula(name):
    assert f"| `{name}` | {ACTIVATIONS[name].formula} |" in document()


def test_an_activation_shows_its_name():
    assert str(Activate("leaky")) == "Activate(leaky)"
