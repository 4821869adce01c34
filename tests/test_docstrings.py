"""Every public function that takes a tensor says of which shape."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import pytest

import darknet_py

PACKAGE = Path(darknet_py.__file__).parent
SOURCES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}
# (N, C, H, W), (..., 4), (M, classes + 1), (N,), (...), or words for any shape and for one value
SIZE = r"(?:[A-Z](?:_\w)?|[a-z_]+|\d+|\([a-z_]+ \+ \d\))"
DIMENSION = rf"(?:\.\.\.|{SIZE}(?: ?[-+*/] ?{SIZE})*)"
SHAPE = re.compile(rf"\({DIMENSION}(?:, ?{DIMENSION})+\)|\((?:[A-Z0-9],?|\.\.\.)\)|of any shape|of one value")
TENSOR = re.compile(r"\bTensor\b")
CALLABLE = re.compile(r"Callable\[\[.*?\], [^\]]*\]")  # which takes its tensor itself


def public_functions(node: ast.AST, said: str = "", prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef, str]]:
    """The functions and methods of a module that others call, each with the docstrings around it."""
    said = f"{said}\n{ast.get_docstring(node) or ''}"
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from public_functions(child, said, f"{prefix}{child.name}.")
        elif isinstance(child, ast.FunctionDef) and not child.name.startswith("_"):
            yield f"{prefix}{child.name}", child, said


def takes_a_tensor(function: ast.FunctionDef) -> bool:
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg]
    kinds = [CALLABLE.sub("", ast.unparse(arg.annotation)) for arg in every if arg and arg.annotation]
    return any(map(TENSOR.search, kinds))


def texts(path: Path) -> Iterator[tuple[str, str]]:
    """Each public function with a tensor: its docstrings, those around it, and the comments beside its signature."""
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    for name, function, around in public_functions(ast.parse(source)):
        if takes_a_tensor(function):
            comments = [line.partition("#")[2] for line in lines[function.lineno - 1 : function.body[0].lineno]]
            own = ast.get_docstring(function) or inherited(path, name)
            yield name, "\n".join((around, own, *comments))


def inherited(path: Path, name: str) -> str:
    """The docstring of a method that has none of its own."""
    module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    return inspect.getdoc(attrgetter(name)(import_module(module))) or ""


@pytest.mark.parametrize("name", SOURCES)
def test_functions_that_take_a_tensor_say_its_shape(name):
    assert [function for function, text in texts(SOURCES[name]) if not SHAPE.search(text)] == []
