"""Write docs/layers.md: every section of a cfg and its keys, from the declarations in the code.

python -m tools.make_layer_docs             write the file
python -m tools.make_layer_docs --check     say with exit code 1 that the file is not what would be written
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from darknet_py.cfg.keys import fields_of
from darknet_py.layers import REGISTRY, Layer
from darknet_py.layers.parts.activations import ACTIVATIONS, activation_name
from darknet_py.network.net import NAMES, Net

TARGET = Path(__file__).parents[1] / "docs" / "layers.md"
INTRODUCTION = """\
# Sections and keys

<!-- Written by tools/make_layer_docs.py from the declarations in darknet_py/; do not edit. -->

A cfg is a `[net]` section and a section for every layer, in order. Each key that a section can have is here; others
are passed over with a warning. Numbers are read as C's `atoi` and `atof` read them: what follows the number does not
count. Under *default* stands what a key is where it is not given; a dash is nothing, or what the meaning says.
"""
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
    parts += [f"| `{name}` | {activation.formula} |" for name, activation in ACTIVATIONS.items()]
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
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
    yield ""


def type_of(field: dataclasses.Field[Any]) -> str:
    """What the key takes: the docstring of its parser."""
    parse = field.metadata["parse"]
    if parse is activation_name:
        return "one of the [activations](#activations)"
    text = str(parse.__doc__).strip().rstrip(".")
    return f"{text[:1].lower()}{text[1:]}"


def default_of(field: dataclasses.Field[Any]) -> str:
    """What the key is where it is not given, as it would stand in a cfg."""
    value = field.default
    if value is dataclasses.MISSING:
        return "needed"
    if value is None or value == ():
        return "-"
    return f"`{value:g}`" if isinstance(value, (bool, int, float)) else f"`{value}`"


def main(arguments: list[str] | None = None) -> int:
    """Write or compare the file; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where the file is not current")
    parser.add_argument("path", nargs="?", type=Path, default=TARGET, help="another file than docs/layers.md")
    options = parser.parse_args(arguments)
    text = document()
    if options.check:
        current = options.path.exists() and options.path.read_text(encoding="utf-8") == text
        if not current:
            print(f"{options.path} is not current: run python -m tools.make_layer_docs")
        return 0 if current else 1
    options.path.parent.mkdir(parents=True, exist_ok=True)
    options.path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
