"""What a file must be before it gets its name."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Final, NamedTuple

CHUNK: Final = 1 << 20


class Wanted(NamedTuple):
    """A name, and the sizes and the digest that the file of this name may have."""

    name: str
    limit: int  # bytes
    sizes: Collection[int] = ()  # none: any
    asker: str = ""  # who says which sizes
    digest: str | None = None  # "sha256:..."

    @property
    def most(self) -> int:
        """How many bytes it has at most."""
        return max(self.sizes, default=self.limit)

    def fault(self, size: int, digest: str | None = None) -> str | None:
        """Say what is wrong with a file of this size and digest in hex."""
        if self.sizes and size not in self.sizes:
            sizes = " or ".join(map(str, sorted(self.sizes)))
            guess = "another model or version, cut short, or a page that says what is wrong"
            return f"has {size} bytes where {self.asker} asks for {sizes}: {guess}"
        algorithm, _, published = (self.digest or "").partition(":")
        if digest is not None and published and digest != published:
            return f"has the {algorithm} {digest}, published is {published}: damaged, or another version"
        return None

    def fault_in(self, path: Path) -> str | None:
        """Say what is wrong with a file that is there."""
        return self.fault(path.stat().st_size, self.hasher(path).hexdigest())

    def hasher(self, path: Path) -> hashlib._Hash:
        """Return a hasher of the digest's algorithm, fed with what is in the file, if there is one."""
        hasher = hashlib.new(self.digest.partition(":")[0] if self.digest else "sha256", usedforsecurity=False)
        if self.digest and path.exists():
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    hasher.update(chunk)
        return hasher
