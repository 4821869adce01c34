"""The tree of exceptions in errors.py is the one in the code."""

from __future__ import annotations

import re
from pathlib import Path

import darknet_py.errors

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
