"""The tree of exceptions in errors.py is the one in the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import darknet_py.errors
from darknet_py.data import DataWarning
from darknet_py.errors import (
    MESSAGE,
    CfgError,
    CfgWarning,
    DarknetError,
    Location,
    WeightsError,
    shown,
)  # fmt: skip

PACKAGE = Path(darknet_py.errors.__file__).parent
CLASS = re.compile(r"^class ([A-Z]\w*(?:Error|Warning))\((\w+)\)", re.MULTILINE)
LINE = re.compile(r"([ ─│├└]*)(\w+(?:Error|Warning))\b(?: \((\w+)\))?")


def drawn() -> dict[str, str]:
    """Of every class in the docstring, the class above it; each level is four columns further in."""
    text = (darknet_py.errors.__doc__ or "").partition("::\n")[2]
    above: list[str] = []
    parents = {}
    for line in text.splitlines():
        if (match := LINE.match(line.removeprefix("    "))) is not None:
            level, name = len(match[1]) // 4, match[2]
            parents[name] = above[level - 1] if level else match[3] or "Exception"
            above[level:] = [name]
    return parents


def test_every_class_is_in_it():
    texts = (path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    assert drawn() == dict(found for text in texts for found in CLASS.findall(text))


@pytest.mark.parametrize("kind", [DarknetError, CfgError, WeightsError, CfgWarning, DataWarning])
def test_a_message_is_one_line_that_a_terminal_can_take(kind: type[Exception]):
    message = str(kind("a\x1b]0;owned\x07\nb\x9b\x7f" + "é" * 10_000))
    assert message.startswith(r"a\x1b]0;owned\x07\nb\x9b\x7fé")
    assert len(message) == MESSAGE


def test_the_ends_of_long_text_are_shown():
    assert shown("a" * 100 + "b" * 100, 30) == "a" * 10 + "..." + "b" * 17
    assert shown("a\tb", 60) == r"a\tb"
    assert shown("café", 4) == "café"


def test_an_error_keeps_its_place_as_it_is():
    error = CfgError("no", Location("a\x1bb", 3))
    assert error.where == Location("a\x1bb", 3)
    assert str(error) == r"a\x1bb:3: no"
