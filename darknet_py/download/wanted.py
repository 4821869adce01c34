"""Checks a file before it gets its name."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Final, NamedTuple

CHUNK: Final = 1 << 20


class Wanted(NamedTuple):
    """The name of a file, and the sizes and the digest that it may have."""

    name: str
    limit: int  # bytes
    sizes: Collection[int] = ()  # empty for any size
    asker: str = ""  # the source of these sizes
    digest: str | None = None  # "sha256:..."

    @property
    def most(self) -> int:
        """The most bytes it may have."""
        return max(self.sizes, default=self.limit)

    def fault(self, size: int, digest: str | None = None) -> str | None:
        """The fault of a file of this size and digest in hex, if any."""
        if self.sizes and size not in self.sizes:
            sizes = " or ".join(map(str, sorted(self.sizes)))
            guess = "another model or version, cut short, or a page that says what is wrong"
            return f"has {size} bytes where {self.asker} asks for {sizes}: {guess}"
        algorithm, _, published = (self.digest or "").partition(":")
        if digest is not None and published and digest != published:
            return f"has the {algorithm} {digest}, published is {published}: damaged, or another version"
        return None

    def fault_in(self, path: Path) -> str | None:
        """The fault of an existing file, if any."""
        return self.fault(path.stat().st_size, self.hasher(path).hexdigest())

    def hasher(self, path: Path) -> hashlib._Hash:
        """A hasher of the digest's algorithm with the file's content so far, if a digest is known."""
        hasher = hashlib.new(self.digest.partition(":")[0] if self.digest else "sha256", usedforsecurity=False)
        if self.digest and path.exists():
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    hasher.update(chunk)
        return hasher
