"""Writes sections as text."""

from __future__ import annotations

from collections.abc import Iterable

from darknet_py.cfg.section import Section


def dumps(sections: Iterable[Section]) -> str:
    """The cfg text of sections; parsing it gives the same types, keys and values (comments are not kept).

    Blanks inside values stay, for some values are names of files.
    """
    blocks = (
        "\n".join((f"[{section.type}]", *(f"{entry.key}={entry.original}" for entry in section.entries)))
        for section in sections
    )
    return "\n\n".join(blocks) + "\n"
