"""Imports point one way, and torch is imported only where it is needed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import darknet_py
from tests.support.places import ROOT

PACKAGE = Path(darknet_py.__file__).parent
DESIGN = ROOT / "docs" / "design.md"
ROW = re.compile(r"(?m)^\d+\. ((?:`\w+`(?:, )?)+)$")
ORDER = [row.replace("`", "").split(", ") for row in ROW.findall(DESIGN.read_text(encoding="utf-8"))] + [["__main__"]]
RANKS = {name: place for place, names in enumerate(ORDER) for name in names}
PURE = ("errors", "files", "devices", "kernels", "charts", "tree", "pictures", "boxes")  # nothing of networks


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


# The package's own __init__ is left out: it imports what is asked for, when it is asked for.
SOURCES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"}


def imports(name: str) -> set[str]:
    """Every module that a module imports anywhere in it; ours without `darknet_py.` before them, but with a dot."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(SOURCES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} has a relative import"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {module for module in inside if module.removeprefix("darknet_py.") in SOURCES}
            found |= modules or {str(node.module)}
    return found


def ours(name: str) -> set[str]:
    return {module.removeprefix("darknet_py.") for module in imports(name) if module.startswith("darknet_py.")}


def room(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


def test_every_room_has_its_place():
    rooms = {room(name) for name in SOURCES}
    assert rooms == RANKS.keys(), "say in docs/design.md where it belongs"
    assert len(RANKS) == sum(map(len, ORDER)) <= 30


@pytest.mark.parametrize("name", SOURCES)
def test_imports_point_one_way(name):
    """A module imports from its own package and the rows before it."""
    others = {room(module) for module in ours(name)} - {room(name)}
    assert not {other for other in others if RANKS[other] >= RANKS[room(name)]}


def test_no_imports_go_in_circles():
    assert tuple(TopologicalSorter({name: ours(name) for name in SOURCES}).static_order())


@pytest.mark.parametrize("name", [name for name in SOURCES if room(name) in PURE])
def test_some_know_nothing_of_networks(name):
    assert {room(module) for module in ours(name)} <= set(PURE)


@pytest.mark.parametrize("name", [name for name in SOURCES if room(name) in ("devices", "tree", "boxes")])
def test_numbers_need_torch_and_numpy_only(name):
    foreign = {module.split(".")[0] for module in imports(name)} - set(sys.stdlib_module_names)
    assert foreign <= {"torch", "numpy", "darknet_py"}


@pytest.mark.parametrize(
    "name", [name for name in SOURCES if room(name) in ("errors", "files", "shipped", "cfg", "download")]
)
def test_texts_need_no_torch(name):
    assert not {module.split(".")[0] for module in imports(name)} & {"torch", "numpy"}


@pytest.mark.parametrize("name", ["darknet_py", "darknet_py.cfg", "darknet_py.cli", "darknet_py.download"])
def test_importing_it_does_not_import_torch(name):
    code = f"import {name}, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)


def test_every_public_name_can_be_imported():
    assert {name for name in darknet_py.__all__ if getattr(darknet_py, name) is None} == set()
    assert dir(darknet_py) == sorted(darknet_py.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        darknet_py.nothing  # noqa: B018
