"""What documents say: their blocks of code, and the commands in them."""

from __future__ import annotations

import io
import re
import shlex
import warnings
from argparse import ArgumentParser
from pathlib import Path

import pytest

from darknet_py.cli import VERBS, main
from darknet_py.download import MODELS

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    path for folder in (".", "docs", "weights", "tests/golden") for path in sorted((ROOT / folder).glob("*.md"))
]


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a document in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def shell_lines(path: Path) -> list[str]:
    """The lines of the shell blocks of a document, without comments; a line that goes on below is one."""
    lines = (line for block in blocks(path, "sh") for line in block.replace("\\\n", " ").splitlines())
    return [line.partition(" #")[0].strip() for line in lines]


def commands(path: Path) -> list[str]:
    """Those of them with our command."""
    return [line for line in shell_lines(path) if line.startswith("darknet-py ")]


def verb_of(command: str) -> str:
    words = shlex.split(command)[1:3]
    return " ".join(words) if " ".join(words) in VERBS else words[0]


def sessions(path: Path) -> list[tuple[str, list[str]]]:
    """The commands in the console blocks of a document, each with the lines of output shown below it."""
    parts = [part for block in blocks(path, "console") for part in block.removeprefix("$ ").split("\n$ ")]
    return [(part.splitlines()[0], part.splitlines()[1:]) for part in parts]


def run(command: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a command, which may take a file as its input; what `download` fetches is tested elsewhere."""
    if verb_of(command) == "download":
        return 0 if set(parse(command).names) <= MODELS.keys() else 2
    command, _, source = command.partition(" < ")
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main puts its own there
    if source:
        monkeypatch.setattr("sys.stdin", io.StringIO(Path(source).read_text(encoding="utf-8")))
    return main(shlex.split(command)[1:])


def parse(command: str):
    """The arguments of a command that is not run; wrong ones end the test."""
    verb = verb_of(command)
    parser = ArgumentParser(allow_abbrev=False)
    VERBS[verb].arguments(parser)
    return parser.parse_intermixed_args(shlex.split(command)[1 + len(verb.split()) :])
