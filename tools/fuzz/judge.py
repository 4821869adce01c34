"""Judges one input of tools/fuzz in a process with limited memory and time."""

from __future__ import annotations

import re
import resource
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

from darknet_py.errors import DarknetError, DarknetWarning

T = TypeVar("T")
LETTERS: Final = 500  # of a message
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
ALLOCATION: Final = re.compile(r"alloc|out of memory", re.IGNORECASE)
PAGES: Final = Path("/proc/self/statm")  # the first number is that of all pages of the process
PACKAGE: Final = "darknet_py"


class AnswerError(Exception):
    """An answer that cannot be."""


class Hang(BaseException):
    """Time is up; no reader catches it."""


@dataclass(frozen=True)
class Sample:
    """A file to try: what its name ends with, and its bytes."""

    suffix: str
    data: bytes


@dataclass(frozen=True)
class Kind:
    """Files of one kind: how they are made, and which readers they are given to."""

    name: str
    make: Callable[[Random], Sample]
    read: Callable[[Path], None]  # calls readers by `tried`; raises `AnswerError` where answers do not fit together
    spare: int = 1 << 30  # bytes of memory that reading may take
    may_fill: bool = False  # a file may want more, and be refused for it

    def sample(self, seed: int, index: int) -> Sample:
        """The same for the same numbers."""
        return self.make(Random(f"{self.name}/{seed}/{index}"))  # noqa: S311


@dataclass(frozen=True)
class Finding:
    """An input that was not read as it should be."""

    kind: str
    index: int
    what: str
    where: str = ""  # the line of the package that it came from
    trace: str = ""
    file: str = ""  # where the input is kept

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def tried(function: Callable[..., T], *arguments: Any, **options: Any) -> T | None:
    """What a reader gives, or None where it refuses; raises `AnswerError` where the refusal is not fit to be shown."""
    try:
        return function(*arguments, **options)
    except DarknetError as error:
        check_message(error)
        _check_cause(error)
        return None


def check_message(message: object) -> None:
    """Raise `AnswerError` for a text that is not one line which a terminal can take."""
    text = str(message)
    found = CONTROL.search(text)
    if found:
        raise AnswerError(f"control character {found.group()!r} in the message {text[:200]!r}")
    if not text or len(text) > LETTERS:
        raise AnswerError(f"a message of {len(text)} letters: {text[:100]!r}")


def _check_cause(error: BaseException) -> None:
    """Raise `AnswerError` where memory was taken until there was none."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or (isinstance(cause, RuntimeError) and ALLOCATION.search(str(cause))):
            raise MemoryError(f"refused only when memory ran out: {error}")
        cause = cause.__cause__ or cause.__context__


def judge(kind: Kind, index: int, path: Path, seconds: float) -> Finding | None:
    """Give a file to its readers, with so much time of the processor."""
    before = _peak()
    try:
        with warnings.catch_warnings(record=True) as given, time_limit(seconds):
            warnings.simplefilter("always")
            kind.read(path)
        ours = (warning for warning in given if "PIL" not in Path(warning.filename).parts)  # the package has a filter
        for message in {str(warning.message): warning.message for warning in ours}.values():
            if not isinstance(message, DarknetWarning):
                return Finding(kind.name, index, f"warning: {type(message).__name__}: {_short(message)}")
            check_message(message)
    except KeyboardInterrupt:
        raise
    except Hang as error:
        return _raised(kind, index, error, f"hang: more than {seconds:g} seconds of the processor")
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is a finding
        if kind.may_fill and isinstance(error, MemoryError) and "refused only" in str(error):
            return None
        return _raised(kind, index, error, f"{type(error).__name__}: {_short(error)}")
    taken = _peak() - before
    return Finding(kind.name, index, f"memory: {taken >> 20} MiB were taken") if taken > kind.spare else None


def _raised(kind: Kind, index: int, error: BaseException, what: str) -> Finding:
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if f"/{PACKAGE}/" in frame.filename]
    where = f"{PACKAGE}/{inside[-1].filename.rpartition(f'/{PACKAGE}/')[2]}:{inside[-1].lineno}" if inside else ""
    return Finding(kind.name, index, what, where, "".join(traceback.format_exception(error)[-40:]))


def _short(error: object) -> str:
    return " ".join(CONTROL.sub(" ", str(error)).split())[:300]


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `Hang` after so much time of the processor; what computes outside Python ends first."""

    def ring(_number: int, _frame: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds, seconds)  # again, should somebody have caught the first
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def limit_memory(spare: int) -> None:
    """Let this process have so many bytes more than it has now."""
    pages = int(PAGES.read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + spare
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def _peak() -> int:
    """The most bytes that this process has had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
