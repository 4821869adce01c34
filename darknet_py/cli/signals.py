"""Treats Ctrl-C, SIGTERM and SIGHUP as a request to stop, for commands that finish something first."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from darknet_py.cli.output import complain

GRACE = 2.0  # seconds in which several processes may get the same request twice
WISHES = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Wish:
    """Whether a stop was requested.

    Unlike `threading.Event` it takes no lock, on which a signal inside the handler would wait for ever.
    """

    def __init__(self) -> None:
        self.since: float | None = None  # time.monotonic() of the request

    def is_set(self) -> bool:
        return self.since is not None


@contextmanager
def stop_signals(processes: int, *, tell: bool = True) -> Iterator[Wish]:
    """Note a request at the first Ctrl-C, SIGTERM or SIGHUP; the next one ends the process at once.

    With several processes both the terminal and their launcher send a signal, so a second one right after the first is
    ignored. Signals that are already ignored, as SIGHUP under nohup, stay ignored.
    """
    told = Wish()
    grace = GRACE if processes > 1 else 0.0
    if threading.current_thread() is not threading.main_thread():
        yield told
        return

    terminals = [stream for stream in (1, 2) if os.isatty(stream)]

    def handle(number: int, _frame: object) -> None:
        if number not in (signal.SIGINT, signal.SIGTERM):  # the terminal is gone, and writing to it would fail
            _drop(terminals)
        now = time.monotonic()
        if told.since is not None and now - told.since >= grace:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif told.since is None:
            told.since = now
            with suppress(RuntimeError):  # if this interrupts another line
                if tell:
                    complain("finishing this batch, then saving; once more ends at once")

    taken = [number for number in WISHES if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in taken}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _drop(streams: list[int]) -> None:
    """Redirect open files to /dev/null."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream)
    os.close(nowhere)
