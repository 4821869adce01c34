"""An incomplete file, and a note about what it is a part of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from darknet_py.download.addresses import shown_url


class Saved(NamedTuple):
    """The progress of earlier attempts, and the server's version of the file then."""

    offset: int = 0
    mark: str = ""  # its ETag, or else the time of its last change
    total: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the file is complete."""
        return self.offset > 0 and self.offset == self.total


@dataclass(frozen=True)
class Part:
    """NAME.part and NAME.part.json beside the future file."""

    target: Path

    @property
    def path(self) -> Path:
        """The file with the bytes."""
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def note(self) -> Path:
        """The note about their address and version."""
        return self.path.with_name(f"{self.path.name}.json")

    @property
    def size(self) -> int:
        """The number of bytes so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def saved(self, url: str) -> Saved:
        """The progress from this address; nothing if the note is about another one, damaged or missing."""
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
            origin, saved = note["url"], Saved(self.path.stat().st_size, str(note["mark"]), note["total"])
            usable = origin == shown_url(url) and (saved.total is None or saved.offset <= saved.total)
        except (OSError, ValueError, TypeError, KeyError):  # TypeError: the note is not our JSON
            usable = False
        return saved if usable else Saved()

    def begin(self, url: str, mark: str, total: int | None) -> None:
        """Start anew, with a note about what comes."""
        self.path.unlink(missing_ok=True)
        self.note.write_text(json.dumps({"url": shown_url(url), "mark": mark, "total": total}), encoding="utf-8")

    def finish(self) -> None:
        """Give the file its name."""
        self.path.replace(self.target)
        self.drop()

    def drop(self) -> None:
        """Remove both files."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
