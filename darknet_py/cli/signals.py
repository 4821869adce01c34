"""Ctrl-C and SIGTERM as a wish to stop, for commands that have something to finish."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from darknet_py.cli.common import complain

GRACE = 2.0  # seconds in which several processes may get the same wish twice


@contextmanager
def stop_signals(processes: int) -> Iterator[threading.Event]:
    """Set an event at the first Ctrl-C or SIGTERM; the next ends the process at once.

    With several processes both the terminal and torchrun send one, so that a second right after the first is none.
    """
    told, first = threading.Event(), [0.0]
    grace = GRACE if processes > 1 else 0.0
    if threading.current_thread() is not threading.main_thread():
        yield told
        return

    def handle(number: int, _frame: object) -> None:
        now = time.monotonic()
        if told.is_set() and now - first[0] >= grace:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif not told.is_set():
            told.set()
            first[0] = now
            with suppress(RuntimeError):  # where this came in the middle of another line
                complain("finishing this batch, then saving; once more ends at once")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
