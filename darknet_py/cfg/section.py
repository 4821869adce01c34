"""`Section` and `Entry`: the parsed text of a cfg."""

from __future__ import annotations

from dataclasses import dataclass, field

from darknet_py.errors import Location


@dataclass(frozen=True)
class Entry:
    """One `key=value` line; blanks and tabs are removed, as Darknet does, even inside the value."""

    key: str
    value: str
    where: Location
    written: str = field(default="", compare=False, repr=False)  # the value with the blanks inside it

    @property
    def original(self) -> str:
        """The value as written, for names of files."""
        return self.written if self.written.replace(" ", "").replace("\t", "") == self.value else self.value

    def __str__(self) -> str:
        return f"{self.key}={self.value}"


@dataclass(frozen=True)
class Section:
    """A `[type]` line and the entries below it, in the order of the file."""

    type: str
    entries: tuple[Entry, ...]
    where: Location

    def find(self, key: str) -> Entry | None:
        """The entry for `key`; the first if it is given twice."""
        return next((entry for entry in self.entries if entry.key == key), None)
