"""The tree of exceptions in errors.py is the one in the code."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import darknet_py.errors
from darknet_py.data import DataWarning
from darknet_py.errors import (
    MESSAGE,
    CfgError,
    CfgWarning,
    DarknetError,
    Location,
    WeightsError,
    is_out_of_memory,
    memory_errors,
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
    """Those of `Exception` itself, but for the root, are signals inside a room that no caller sees."""
    texts = (path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    classes = dict(found for text in texts for found in CLASS.findall(text))
    assert drawn() == {name: above for name, above in classes.items() if above != "Exception" or name == "DarknetError"}


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


@pytest.mark.parametrize(
    "ask",
    [
        lambda: torch.empty(1 << 50, dtype=torch.float32),
        lambda: np.empty(1 << 50),
        lambda: bytearray(1 << 60),
        lambda: raised(OSError(errno.ENOMEM, "Cannot allocate memory")),
        lambda: raised(RuntimeError("can't start new thread")),
        lambda: raised(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 8 GiB")),
    ],
)
def test_memory_that_is_not_there_is_one_line(ask):
    with (
        pytest.raises(DarknetError, match=r"^there is not enough memory for 3 pictures.*; take less$") as caught,
        memory_errors("3 pictures", "take less"),
    ):
        ask()
    assert "\n" not in str(caught.value)


def test_the_size_that_was_asked_for_is_said():
    with pytest.raises(DarknetError, match=r"a list, of which 4503599627370496 bytes were asked for last$"), (
        memory_errors("a list")
    ):  # fmt: skip
        torch.empty(1 << 50, dtype=torch.float32)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), OSError(errno.ENOENT, "no file"), KeyError("a")])
def test_other_errors_stay_what_they_are(error):
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)) as caught, memory_errors("3 pictures"):
        raise error
    assert caught.value is error


def raised(error):
    raise error
