"""What commands print: one line per message, without control characters."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, cast

from darknet_py.errors import MESSAGE, shown

if TYPE_CHECKING:
    from tqdm import tqdm


def complain(message: object) -> None:
    """Print a line on stderr about one of several problems."""
    print(f"darknet-py: {one_line(message)}", file=sys.stderr)


def one_line(message: object) -> str:
    """A message on one line, even if names of files in it contain line breaks."""
    return shown(" ".join(str(message).split("\n")), MESSAGE)


class Plain:
    """A stream that escapes text except line ends and tabs; `raw` is the underlying stream, for bars and the like."""

    def __init__(self, raw: TextIO) -> None:
        self.raw = raw

    def write(self, text: str) -> int:
        """Write text; DEL is escaped as in JSON."""
        self.raw.write(shown(text.replace("\x7f", "\\u007f"), keep="\n\t"))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)

    def __eq__(self, other: object) -> bool:  # tqdm compares streams to know whether a bar is in the way
        return bool(other == self.raw)

    def __hash__(self) -> int:
        return hash(self.raw)


def raw(stream: TextIO) -> TextIO:
    """The stream under a `Plain` one."""
    return stream.raw if isinstance(stream, Plain) else stream


@contextmanager
def plain_output() -> Iterator[None]:
    """Escape all output inside the block; accept names that are not valid text, and escape what cannot be encoded."""
    escaped = "backslashreplace"
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, escaped), (sys.stderr, escaped)):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors=errors)
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast("TextIO", Plain(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def bar(things: Iterable[Any] | None = None, **options: Any) -> tqdm[Any]:
    """A progress bar of tqdm on stderr."""
    from tqdm import tqdm

    return tqdm(things, file=raw(sys.stderr), **options)
