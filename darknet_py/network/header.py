"""What a weights file says of itself; a network keeps it."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from darknet_py.cfg.dialect import Dialect
from darknet_py.errors import WeightsError
from darknet_py.files.signatures import kind_of, text_of

HEADER_SIZES = (20, 16)  # bytes with a 64-bit and with a 32-bit `seen`
MAX_VERSION = 9_999  # of a part of a version; above 1000 is a mark that Darknet's old files have


@dataclass(frozen=True)
class Header:
    """The first 16 or 20 bytes."""

    major: int = 0
    minor: int = 2
    revision: int = 0
    seen: int = 0

    @classmethod
    def of(cls, dialect: Dialect, seen: int = 0) -> Header:
        """What a dialect's program writes."""
        return cls(*dialect.version, seen)

    @property
    def wide(self) -> bool:
        """Whether `seen` has 64 bits (load_weights_upto in parser.c)."""
        return self.major * 10 + self.minor >= 2 and self.major < 1000 and self.minor < 1000

    @property
    def transposed(self) -> bool:
        """Whether connected layers are stored transposed."""
        return self.major > 1000 or self.minor > 1000

    @property
    def size(self) -> int:
        return HEADER_SIZES[0] if self.wide else HEADER_SIZES[1]

    @classmethod
    def unpack(cls, data: bytes) -> Header:
        """Read a header from the start of a file; raises `WeightsError` where there is none.

        The more of the file there is, the better the message says what it is instead.
        """
        if len(data) >= HEADER_SIZES[1]:
            version = cls(*struct.unpack_from("<iii", data))
            plausible = all(0 <= part <= MAX_VERSION for part in (version.major, version.minor, version.revision))
            if plausible and len(data) >= version.size and any(data) and not text_of(data):
                (seen,) = struct.unpack_from("<Q" if version.wide else "<i", data, 12)
                return cls(version.major, version.minor, version.revision, seen)
        raise WeightsError(_no_header(data))

    def pack(self) -> bytes:
        """The bytes of the header."""
        return struct.pack("<iii" + ("Q" if self.wide else "i"), self.major, self.minor, self.revision, self.seen)


def _no_header(data: bytes) -> str:
    """What is wrong with a file that begins so."""
    if not data:
        return "it is empty"
    kind = kind_of(data)
    if not any(data):
        return "it holds nothing but zeros: a download or a copy that was cut short"
    if kind is not None:
        return f"this is no weights file but {kind}"
    if len(data) < HEADER_SIZES[0]:
        return f"it has {len(data)} bytes, which is too short for a header"
    version = ".".join(map(str, struct.unpack_from("<iii", data)))
    return f"this is no weights file: its version would be {version}, and Darknet's are 0.1.0 and 0.2.0"
