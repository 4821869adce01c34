r"""The grammar of cfg and .data texts.

::

    cfg      = { comment } { section }
    section  = "[" type "]" newline { entry | comment }
    entry    = key "=" value newline
    comment  = [ ( "#" | ";" ) anything ] newline

Blanks and tabs are removed from the whole text first, because Darknet removes them from every line, inside it too;
so a comment is only what *starts* a line, and `width = 4 16` is 416. CRLF, a byte order mark and a missing last
newline are accepted. Any other line (no "=", or nothing after it) is ignored with a warning.
"""

from __future__ import annotations

import bisect
import re
import warnings
from collections.abc import Sequence

import pyparsing as pp

from darknet_py.cfg.section import Entry, Section
from darknet_py.errors import CfgError, CfgWarning, Location
from darknet_py.files import SMALL

MAX_BYTES = SMALL
MAX_LINES = 100_000
MAX_SECTIONS = 10_000

_COMMENT = pp.Regex(r"(?:[#;][^\n]*\n|\n)+").leave_whitespace().suppress()
_HEADER = pp.Regex(r"\[[^\n]*\n").leave_whitespace()
_LINE = pp.Regex(r"[^\[#;\n][^\n]*\n").leave_whitespace()


def _located(_text: str, at: int, tokens: pp.ParseResults) -> tuple[int, str]:
    return at, tokens[0][:-1]


_HEADER.set_parse_action(_located)
_LINE.set_parse_action(_located)
_LINES = pp.Opt(_COMMENT) + pp.ZeroOrMore(_LINE + pp.Opt(_COMMENT))
_DATA = pp.Group(_LINES)
_CFG = pp.Group(_LINES) + pp.ZeroOrMore(pp.Group(_HEADER + _LINES))


def parse(text: str, source: str = "<cfg>") -> tuple[Section, ...]:
    """Split cfg text into sections; `source` is the file name in messages.

    Raises `CfgError` for an entry before the first section, a section header that does not close, and a text that is
    empty, binary or unreasonably large.
    """
    text, lines = _prepare(text, source)
    (orphans, *groups) = _CFG.parse_string(text, parse_all=True)
    if orphans:
        at, line = orphans[0]
        raise CfgError(f"{line[:40]!r} stands before the first section, such as [net]", lines.where(at))
    if not groups:
        raise CfgError("there is no section in this file", Location(source))
    if len(groups) > MAX_SECTIONS:
        raise CfgError(f"{len(groups)} sections; more than {MAX_SECTIONS} are not accepted", Location(source))
    return tuple(_section(group, lines) for group in groups)


def parse_data(text: str, source: str = "<data>") -> tuple[Entry, ...]:
    """Split the text of a .data file, which has entries without sections."""
    text, lines = _prepare(text, source)
    try:
        ((*found,),) = _DATA.parse_string(text, parse_all=True)
    except pp.ParseException as error:
        raise CfgError("a .data file has no [sections]", lines.where(error.loc)) from None
    return _entries(found, lines)


class _Lines:
    """Finds the lines of positions in a text."""

    def __init__(self, text: str, source: str, written: str) -> None:
        """`text` is `written` without blanks; both have the same lines."""
        self.source, self.written = source, written.split("\n")
        self.ends = [match.start() for match in re.finditer("\n", text)]

    def where(self, at: int) -> Location:
        return Location(self.source, bisect.bisect_left(self.ends, at) + 1)


def _prepare(text: str, source: str) -> tuple[str, _Lines]:
    if len(text) > MAX_BYTES:
        raise CfgError(f"larger than {MAX_BYTES} bytes; is this the right file?", Location(source))
    if "\0" in text:
        raise CfgError("this is not a text file", Location(source))
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    written = text
    text = text.replace(" ", "").replace("\t", "").rstrip("\n") + "\n"
    if text.count("\n") > MAX_LINES:
        raise CfgError(f"more than {MAX_LINES} lines; is this the right file?", Location(source))
    return text, _Lines(text, source, written)


def _section(group: Sequence[tuple[int, str]], lines: _Lines) -> Section:
    (at, header), *rest = group
    where = lines.where(at)
    if not header.endswith("]") or len(header) == 2:
        raise CfgError(f"{header[:40]!r} is no section header such as [convolutional]", where)
    return Section(header[1:-1], _entries(rest, lines), where)


def _entries(found: Sequence[tuple[int, str]], lines: _Lines) -> tuple[Entry, ...]:
    entries = []
    for at, line in found:
        key, _, value = line.partition("=")
        where = lines.where(at)
        if key and value:
            entries.append(Entry(key, value, where, lines.written[where.line - 1].partition("=")[2].strip(" \t")))
        else:
            warnings.warn(CfgWarning(f"{line[:40]!r} is not key=value; ignored", where), stacklevel=2)
    return tuple(entries)
