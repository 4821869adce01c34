"""Reads the head of an HTTP answer with a file."""

from __future__ import annotations

import http.client
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from darknet_py.download.client import BrokenError, RefusedError
from darknet_py.files.signatures import answer_of

if TYPE_CHECKING:
    import requests

RANGE_NOT_SATISFIABLE: Final = 416
RETRIED: Final = frozenset({408, RANGE_NOT_SATISFIABLE, 425, 429, *range(500, 600)})
_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


class Range(NamedTuple):
    """The first and last byte that follow, and the size of the file; all -1 if the server does not say."""

    first: int = -1
    last: int = -1
    total: int = -1


class Answer(NamedTuple):
    """The head of an answer with a file or a part of it."""

    response: requests.Response

    def check_status(self) -> None:
        """Raise `BrokenError` if another request may help, `RefusedError` if it will not."""
        code = self.response.status_code
        status = f"{code} {http.client.responses.get(code, '')}".strip()
        if code in RETRIED:
            raise BrokenError(status)
        if code not in (200, 206):
            raise RefusedError(status)
        if self.response.headers.get("Content-Encoding", "identity") != "identity":
            raise RefusedError("compressed, though that was not asked for")

    def check_head(self, head: bytes, total: int | None) -> None:
        """Raise `RefusedError` for a body that starts like a web page or the like."""
        kind = answer_of(head)
        if kind is None and self.response.headers.get("Content-Type", "").lower().startswith("text/html"):
            kind = "an HTML page"
        if not head and not total:
            kind = "nothing"
        if kind is not None:
            raise RefusedError(f"{kind} instead of the file")

    @property
    def is_part(self) -> bool:
        """Whether a range of the file follows."""
        return self.response.status_code == 206

    @property
    def does_not_fit(self) -> bool:
        """Whether the file ends before the requested range."""
        return self.response.status_code == RANGE_NOT_SATISFIABLE

    @property
    def mark(self) -> str:
        """The version of the file: its ETag, or else the time of its last change."""
        headers = self.response.headers
        return headers.get("ETag") or headers.get("Last-Modified", "")

    @property
    def length(self) -> int | None:
        """The number of bytes that follow, if the server says."""
        length = self.response.headers.get("Content-Length")
        if length is None or "Transfer-Encoding" in self.response.headers:
            return None
        if not re.fullmatch(r"[0-9]{1,18}", length):
            raise RefusedError(f"says its length is {length[:40]!r}")
        return int(length)

    @property
    def range_text(self) -> str:
        """The range in the server's words."""
        return self.response.headers.get("Content-Range", "")

    @property
    def range(self) -> Range:
        """The range of the file that follows."""
        fields = _RANGE.fullmatch(self.range_text)
        return Range(*map(int, fields.groups())) if fields else Range()
