"""Typed keys: a section's dataclass declares each key once, with its type, its default and a line of documentation.

Numbers are read as C's atoi and atof read them: the longest prefix that is a number counts, so `3.7` is the integer 3
and `40#32` is 40. Text after it that is not a comment is worth a warning. Where C would go on with 0 because there is
no number at all, `CfgError` says so.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from darknet_py.cfg.places import file_of
from darknet_py.cfg.section import Entry, Section
from darknet_py.errors import CfgError, CfgWarning, Location, shown

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
D = TypeVar("D", bound="DataclassInstance")
Complain = Callable[[str], None]
ComplainAt = Callable[[str, Location], None]
Hint = Callable[[str], str]  # a hint about a key that a section does not have
Parser = Callable[[str, Complain], T]

COMMENT: Final = "#;"
LARGEST: Final = (2 - 2**-23) * 2.0**127  # the largest float of 32 bits
MAX_ITEMS: Final = 10_000
_COMMENT = re.compile(f"[{COMMENT}]")
_NOTHING = re.compile(rf"(?:\.0*)?(?:[{COMMENT}]|\Z)")  # after a number: a comment, or .0 of a whole one
_INTEGER = re.compile(r"([+-]?)0*(\d{1,12})", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def key(parse: Parser[Any], default: Any = dataclasses.MISSING, doc: str = "", *, name: str | None = None) -> Any:
    """Declare a key of a section as a dataclass field; without `default` the key must be given."""
    return dataclasses.field(default=default, metadata={"parse": parse, "doc": doc, "name": name})


def quiet(_problem: str, _where: Location) -> None:
    """Keep what Darknet accepts without a word to itself, as it does."""


def _quiet(_problem: str) -> None:
    """Report nothing."""


def no_hint(_key: str) -> str:
    """Know nothing about a key."""
    return ""


def _whole(text: str, match: re.Match[str], complain: Complain) -> None:
    """Report text after a number, unless it is a comment."""
    rest = text[match.end() :]
    if not _NOTHING.match(rest):
        complain(f"{shown(rest, 40)!r} after the number {match.group()} is ignored")


def integer(text: str, complain: Complain = _quiet) -> int:
    """An integer."""
    match = _INTEGER.match(text)
    if match is None:
        raise ValueError("an integer")
    value = int("".join(match.groups()))
    if not -(2**31) <= value < 2**31:
        raise ValueError("an integer of 32 bits")
    _whole(text, match, complain)
    return value


def number(text: str, complain: Complain = _quiet) -> float:
    """A number."""
    match = _NUMBER.match(text)
    if match is None or abs(value := float(match.group())) > LARGEST:
        raise ValueError("a number of 32 bits")
    _whole(text, match, complain)
    return value


def flag(text: str, complain: Complain = _quiet) -> bool:
    """0 or 1."""
    return integer(text, complain) != 0


def string(text: str, _complain: Complain = _quiet) -> str:
    """Text."""
    return text


def file_name(text: str, _complain: Complain | None = None) -> str:
    """The name of a file."""
    return text


def at_least(minimum: int) -> Parser[int]:
    """An integer not below `minimum`."""

    def parse(text: str, complain: Complain = _quiet) -> int:
        if (value := integer(text, complain)) < minimum:
            raise ValueError(f"an integer not below {minimum}")
        return value

    parse.__doc__ = f"An integer not below {minimum}."
    return parse


natural = at_least(0)
positive = at_least(1)


def list_of(item: Parser[T]) -> Parser[tuple[T, ...]]:
    """Values separated by commas, `MAX_ITEMS` at most; a comment may follow."""

    def parse(text: str, complain: Complain) -> tuple[T, ...]:
        text = _COMMENT.split(text, maxsplit=1)[0]
        if not text:
            raise ValueError("a value before the comment")
        if text.count(",") >= MAX_ITEMS:
            raise ValueError(f"a list of at most {MAX_ITEMS} values")
        items = text.split(",")
        if not items[-1]:
            complain("the comma at the end is ignored; Darknet would read a further 0 after it")
            items.pop()
        return tuple(item(part, complain) for part in items)

    each = item.__doc__ or ""
    parse.__doc__ = f"Values separated by commas, each {each[:1].lower()}{each[1:]}"
    return parse


def one_of(choices: Mapping[str, Any] | Iterable[str], fallback: str | None = None) -> Parser[str]:
    """A word out of `choices`; for any other, Darknet uses `fallback`, and so does this, with a warning."""
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


def warn(problem: str, where: Location) -> None:
    """Warn of something that Darknet silently accepts."""
    warnings.warn(CfgWarning(problem, where), stacklevel=2)


def refuse(problem: str, where: Location) -> None:
    """Raise `CfgError` for something that Darknet silently accepts."""
    raise CfgError(problem, where)


class Gathered:
    """Collects problems, to warn once of those that occur in several lines."""

    def __init__(self) -> None:
        self.lines: dict[tuple[str, str], dict[int, None]] = {}

    def __call__(self, problem: str, where: Location) -> None:
        self.lines.setdefault((where.file, problem), {})[where.line] = None

    def warn(self) -> None:
        """Warn of each problem, at its first place, and forget them."""
        found, self.lines = self.lines, {}
        for (file, problem), lines in found.items():
            first, *others = lines
            warn(f"{problem}{_also(others)}", Location(file, first))


def _also(lines: Sequence[int]) -> str:
    """` (also in lines 4, 5, 6 and 7 more)`."""
    named = ", ".join(map(str, lines[:3]))
    more = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
    return f" (also in line{'s' if len(lines) > 1 else ''} {named}{more})" if lines else ""


def read(schema: type[D], section: Section, *, report: ComplainAt = warn, hint: Hint = no_hint, **extra: Any) -> D:
    """Fill a schema from a section.

    Raises `CfgError` for a value that does not parse and for a missing required key. Unknown and repeated keys, and
    whatever else Darknet silently accepts, go to `report`, with what `hint` knows of an unknown key.
    """
    known = fields_of(schema)
    values: dict[str, Any] = dict(extra)
    first = {entry.key: entry for entry in reversed(section.entries)}
    for entry in section.entries:
        if first[entry.key] is not entry:
            line = first[entry.key].where.line
            report(f"{shown(entry, 60)} is ignored: {shown(entry.key, 60)!r} was given in line {line}", entry.where)
        elif entry.key in known:
            values[known[entry.key].name] = parse_entry(known[entry.key].metadata["parse"], entry, section, report)
        else:
            advice = hint(entry.key) or nearest(entry.key, known)
            report(f"[{section.type}] has no key {shown(entry.key, 60)!r}{advice}", entry.where)
    for name, field in known.items():
        if field.name not in values and field.default is dataclasses.MISSING:
            raise CfgError(f"[{section.type}] needs the key {name!r}", section.where)
    return schema(**values)


def parse_entry(parse: Parser[T], entry: Entry, section: Section, report: ComplainAt = warn) -> T:
    """The value of one entry, or `CfgError` that says what was expected."""

    def complain(problem: str) -> None:
        report(f"[{section.type}] {entry.key}: {problem}", entry.where)

    value = str(file_of(entry)) if parse is file_name and entry.original != entry.value else entry.value
    try:
        return parse(value, complain)
    except ValueError as error:
        raise CfgError(f"[{section.type}] {shown(entry, 60)!r}: {error} was expected", entry.where) from None


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for a similar known word with the same beginning or end, or nothing."""
    word = word[:60]
    alike = [other for other in known if other[:1] == word[:1] or other[-2:] == word[-2:]]  # all would take long
    close = difflib.get_close_matches(word, alike, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
