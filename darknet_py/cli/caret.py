"""Shows the line that an error is about with a mark under the place, as compilers do."""

from __future__ import annotations

import re
import shutil
import unicodedata
from typing import Final, TextIO

from darknet_py.errors import CfgError, Location, shown
from darknet_py.files import opened

MAX_BYTES: Final = 4 << 20  # the largest file that is read again
INDENT: Final = "    "
_QUOTED: Final = re.compile(r"(?<!\w)'([^']+)'(?!\w)")  # and no apostrophe
_BLANKS: Final = r"[ \t]*"  # may stand between any letters of a cfg


def point(error: Exception, stream: TextIO) -> None:
    """Print the place of a `CfgError` in its file, if `stream` is a terminal and the place is known."""
    if not (isinstance(error, CfgError) and error.where and error.where.line and stream.isatty()):
        return
    line = _line(error.where)
    if line.strip():
        message = str(error).removeprefix(f"{error.where}: ")
        print(pointed(line, place(line, message), shutil.get_terminal_size().columns), file=stream)


def place(line: str, message: str) -> tuple[int, int]:
    """Start and end of the part of a line that a message is about: its quote, the value of its key, or the whole line.

    `'size=x': a number was expected` and `size=x is too large` are about the value, `no key 'size'` is about the key.
    """
    whole = len(line) - len(line.lstrip()), len(line.rstrip())
    value = len(line) - len(line.partition("=")[2].lstrip()), whole[1]
    quoted = _QUOTED.search(message)
    if quoted and (found := re.search(_BLANKS.join(map(re.escape, "".join(quoted[1].split()))), line)):
        return value if "=" in quoted[1] and message.startswith(":", quoted.end()) else found.span()
    key = "".join(line.partition("=")[0].split())
    named = 0 < len(key) < len(message) and re.search(rf"(?<!\w){re.escape(key)}(=|: )", message)
    return value if named and value[0] < value[1] else whole


def pointed(line: str, span: tuple[int, int], columns: int) -> str:
    """The line, cut around the place to fit into the columns, and the mark below it."""
    parts = line[: span[0]], line[slice(*span)], line[span[1] :].rstrip()
    room = max(columns - len(INDENT) - 1, 20)
    before, meant, after = (shown(part.replace("\t", " ")) for part in parts)
    meant = shown(meant, room)
    left = max((room - len(meant)) // 2, room - len(meant) - len(after))
    if len(before) > left:
        before = f"...{before[len(before) - left + 3 :]}" if left > 3 else ""
    right = room - len(before) - len(meant)
    if len(after) > right:
        after = f"{after[: right - 3]}..." if right > 3 else ""
    return f"{INDENT}{before}{meant}{after}\n{INDENT}{' ' * _width(before)}^{'~' * (_width(meant) - 1)}"


def _width(text: str) -> int:
    """The width of a text on a terminal, in columns."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(bool(unicodedata.combining(letter)) for letter in text)


def _line(where: Location) -> str:
    """The line of a file, or nothing if it cannot be read any more."""
    try:
        with opened(where.file) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError:
        return ""
    lines = data.decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[where.line - 1] if len(data) <= MAX_BYTES and where.line <= len(lines) else ""
