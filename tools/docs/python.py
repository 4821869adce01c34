"""docs/python.md: the public names of the package, from their signatures and docstrings."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from types import ModuleType
from typing import Any, Final, ForwardRef

MODULES: Final = (
    "darknet_py",
    "darknet_py.cfg",
    "darknet_py.layers",
    "darknet_py.network",
    "darknet_py.weights",
    "darknet_py.engine",
    "darknet_py.predict.detector",
    "darknet_py.pictures.files",
    "darknet_py.pictures.draw",
    "darknet_py.pictures.video",
    "darknet_py.loss",
    "darknet_py.data",
    "darknet_py.train",
    "darknet_py.evaluate",
    "darknet_py.convert",
    "darknet_py.surgery",
    "darknet_py.check",
    "darknet_py.tree",
    "darknet_py.download",
)
LITERAL: Final = (bool, int, float, str, tuple, type(None))
WIDTH: Final = 116
INTRODUCTION: Final = """\
# Python

<!-- Written by python -m tools.docs from the signatures and docstrings in darknet_py/; do not edit. -->

The public names of the package, module by module. [Recipes](usage.md) show them at work.
"""


@dataclass(frozen=True, repr=False)
class Text:
    """What stands in a signature as it is, without quotes."""

    text: str

    def __repr__(self) -> str:
        return self.text


def document() -> str:
    """The text of docs/python.md."""
    parts = [INTRODUCTION, *(f"- [`{name}`](#{name.replace('.', '')})" for name in MODULES), ""]
    home: dict[Any, str] = {}
    for name in MODULES:
        parts += section(import_module(name), home)
    return "\n".join(parts)


def section(module: ModuleType, home: dict[Any, str]) -> Iterator[str]:
    """A heading, what the module is, and an entry for each of its names; `home` says where a name stood before."""
    yield f"## {module.__name__}\n"
    yield f"{paragraphs(module)[0]}\n"
    constants = []
    for name in public_names(module):
        value = getattr(module, name)
        if not (inspect.isclass(value) or inspect.isfunction(value)):
            constants.append(f"`{name}` ({type(value).__name__})")
        elif value in home:
            yield f"### {name}\n\nAs `{home[value]}`.\n"
        else:
            home[value] = f"{module.__name__}.{name}"
            yield from entry(name, value)
    if constants:
        yield f"Constants: {', '.join(constants)}.\n"


def public_names(module: ModuleType) -> list[str]:
    """The names that a module exports: its `__all__`, or else what it defines itself."""
    own = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    return [name for name in getattr(module, "__all__", own) if not name.startswith("__")]


def entry(name: str, value: Any) -> Iterator[str]:
    """A name with its signature and docstring; a class also with its properties and methods."""
    yield f"### {name}\n\n```python\n{signature(name, value)}\n```\n"
    yield from (f"{text}\n" for text in paragraphs(value))
    if inspect.isclass(value) and (rows := [f"- `{form}`: {text}" for form, text in members(value)]):
        yield "\n".join((*rows, ""))


def members(kind: type) -> Iterator[tuple[str, str]]:
    """The documented properties and methods that a class defines, each with the first paragraph of its docstring."""
    for name, value in vars(kind).items():
        function = getattr(value, "__func__", value)
        if name.startswith("_") or not value.__doc__:
            continue
        if isinstance(value, (property, cached_property)):
            yield name, paragraphs(value)[0]
        elif inspect.isfunction(function):
            yield called(name, function, bound=not isinstance(value, staticmethod))[0], paragraphs(function)[0]


def paragraphs(value: Any) -> list[str]:
    """The paragraphs of a docstring without its examples, each as Markdown."""
    found = (inspect.getdoc(value) or "").replace("``", "`").split("\n\n")
    return [text for text in found if not text.startswith(">>>")]


def signature(name: str, value: Any) -> str:
    """How a function or class is called, a parameter per line if it is long."""
    if inspect.isclass(value) and (issubclass(value, (Exception, enum.Enum)) or not is_made(value)):
        return f"class {name}({', '.join(base.__name__ for base in value.__bases__)})"
    line, parameters, end = called(name, value)
    return line if len(line) <= WIDTH else "\n".join((f"{name}(", *(f"    {text}," for text in parameters), f"){end}"))


def is_made(kind: type) -> bool:
    """Whether a class has a way of its own to be made."""
    return issubclass(kind, tuple) or kind.__init__ is not object.__init__


def called(name: str, value: Any, *, bound: bool = False) -> tuple[str, list[str], str]:
    """How a function or class is called, in a line and in its parts; `bound` leaves out `self`."""
    found = inspect.signature(value)
    parameters = [shown(parameter) for parameter in found.parameters.values()][bound:]
    returned = inspect.Signature.empty if inspect.isclass(value) else annotation(found.return_annotation)
    found = found.replace(parameters=parameters, return_annotation=returned)
    texts = list(map(str, parameters))
    kinds = [parameter.kind for parameter in parameters]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        texts.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    return f"{name}{found}", texts, "" if returned is inspect.Signature.empty else f" -> {returned}"


def shown(parameter: inspect.Parameter) -> inspect.Parameter:
    """A parameter as its source has it; a default that is no literal is three dots."""
    default = parameter.default
    if default is not parameter.empty:
        default = Text(repr(default) if type(default) in LITERAL else "...")
    return parameter.replace(annotation=annotation(parameter.annotation), default=default)


def annotation(value: Any) -> Any:
    """An annotation as its source has it."""
    text = value.__forward_arg__ if isinstance(value, ForwardRef) else value
    return Text(text) if isinstance(text, str) else value
