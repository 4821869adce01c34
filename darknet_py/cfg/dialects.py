"""The dialects there are, and which of them a cfg is in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from darknet_py.cfg.dialect import DARKNET, Dialect, Mark
from darknet_py.cfg.keys import ComplainAt, read, warn
from darknet_py.cfg.section import Section
from darknet_py.cfg.unbuilt import OF_ALEXEYAB
from darknet_py.errors import CfgError, DarknetError, Location, shown

ALEXEYAB = DARKNET.child("alexeyab", "AlexeyAB's Darknet", unbuilt=OF_ALEXEYAB)
DIALECTS: Final[dict[str, Dialect]] = {dialect.name: dialect for dialect in (DARKNET, ALEXEYAB)}
NAMED: Final = 3  # kinds of places that an error names


def named(name: str | None) -> Dialect | None:
    """The dialect of that name, None for None; raises `DarknetError` where it is not built or there is none."""
    if name is None:
        return None
    found = DIALECTS.get(name)
    if found is not None and found.unbuilt is None:
        return found
    built = ", ".join(dialect.name for dialect in DIALECTS.values() if dialect.unbuilt is None)
    later = "" if found is None else f"; {name} is not built yet"
    raise DarknetError(f"there is no dialect {shown(name, 60)!r}; there is {built}{later}")


def chosen(sections: Sequence[Section]) -> Dialect:
    """The dialect in which the fewest places of a cfg are another one's; of several the first.

    Raises `CfgError` where that dialect reads something of the cfg that is not built yet.
    """
    marks = {dialect: list(dialect.marks(sections)) for dialect in DIALECTS.values()}
    dialect = min(marks, key=lambda one: sum(len(found) for other, found in marks.items() if not _is_a(one, other)))
    missing = [mark for mark in marks[dialect] if not mark.built]
    if missing:
        raise _not_built(dialect, missing)
    return dialect


def read_section(schema: type[Any], section: Section, report: ComplainAt = warn, dialect: Dialect = DARKNET) -> Any:
    """Fill a schema as `keys.read` does; of a key that only another program has, the report says whose it is."""

    def whose(key: str) -> str:
        for other in DIALECTS.values():
            if other is not dialect and other.has_key(section.type, key):
                return f"; {other.program} alone reads it, and it is without effect here"
        return ""

    return read(schema, section, report=report, hint=whose, where=section.where)


def _is_a(dialect: Dialect | None, other: Dialect) -> bool:
    """Whether a dialect is another one or descends from it."""
    return dialect is not None and (dialect is other or _is_a(dialect.parent, other))


def _not_built(dialect: Dialect, marks: Sequence[Mark]) -> CfgError:
    found: dict[str, list[Location]] = {}
    for mark in marks:
        found.setdefault(mark.what, []).append(mark.where)
    kinds = [f"{what} ({_lines(places)})" for what, places in list(found.items())[:NAMED]]
    more = "" if len(found) <= NAMED else f", and more: {len(marks)} places in all"
    original = DARKNET.name
    return CfgError(
        f"this cfg is for {dialect.program}, whose dialect is not built yet: {', '.join(kinds)}{more}; "
        f'--dialect {original} (dialect="{original}" in Python) reads it as the original would, with other outputs',
        marks[0].where,
    )


def _lines(places: Sequence[Location]) -> str:
    others = f" and {len(places) - 1} more" if len(places) > 1 else ""
    return f"line {places[0].line}{others}"
