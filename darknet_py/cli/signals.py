"""Ctrl-C, SIGTERM and SIGHUP as a wish to stop, for commands that have something to finish."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from darknet_py.cli.output import complain

GRACE = 2.0  # seconds in which several processes may get the same wish twice
WISHES = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Wish:
    """Whether somebody wished for an end.

    Unlike `threading.Event` it takes no lock, in which a signal that comes inside the handler would wait for ever.
    """

    def __init__(self) -> None:
        self.since: float | None = None  # time.monotonic() of the wish

    def is_set(self) -> bool:
        return self.since is not None


@contextmanager
def stop_signals(processes: int, *, tell: bool = True) -> Iterator[Wish]:
    """Note a wish at the first Ctrl-C, SIGTERM or SIGHUP; the next ends the process at once.

    With several processes both the terminal and their launcher send one, so that a second right after the first is
    none. What is ignored already, as nohup has SIGHUP ignored, stays so.
    """
    told = Wish()
    grace = GRACE if processes > 1 else 0.0
    if threading.current_thread() is not threading.main_thread():
        yield told
        return

    terminals = [stream for stream in (1, 2) if os.isatty(stream)]

    def handle(number: int, _frame: object) -> None:
        if number not in (signal.SIGINT, signal.SIGTERM):  # the terminal has gone, and writing to it would fail
            _drop(terminals)
        now = time.monotonic()
        if told.since is not None and now - told.since >= grace:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif told.since is None:
            told.since = now
            with suppress(RuntimeError):  # where this came in the middle of another line
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
    """Lead open files to nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream)
    os.close(nowhere)
