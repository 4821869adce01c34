"""docs/layers.md: every section of a cfg and its keys, from the declarations in the code."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Final

from darknet_py.cfg.keys import fields_of
from darknet_py.layers import REGISTRY, Layer
from darknet_py.layers.parts.activations import ACTIVATIONS, activation_name
from darknet_py.network.net import NAMES, Net

INTRODUCTION: Final = """\
# Sections and keys

<!-- Written by python -m tools.docs from the declarations in darknet_py/; do not edit. -->

A cfg is a `[net]` section followed by one section per layer, in order. These are all the keys that a section may have;
any other key is ignored with a warning. Numbers are read as C's `atoi` and `atof` read them: text after the number is
ignored. *Default* is the value of a key that is not given; a dash means none, or what the meaning says.
"""
BAR: Final = r"\|"  # a bar inside a cell
Fields = Mapping[str, dataclasses.Field[Any]]


def document() -> str:
    """The text of docs/layers.md."""
    layers = sorted({layer.type: layer for layer in REGISTRY.values()}.items())
    common = fields_of(Layer)
    parts = [INTRODUCTION, *section(NAMES, Net, fields_of(Net))]
    for _, layer in layers:
        names = tuple(name for name, known in REGISTRY.items() if known is layer)
        own = {name: field for name, field in fields_of(layer).items() if name not in common}
        parts += section(names, layer, own)
    parts += ["## Keys of every layer\n", *table(common)]
    parts += ["## Activations\n", "| activation | of x |\n|---|---|"]
    parts += [row(f"`{name}`", activation.formula) for name, activation in ACTIVATIONS.items()]
    parts.append("")
    return "\n".join(parts)


def section(names: tuple[str, ...], schema: type[Layer | Net], fields: Fields) -> Iterator[str]:
    """A heading, what the section is, and its keys."""
    name, *aliases = names
    yield f"## [{name}]\n"
    if aliases:
        yield f"Also {', '.join(f'`[{alias}]`' for alias in aliases)}.\n"
    paragraph = (inspect.getdoc(schema) or "").split("\n\n")[0]
    yield f"{' '.join(paragraph.split()).replace('``', '`')}\n"
    yield from table(fields)


def table(fields: Fields) -> Iterator[str]:
    """The keys as rows."""
    if not fields:
        yield "No keys of its own.\n"
        return
    yield "| key | type | default | meaning |\n|---|---|---|---|"
    for name, field in fields.items():
        cells = (f"`{name}`", type_of(field), default_of(field), field.metadata["doc"])
        yield row(*cells)
    yield ""


def row(*cells: str) -> str:
    """A row of a table."""
    return f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |"


def type_of(field: dataclasses.Field[Any]) -> str:
    """What the key takes: the docstring of its parser."""
    parse = field.metadata["parse"]
    if parse is activation_name:
        return "one of the [activations](#activations)"
    text = str(parse.__doc__).strip().rstrip(".")
    return f"{text[:1].lower()}{text[1:]}"


def default_of(field: dataclasses.Field[Any]) -> str:
    """The value of a key that is not given, as a cfg would write it."""
    value = field.default
    if value is dataclasses.MISSING:
        return "needed"
    if value is None or value == ():
        return "-"
    return f"`{value:g}`" if isinstance(value, (bool, int, float)) else f"`{value}`"
