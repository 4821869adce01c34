"""Writes values as sections, and sections as text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from darknet_py.cfg.keys import fields_of, quiet, read
from darknet_py.cfg.section import Entry, Section

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def dumps(sections: Iterable[Section]) -> str:
    """The cfg text of sections; parsing it gives the same types, keys and values (comments are not kept).

    Blanks inside values stay, for some values are names of files.
    """
    blocks = (
        "\n".join((f"[{section.type}]", *(f"{entry.key}={entry.original}" for entry in section.entries)))
        for section in sections
    )
    return "\n\n".join(blocks) + "\n"


def updated(section: Section, values: DataclassInstance) -> Section:
    """The section with the values of a schema's instance where it says others; a value that is the default goes."""
    said = read(type(values), section, report=quiet, where=section.where)
    for name, field in fields_of(type(values)).items():
        value = getattr(values, field.name)
        if value != getattr(said, field.name):
            section = _with(section, name, "" if value == field.default else _text(value))
    return section


def _with(section: Section, key: str, text: str) -> Section:
    """The section with one entry of that key, in its place or else the first; with none where the text is empty."""
    old = section.find(key)
    others = tuple(entry for entry in section.entries if entry.key != key)
    if not text:
        return replace(section, entries=others)
    new = Entry(key, text, section.where if old is None else old.where)
    place = 0 if old is None else section.entries.index(old)
    return replace(section, entries=(*others[:place], new, *others[place:]))


def _text(value: object) -> str:
    """A value as keys are read."""
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return str(int(value)) if isinstance(value, bool) else str(value)
