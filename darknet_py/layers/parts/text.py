"""Writes layers as source text, and registers the functions that this text calls besides torch's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from darknet_py.layers.base import Place

Lines = list[str]  # statements, and last the expression of the output
F = TypeVar("F", bound=Callable[..., Any])
HELPERS: Final[dict[str, Callable[..., Any]]] = {}  # by name


def helper(function: F) -> F:
    """Register a function that source text may call.

    Its definition is copied into generated files, so it may use only torch, and lines of 88 characters at most. Raises
    `ValueError` for a name that is taken.
    """
    name = function.__name__
    if name in HELPERS:
        raise ValueError(f"source text can call another {name}() already")
    HELPERS[name] = function
    return function


def call(function: str, *arguments: object, **options: object) -> str:
    """The text of a call."""
    return f"{function}({', '.join([*map(str, arguments), *(f'{name}={value}' for name, value in options.items())])})"


def flat(place: Place, x: str) -> str:
    """The first input, the expression `x`, as a row."""
    return f"{x}.flatten(1)" if place.inputs[0].is_image else x


def other_than(default: float, **options: float) -> dict[str, float]:
    """The options whose value is not the default."""
    return {name: value for name, value in options.items() if value != default}


def parts_of(expressions: Sequence[str]) -> Lines:
    """Statements that make a tuple called `parts`, on one line if it fits."""
    joined = ", ".join(expressions)
    if len(joined) <= 68:
        return [f"parts = ({joined})"]
    return ["parts = (", *(f"    {expression}," for expression in expressions), ")"]
