"""Changes to bytes that find faults in readers: flips, cuts, insertions, splices, numbers that are too large."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, TypeVar

T = TypeVar("T")
NUMBERS: Final = (
    "0", "1", "-1", "2", "3", "7", "-2", "16", "100", "127", "128", "255", "256", "1000", "32767", "32768", "65535",
    "65536", "99999", "1000000", "16777217", "2147483647", "2147483648", "-2147483648", "4294967295", "4294967296",
    "9223372036854775807", "9223372036854775808", "18446744073709551615", "1" + "0" * 30, "1" * 400, "nan", "inf",
    "-inf", "1e308", "1e400", "-1e400", "1e-320", ".5", "0.5", "1.5", "-0", "-0.001", "0x10", "0,5", "3.7", "1e", "+",
    "00001", "1_000", "\u0663", "", " ",
)  # fmt: skip
INTEGERS: Final = (
    0, 1, 2, 3, 4, 7, 8, 16, 255, 256, 1000, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32,
    2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1,
)  # fmt: skip
RUBBISH: Final = (
    b"\0", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\x1b]0;title\x07", b"\x1b[31m", b"\r", b"\r\n", b"\n", b"\n\n",
    b"\x85", b"\xc2\x85", b"\xe2\x80\xa8", b"\xed\xa0\x80", b"\xc3", b"\x80", b" ", b"\t", b"\v", b"\f", b"=", b"==",
    b",", b",,", b"#", b";", b"[", b"]", b"[]", b"%s%n", b"../", b"/", b"/dev/zero", b"~", b"\\", b"'", b'"', b"{}",
    b"PK\x03\x04", b"<html>", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"\xf0\x9f\xa6\x8a",
    b"\x9b31m", b"\x7f",
)  # fmt: skip
_NUMBER: Final = re.compile(rb"[+-]?\d+(?:\.\d+)?")
LONG: Final = 200_000  # bytes that a part may be repeated to


def changed(data: bytes, rng: Random, others: Sequence[bytes] = (), most: int = 4) -> bytes:
    """Bytes after one to `most` changes; `others` are what parts may be taken from."""
    for _ in range(rng.randint(1, most)):
        data = rng.choice(CHANGES)(data, rng) if not others or rng.random() > 0.1 else _spliced(data, rng, others)
    return data


def number(rng: Random) -> str:
    """A number that readers may not expect."""
    return rng.choice(NUMBERS) if rng.random() < 0.7 else str(rng.randint(-20, 300))


def word(rng: Random) -> bytes:
    """Bytes that mean something somewhere."""
    return rng.choice(RUBBISH) if rng.random() < 0.8 else rng.randbytes(rng.randint(1, 20))


def one_of(rng: Random, items: Sequence[T], weights: Sequence[float] | None = None) -> T:
    """One of the items."""
    return rng.choices(items, weights)[0]


def _place(data: bytes, rng: Random) -> int:
    """Somewhere, more often near the start, where headers are."""
    size = len(data) if rng.random() < 0.5 else min(len(data), 64)
    return rng.randint(0, size)


def _range(data: bytes, rng: Random) -> tuple[int, int]:
    start = _place(data, rng)
    return start, min(len(data), start + one_of(rng, (1, 2, 4, 8, 30, 200, 5000)))


def _flipped(data: bytes, rng: Random) -> bytes:
    found = bytearray(data)
    for _ in range(one_of(rng, (1, 1, 2, 8))):
        if found:
            found[min(_place(data, rng), len(found) - 1)] ^= 1 << rng.randrange(8)
    return bytes(found)


def _overwritten(data: bytes, rng: Random) -> bytes:
    start, end = _range(data, rng)
    return data[:start] + rng.randbytes(end - start) + data[end:]


def _removed(data: bytes, rng: Random) -> bytes:
    start, end = _range(data, rng)
    return data[:start] + data[end:]


def _cut(data: bytes, rng: Random) -> bytes:
    return data[: _place(data, rng)] if rng.random() < 0.9 else data[_place(data, rng) :]


def _inserted(data: bytes, rng: Random) -> bytes:
    start = _place(data, rng)
    return data[:start] + word(rng) + data[start:]


def _repeated(data: bytes, rng: Random) -> bytes:
    start, end = _range(data, rng)
    part = data[start:end]
    times = one_of(rng, (2, 3, 50, 1000, 50_000), (8, 4, 2, 1, 0.2))
    return data[:start] + part * min(times, 1 + LONG // max(1, len(part))) + data[end:]


def _moved(data: bytes, rng: Random) -> bytes:
    start, end = _range(data, rng)
    rest = data[:start] + data[end:]
    place = _place(rest, rng)
    return rest[:place] + data[start:end] + rest[place:]


def _integer(data: bytes, rng: Random) -> bytes:
    """An integer of 2, 4 or 8 bytes in place of what was there."""
    size, order = one_of(rng, (2, 4, 8)), one_of(rng, ("little", "big"))
    start = _place(data, rng)
    value = rng.choice(INTEGERS) % (1 << 8 * size)
    return data[:start] + value.to_bytes(size, "little" if order == "little" else "big") + data[start + size :]


def _renumbered(data: bytes, rng: Random) -> bytes:
    """Another number in place of one that is written in digits."""
    found = [match.span() for match in _NUMBER.finditer(data[:LONG])]
    if not found:
        return _integer(data, rng)
    start, end = rng.choice(found)
    return data[:start] + number(rng).encode() + data[end:]


def _spliced(data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    other = rng.choice(others)
    if rng.random() < 0.5:
        return data[: _place(data, rng)] + other[_place(other, rng) :]
    start, end = _range(other, rng)
    place = _place(data, rng)
    return data[:place] + other[start:end] + data[place:]


CHANGES: Final[tuple[Callable[[bytes, Random], bytes], ...]] = (
    _flipped, _overwritten, _removed, _cut, _inserted, _repeated, _moved, _integer, _renumbered, _renumbered,
)  # fmt: skip
