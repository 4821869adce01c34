"""The tree of exceptions and warnings, and what their messages may contain.

::

    DarknetError                    one line for the user; the command line prints it and exits with 1
    ├── CfgError                    a cfg, .data, .names, .tree, .map or list file; knows file and line
    │   └── LabelError              a label file; knows every line that is wrong
    ├── NamesError                  names of classes that are not those of the network
    ├── WeightsError                a .weights file that does not fit its network, or no weights file at all
    ├── ImageError                  a picture that cannot be read, or an array of the wrong shape
    └── DownloadError               a download that failed, was cut short, or is not what was asked for

    DarknetWarning (UserWarning)
    ├── CfgWarning                  text that Darknet would accept, but that is probably a mistake
    └── DataWarning                 a picture or a label file that training skips
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

MESSAGE: Final = 500  # letters of an error or a warning
_NO_MEMORY: Final = re.compile(
    r"can't allocate memory|out of memory|bad_alloc|can't start new thread|Cannot allocate memory|failed to map segment"
)  # what torch and Python say in a RuntimeError or an ImportError; a thread needs memory for its stack
_ASKED: Final = re.compile(r"(?:tried|Tried) to allocate ([\d.]+ \w+)|Unable to allocate ([\d.]+ \w+)")
# control characters, marks that change the direction of text, and lone surrogates, which cannot be encoded
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: object, most: int | None = None, *, keep: str = "") -> str:
    """A text from outside, safe for a terminal: control characters are escaped as Python escapes them.

    Those in `keep` stay. A text longer than `most` letters loses its middle.
    """
    plain = _CONTROL.sub(lambda found: found[0] if found[0] in keep else repr(found[0])[1:-1], str(text))
    if most is None or len(plain) <= most:
        return plain
    head = most // 3
    return f"{plain[:head]}...{plain[len(plain) - (most - head - 3) :]}"


class Location(NamedTuple):
    """A place in a text file; `line` counts from 1, and 0 means the whole file."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class DarknetError(Exception):
    """The root of every error that this package raises on purpose; its text is one line."""

    def __init__(self, message: object = "") -> None:
        super().__init__(shown(message, MESSAGE))


class CfgError(DarknetError):
    """A text file that cannot be used; `where` says which line, and the message starts with it."""

    def __init__(self, message: str, where: Location | None = None) -> None:
        self.where = where
        super().__init__(f"{where}: {message}" if where else message)


class NamesError(DarknetError):
    """More or fewer names than a network has classes."""


class WeightsError(DarknetError):
    """A weights file that cannot be used with its network."""


class ImageError(DarknetError):
    """A picture that cannot be read or used."""


class DownloadError(DarknetError):
    """A download that failed."""


class DarknetWarning(UserWarning):
    """The root of every warning of this package; its text is one line."""

    def __init__(self, message: object = "") -> None:
        super().__init__(shown(message, MESSAGE))


class CfgWarning(DarknetWarning):
    """Text that Darknet would silently accept, but that is probably a mistake."""

    def __init__(self, message: str, where: Location | None = None) -> None:
        self.where = where
        super().__init__(f"{where}: {message}" if where else message)


def os_reason(error: OSError) -> str:
    """The reason of an `OSError` in words, without the path and number that str() adds."""
    return error.strerror or (os.strerror(error.errno) if error.errno else str(error))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, numpy, torch or the system means that memory ran out, here or on a GPU."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (
        isinstance(error, (RuntimeError, ImportError)) and _NO_MEMORY.search(str(error)) is not None
    )


@contextmanager
def memory_errors(wanted: str, advice: str = "") -> Iterator[None]:
    """Turn whatever is raised when memory runs out into a `DarknetError`; `wanted` says what it was needed for.

    ``with memory_errors("3 pictures of 608 x 608", "a smaller batch needs less"):``
    """
    try:
        yield
    except (MemoryError, RuntimeError, ImportError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        asked = _ASKED.search(str(error))
        size = f", of which {asked[1] or asked[2]} were asked for last" if asked else ""
        raise DarknetError(f"there is not enough memory for {wanted}{size}{advice and f'; {advice}'}") from error
