"""How much memory this process can still get, to check before it is allocated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from darknet_py.errors import DarknetError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

PROC: Final = Path("/proc")
CGROUPS: Final = Path("/sys/fs/cgroup")
UNLIMITED: Final = 1 << 60  # version 1 writes a number like this where there is no limit


def available(proc: Path = PROC, cgroups: Path = CGROUPS) -> int | None:
    """An upper bound of the bytes that this process can still get, or None if the system does not say.

    The minimum of what the machine has free, what the container and its parents allow, and what `ulimit -v` leaves.
    """
    return min((n for n in (_free(proc), _allowed(proc, cgroups), _address_space(proc)) if n is not None), default=None)


def require(wanted: int, what: str, advice: str = "") -> None:
    """Raise `DarknetError` if `what` needs more bytes than there are."""
    if (lack := lacking(wanted, what)) is not None:
        raise DarknetError(f"{lack}{advice and f'; {advice}'}")


def lacking(wanted: int, what: str) -> str | None:
    """A message that `what` needs more bytes than there are; None if it does not, or nobody knows."""
    there = available()
    if there is None or wanted <= there:
        return None
    return f"{what} needs {size(wanted)} of memory, and there are {size(there)}"


def size(count: int) -> str:
    """Bytes in words."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _free(proc: Path) -> int | None:
    """Memory that is free or only caches files, and swap."""
    found = {name: int(kib) << 10 for name, kib in re.findall(r"(?m)^(\w+): +(\d+) kB", _read(proc / "meminfo"))}
    return found["MemAvailable"] + found.get("SwapFree", 0) if "MemAvailable" in found else None


def _allowed(proc: Path, cgroups: Path) -> int | None:
    """What the process's cgroup and its parents allow beyond their use, not counting cached files."""
    return min((limit - used for limit, used in _groups(proc, cgroups) if limit < UNLIMITED), default=None)


def _groups(proc: Path, cgroups: Path) -> Iterator[tuple[int, int]]:
    for controllers, path in re.findall(r"(?m)^\d+:([^:]*):/(.*)$", _read(proc / "self" / "cgroup")):
        if controllers not in ("", "memory"):
            continue
        top = cgroups / controllers
        limit, used = ("max", "anon") if not controllers else ("limit_in_bytes", "rss")
        here = top / path
        for folder in (here, *here.parents):
            text = _read(folder / f"memory.{limit}").strip()
            if text.isdecimal():
                stat = re.search(rf"(?m)^{used} (\d+)$", _read(folder / "memory.stat"))
                yield int(text), min(int(stat[1]) if stat else 0, int(text))
            if folder == top:
                break


def _address_space(proc: Path) -> int | None:
    """What `ulimit -v` leaves."""
    if resource is None:
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = _read(proc / "self" / "statm").split()
    if limit == resource.RLIM_INFINITY or not pages:
        return None
    return max(limit - int(pages[0]) * resource.getpagesize(), 0)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
