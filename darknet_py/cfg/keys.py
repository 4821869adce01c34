"""Typed keys: a section's dataclass declares each key once, with its type, its default and a line of documentation.

Numbers are read as C's atoi and atof read them: the longest prefix that is a number counts, so `3.7` is the integer
3 and `40#32` is 40. Where C would go on with 0 because there is no number at all, `CfgError` says so.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from darknet_py.cfg.places import file_of
from darknet_py.cfg.section import Entry, Section
from darknet_py.errors import CfgError, CfgWarning, Location

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
D = TypeVar("D", bound="DataclassInstance")
Complain = Callable[[str], None]
Parser = Callable[[str, Complain], T]

_INTEGER = re.compile(r"([+-]?)0*(\d{1,12})", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_REQUIRED: Any = object()


def key(parse: Parser[Any], default: Any = _REQUIRED, doc: str = "", *, name: str | None = None) -> Any:
    """Declare a key of a section as a dataclass field; without `default` the key must be given."""
    metadata = {"parse": parse, "doc": doc, "name": name}
    if default is _REQUIRED:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def integer(text: str, _complain: Complain | None = None) -> int:
    """An integer."""
    match = _INTEGER.match(text)
    if match is None:
        raise ValueError("an integer")
    value = int("".join(match.groups()))
    if not -(2**31) <= value < 2**31:
        raise ValueError("an integer of 32 bits")
    return value


def number(text: str, _complain: Complain | None = None) -> float:
    """A number."""
    match = _NUMBER.match(text)
    if match is None or not math.isfinite(value := float(match.group())):
        raise ValueError("a finite number")
    return value


def flag(text: str, _complain: Complain | None = None) -> bool:
    """0 or 1."""
    return integer(text) != 0


def string(text: str, _complain: Complain | None = None) -> str:
    """Text."""
    return text


def file_name(text: str, _complain: Complain | None = None) -> str:
    """The name of a file."""
    return text


def at_least(minimum: int) -> Parser[int]:
    """An integer not below `minimum`."""

    def parse(text: str, _complain: Complain | None = None) -> int:
        if (value := integer(text)) < minimum:
            raise ValueError(f"an integer not below {minimum}")
        return value

    parse.__doc__ = f"An integer not below {minimum}."
    return parse


natural = at_least(0)
positive = at_least(1)


def list_of(item: Parser[T]) -> Parser[tuple[T, ...]]:
    """Several values with commas between them."""

    def parse(text: str, complain: Complain) -> tuple[T, ...]:
        items = text.split(",")
        if not items[-1]:
            complain("the comma at the end is ignored; Darknet would read a further 0 after it")
            items.pop()
        return tuple(item(part, complain) for part in items)

    each = item.__doc__ or ""
    parse.__doc__ = f"Values with commas between them, each {each[:1].lower()}{each[1:]}"
    return parse


def one_of(choices: Mapping[str, Any] | Iterable[str], fallback: str | None = None) -> Parser[str]:
    """A word out of `choices`; for others Darknet falls back to `fallback`, and so does this, with a warning."""
    words = tuple(choices)

    def parse(text: str, complain: Complain) -> str:
        if text in words:
            return text
        if fallback is None:
            raise ValueError(f"one of {', '.join(words)}")
        complain(f"{text[:60]!r} is not one of {', '.join(words)}; {fallback!r} is taken, as Darknet does")
        return fallback

    parse.__doc__ = f"One of {', '.join(words)}."
    return parse


def fields_of(schema: type[DataclassInstance]) -> dict[str, dataclasses.Field[Any]]:
    """The keys a schema declares, by their names in the cfg."""
    return {f.metadata["name"] or f.name: f for f in dataclasses.fields(schema) if "parse" in f.metadata}


def read(schema: type[D], section: Section, *, strict: bool = False, **extra: Any) -> D:
    """Fill a schema from a section.

    Raises `CfgError` for a value that does not parse and a required key that is missing; warns about unknown and
    repeated keys, or raises for them too where `strict`.
    """
    known = fields_of(schema)
    values: dict[str, Any] = dict(extra)
    first = {entry.key: entry for entry in reversed(section.entries)}
    for entry in section.entries:
        if entry.key not in known:
            report(
                f"[{section.type}] has no key {entry.key[:60]!r}{nearest(entry.key, known)}", entry.where, strict=strict
            )
        elif first[entry.key] is not entry:
            line = first[entry.key].where.line
            report(f"{str(entry)[:60]} is ignored: {entry.key!r} was given in line {line}", entry.where, strict=strict)
        else:
            values[known[entry.key].name] = parse_entry(known[entry.key].metadata["parse"], entry, section, strict)
    for name, field in known.items():
        if field.name not in values and field.default is dataclasses.MISSING:
            raise CfgError(f"[{section.type}] needs the key {name!r}", section.where)
    return schema(**values)


def parse_entry(parse: Parser[T], entry: Entry, section: Section, strict: bool = False) -> T:
    """The value of one entry, or `CfgError` that says what was expected."""

    def complain(problem: str) -> None:
        report(f"[{section.type}] {entry.key}: {problem}", entry.where, strict=strict)

    value = str(file_of(entry)) if parse is file_name and entry.original != entry.value else entry.value
    try:
        return parse(value, complain)
    except ValueError as error:
        raise CfgError(f"[{section.type}] {str(entry)[:60]!r}: {error} was expected", entry.where) from None


def report(problem: str, where: Location, *, strict: bool) -> None:
    """Warn of something Darknet accepts without a word, or raise it where `strict`."""
    if strict:
        raise CfgError(problem, where)
    warnings.warn(CfgWarning(problem, where), stacklevel=2)


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where a known word is near, else nothing."""
    close = difflib.get_close_matches(word[:60], list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
