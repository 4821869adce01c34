"""A file that is not whole yet, and the note of what it is the start of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from darknet_py.download.addresses import shown_url


class Saved(NamedTuple):
    """How far earlier attempts got, and what the server then said the file was."""

    offset: int = 0
    mark: str = ""  # its ETag, or else when it was last modified
    total: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to come."""
        return self.offset > 0 and self.offset == self.total


@dataclass(frozen=True)
class Part:
    """NAME.part and NAME.part.json beside the file that is to be."""

    target: Path

    @property
    def path(self) -> Path:
        """Where the bytes are."""
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def note(self) -> Path:
        """Where it is written down from where they are, and of which version."""
        return self.path.with_name(f"{self.path.name}.json")

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return self.path.stat().st_size if self.path.exists() else 0

    def saved(self, url: str) -> Saved:
        """What there is from this address; nothing where the note is of another one, damaged or missing."""
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
            origin, saved = note["url"], Saved(self.path.stat().st_size, str(note["mark"]), note["total"])
            usable = origin == shown_url(url) and (saved.total is None or saved.offset <= saved.total)
        except (OSError, ValueError, TypeError, KeyError):  # TypeError: the note is other JSON than ours
            usable = False
        return saved if usable else Saved()

    def begin(self, url: str, mark: str, total: int | None) -> None:
        """Drop what is there, and note what comes now."""
        self.path.unlink(missing_ok=True)
        self.note.write_text(json.dumps({"url": shown_url(url), "mark": mark, "total": total}), encoding="utf-8")

    def finish(self) -> None:
        """Give the file its name."""
        self.path.replace(self.target)
        self.drop()

    def drop(self) -> None:
        """Remove what there is."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
