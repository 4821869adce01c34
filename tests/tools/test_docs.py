"""The documents that follow from the code say what it declares."""

from __future__ import annotations

import itertools
import re

import pytest

import darknet_py
from darknet_py.cfg.keys import fields_of
from darknet_py.cli import VERBS
from darknet_py.layers import REGISTRY
from darknet_py.network.net import Net
from tools.docs import __main__ as tool
from tools.docs import commands, layers, python

BAR = re.compile(r"(?<!\\)\|")


@pytest.mark.parametrize("name", tool.DOCUMENTS)
def test_the_file_is_current(name):
    current = (tool.FOLDER / name).read_text(encoding="utf-8")
    assert current == tool.DOCUMENTS[name](), "run python -m tools.docs"


def test_every_section_and_key_is_in_it():
    text = layers.document()
    for name in ("net", "network", *REGISTRY):
        assert f"[{name}]" in text
    for schema in (Net, *REGISTRY.values()):
        for key, field in fields_of(schema).items():
            assert any(
                line.startswith(f"| `{key}` | ") and line.endswith(f" | {field.metadata['doc']} |")
                for line in text.splitlines()
            )


def test_every_command_and_each_of_its_options_is_in_it():
    text = commands.document()
    sections = dict(re.findall(r"^### (.*)\n((?:(?!##).*\n)*)", text, re.MULTILINE))
    assert sections.keys() == VERBS.keys()
    for name, verb in VERBS.items():
        for option in commands.options_of(commands.parser_of(name, verb)):
            assert f"`{option.name}`" in sections[name] or f"`{option.spelling}`" in sections[name]
            assert f"| `{option.spelling}` | {option.text.replace('|', layers.BAR)} |" in text


def test_every_public_name_is_in_it():
    names = re.findall(r"^### (.*)$", python.document(), re.MULTILINE)
    assert {name for name in darknet_py.__all__ if not name.startswith("__")} <= set(names)
    assert "0x" not in python.document()


@pytest.mark.parametrize("name", tool.DOCUMENTS)
def test_no_row_of_a_table_is_broken(name):
    lines = tool.DOCUMENTS[name]().splitlines()
    for above, line in itertools.pairwise(lines):
        if above.startswith("|") and line.startswith("|"):
            assert len(BAR.findall(above)) == len(BAR.findall(line))


def test_check_compares_and_writes_nothing(tmp_path, capsys):
    folder = tmp_path / "docs"
    assert tool.main(["--check", str(folder)]) == 1
    assert capsys.readouterr().out.count("is not current: run python -m tools.docs\n") == len(tool.DOCUMENTS)
    assert not folder.exists()
    assert tool.main([str(folder)]) == 0
    assert tool.main(["--check", str(folder)]) == 0
    with (folder / "layers.md").open("a") as file:
        file.write("x")
    assert tool.main(["--check", str(folder)]) == 1
    assert capsys.readouterr().out.count("\n") == 1
