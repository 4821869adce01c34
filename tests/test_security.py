"""The floors of pyproject.toml are those that SECURITY.md gives reasons for."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
ROW = re.compile(r"^\| ([\w-]+) \| ([\d.]+) \|", re.MULTILINE)
FLOORS = dict(ROW.findall((ROOT / "SECURITY.md").read_text(encoding="utf-8")))


def numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text.partition("+")[0])))


def test_what_is_explained():
    assert FLOORS.keys() == {"torch", "Pillow", "requests", "urllib3"}
    wanted = {"torch": (2, 10), "Pillow": (12, 1, 1), "requests": (2, 33), "urllib3": (2, 6, 3)}
    assert all(numbers(FLOORS[name]) >= least for name, least in wanted.items())


@pytest.mark.parametrize("name", FLOORS)
def test_floors_are_those_of_the_project(name):
    block = re.search(r"^dependencies = \[(.*?)^\]", PROJECT, re.MULTILINE | re.DOTALL)
    stated = dict(re.findall(r'"([\w-]+)>=([\d.]+)"', block[1]))
    assert stated[name] == FLOORS[name]


@pytest.mark.parametrize("name", FLOORS)
def test_what_is_tested_is_not_older(name):
    assert numbers(version(name)) >= numbers(FLOORS[name])


def test_every_tool_means_the_same_python():
    least = re.search(r'requires-python = ">=(3\.\d+)"', PROJECT)[1]
    assert f'python_version = "{least}"' in PROJECT
    assert f'target-version = "py{least.replace(".", "")}"' in PROJECT
