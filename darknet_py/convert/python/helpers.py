"""The functions that a generated file must define: those that its layers and activations call."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, Final

from darknet_py.layers.parts.activations import ACTIVATIONS
from darknet_py.layers.parts.text import HELPERS, helper

_CALLED = re.compile(r"(?<![.\w])(\w+)\(")
_MARK: Final = f"@{helper.__name__}\n"


def definitions(init: str, forward: str) -> list[str]:
    """Source of the functions that these two methods call: makers of modules by name, then others, activations last.

    A file gets only the functions that its network uses.
    """
    makers = sorted(HELPERS.keys() & _CALLED.findall(init))
    called = set(_CALLED.findall(forward))
    steps = sorted((HELPERS.keys() & called).difference(makers))
    functions = [*(HELPERS[name] for name in (*makers, *steps)), *(activations(called))]
    return [inspect.getsource(function).removeprefix(_MARK) for function in functions]


def activations(names: set[str]) -> list[Callable[..., Any]]:
    """Those of the named activations that torch does not have, in the order of their definitions."""
    found = (row.helper for row in ACTIVATIONS.values() if row.name in names)
    return sorted(filter(None, found), key=lambda function: inspect.getsourcelines(function)[1])
