"""The scheme of addresses, and how to show them without passwords."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

_USER: Final = re.compile(  # up to the last @ before the path, or anywhere if a password contains a slash
    r"(?<=://)(?:(?P<user>[^\s/?#:]*)(?P<word>:[^\s/?#]*)?|(?P<name>[^\s/?#:]*):(?!\d+[/?#])\S*)@"
)


def shown_url(text: str) -> str:
    """The text with passwords of addresses hidden, and users without password, which may be keys."""

    def hide(found: re.Match[str]) -> str:
        user = found["name"] if found["name"] is not None else found["user"] if found["word"] else ""
        return f"{user}:***@" if user else "***@"

    return _USER.sub(hide, text)


def scheme_of(url: str) -> str:
    """The scheme of an address, or nothing if the text is not an address."""
    try:
        return urlsplit(url).scheme
    except ValueError:
        return ""
