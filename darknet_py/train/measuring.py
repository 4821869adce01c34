"""Measures during a run, which may be stopped meanwhile."""

from __future__ import annotations

from collections.abc import Callable

from darknet_py.evaluate import Scores, measure
from darknet_py.network.module import Network
from darknet_py.train.settings import TrainSettings


class _StoppedError(Exception):
    """Ends measuring early."""


def measure_until(stop: Callable[[], bool], network: Network, settings: TrainSettings) -> Scores | None:
    """The scores on the pictures of `settings.valid`, or None if `stop` returns true meanwhile."""

    def progress(_done: int, _total: int) -> None:
        if stop():
            raise _StoppedError

    try:
        return measure(network, settings.valid, settings.names, progress=progress)
    except _StoppedError:
        return None
