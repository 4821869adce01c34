"""The rows of a bench: numbers with their spread, ratios to a peer, limits."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from operator import sub, truediv
from typing import Any


@dataclass(frozen=True)
class Row:
    """A number: the median of its rounds, half of which lie between `low` and `high`. None was not measured."""

    group: str
    name: str
    value: float | None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    rounds: int = 0
    peer: str = ""  # what it is a ratio to, or a difference from
    limit: float | None = None
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the value is within its limit; None without a limit or a value."""
        return None if self.limit is None or self.value is None else self.value <= self.limit

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "group": self.group, "name": self.name, "unit": self.unit, "value": self.value, "min": self.minimum,
            "low": self.low, "high": self.high, "max": self.maximum, "rounds": self.rounds, "peer": self.peer or None,
            "limit": self.limit, "holds": self.holds, "note": self.note,
        }  # fmt: skip


def spread(
    group: str, name: str, values: Sequence[float], unit: str, limit: float | None = None, note: str = "",
    peer: str = "",
) -> Row:  # fmt: skip
    """Median, quartiles and extremes."""
    low, middle, high = statistics.quantiles([*values, *values], method="inclusive")
    return Row(group, name, middle, unit, low, high, min(values), max(values), len(values), peer, limit, note)


def milliseconds(group: str, name: str, seconds: Sequence[float], limit: float | None = None, note: str = "") -> Row:
    """Seconds, as milliseconds."""
    return spread(group, name, [1e3 * value for value in seconds], "ms", limit, note)


def ratio(
    group: str, ours: str, peer: str, a: Sequence[float], b: Sequence[float], limit: float | None = None, note: str = ""
) -> Row:
    """The ratios of the rounds, ours over those of a peer."""
    return spread(group, f"{ours} / {peer}", list(map(truediv, a, b)), "x", limit, note, peer)


def percentage(
    group: str, ours: str, peer: str, a: Sequence[float], b: Sequence[float], limit: float | None = None, note: str = ""
) -> Row:
    """The same in percent."""
    return spread(group, f"{ours} / {peer}", [100 * x / y for x, y in zip(a, b, strict=True)], "%", limit, note, peer)


def excess(group: str, name: str, peer: str, a: Sequence[float], b: Sequence[float], limit: float | None = None) -> Row:
    """The differences of the rounds, ours less those of a peer, in milliseconds."""
    return spread(group, name, [1e3 * value for value in map(sub, a, b)], "ms", limit, peer=peer)


def table(rows: Sequence[Row]) -> str:
    """The rows in columns."""
    cells = [("group", "", "median", "quartiles", "limit", "holds"), *map(_cells, rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(6)]
    notes = ["", *(f"  {row.note}" if row.note else "" for row in rows)]
    return "\n".join(
        f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[2:], widths[2:], strict=True))
        + note
        for row, note in zip(cells, notes, strict=True)
    )


def _cells(row: Row) -> tuple[str, ...]:
    if row.value is None:
        return row.group, row.name, "-", "", "", ""
    limit = "" if row.limit is None else f"{row.limit:g} {row.unit}"
    holds = {None: "", True: "yes", False: "NO"}[row.holds]
    quartiles = "" if row.low is None else f"{row.low:.2f} - {row.high:.2f}"
    return row.group, row.name, f"{row.value:.2f} {row.unit}", quartiles, limit, holds
