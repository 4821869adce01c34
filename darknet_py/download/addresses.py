"""Addresses: which kind they are, and how they are shown without their passwords."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

_USER: Final = re.compile(  # up to the last @ before the path, or anywhere where a password has a slash in it
    r"(?<=://)(?:(?P<user>[^\s/?#:]*)(?P<word>:[^\s/?#]*)?|(?P<name>[^\s/?#:]*):(?!\d+[/?#])\S*)@"
)


def shown_url(text: str) -> str:
    """Return the text with passwords of addresses hidden, and users without one, which may be keys."""

    def hide(found: re.Match[str]) -> str:
        user = found["name"] if found["name"] is not None else found["user"] if found["word"] else ""
        return f"{user}:***@" if user else "***@"

    return _USER.sub(hide, text)


def scheme_of(url: str) -> str:
    """Return the scheme of an address, or nothing where it is none."""
    try:
        return urlsplit(url).scheme
    except ValueError:
        return ""
