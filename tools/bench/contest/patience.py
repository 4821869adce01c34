"""Gives up work that takes too long."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from tools.bench.measuring import BenchError

T = TypeVar("T")
AGAIN = 1.0  # seconds after which work that went on is interrupted once more


class TooLong(BaseException):
    """No `Exception`, as work that tries one thing after the other would go on with the next."""


@dataclass
class Patience:
    """How long to wait for something; who was waited for in vain is not waited for again."""

    seconds: float
    lost: bool = False

    def wait(self, work: Callable[[], T]) -> T:
        """What `work` gives; raises `BenchError` where that takes too long.

        Only the main thread can be interrupted, and only where the system has timers; elsewhere it takes its time.
        """
        late = f"was not ready after {self.seconds:g} s; --patience gives it more"
        if self.lost:
            raise BenchError(f"{late}: not tried again")
        if not hasattr(signal, "setitimer"):
            return work()
        before = signal.signal(signal.SIGALRM, _interrupt)
        signal.setitimer(signal.ITIMER_REAL, self.seconds, AGAIN)
        try:
            return work()
        except TooLong:
            self.lost = True
            raise BenchError(late) from None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def _interrupt(_number: int, _frame: Any) -> None:
    raise TooLong
