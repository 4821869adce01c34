"""Imports point one way, and torch is imported only where it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import darknet_py

PACKAGE = Path(darknet_py.__file__).parent
ORDER = (
    {"errors"},
    {"cpu", "gpu", "locks", "memory", "modules", "overlaps", "signatures", "suppress"},
    {"cfg", "charts", "files", "shipped", "transfer", "boxes", "tree", "kinds", "labelsets", "image"},
    {"arrow", "opening", "picture"},
    {"layers", "download", "draw", "video", "camera"},
    {"net"},
    {"graph"},
    {"network", "summary", "layout", "naming"},
    {"engine"},
    {"fitting", "pipeline", "lists"},
    {"weights", "loss", "decode", "detect", "frames", "classify"},
    {"model", "data", "train", "evaluate", "convert", "anchors", "joint", "surgery", "check"},
    {"cli"},
    {"__main__"},
)
RANKS = {name: place for place, names in enumerate(ORDER) for name in names}
PURE = {
    f"darknet_py.{name}" for name in ("boxes", "cpu", "errors", "files", "gpu", "image", "overlaps", "suppress", "tree")
}


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


def rank(name: str) -> int:
    return RANKS.get(name.split(".", maxsplit=1)[0], 0)


def test_every_module_has_its_place():
    new = {name.split(".")[0] for name in SOURCES} - RANKS.keys()
    assert not new, "say in ORDER where they belong"


@pytest.mark.parametrize("name", SOURCES)
def test_imports_point_one_way(name):
    assert not {module for module in ours(name) if rank(module) > rank(name)}


def test_no_imports_go_in_circles():
    assert tuple(TopologicalSorter({name: ours(name) for name in SOURCES}).static_order())


@pytest.mark.parametrize("name", ["boxes", "cpu", "gpu", "overlaps", "suppress", "tree", "image"])
def test_pure_functions_need_nothing_of_the_rest(name):
    foreign = {module.split(".")[0] for module in imports(name) - PURE} - set(sys.stdlib_module_names)
    assert foreign <= {"torch", "numpy"}


@pytest.mark.parametrize("name", [name for name in SOURCES if name.split(".")[0] in ("errors", "shipped", "cfg")])
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
