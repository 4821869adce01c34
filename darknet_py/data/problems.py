"""Reports each picture and label file that cannot be used once, whichever process finds it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from darknet_py.cfg.keys import Complain
from darknet_py.errors import DarknetWarning


class DataWarning(DarknetWarning):
    """A picture or a label file that training skips."""


def warn(problem: str) -> None:
    """Report a problem as a `DataWarning`."""
    warnings.warn(DataWarning(problem), stacklevel=2)


class Problems:
    """The problems reported so far; a copy in another process starts empty and reports by warnings."""

    def __init__(self, report: Complain = warn) -> None:
        self.report = report
        self.known: dict[str, None] = {}

    def add(self, problems: Iterable[str]) -> None:
        """Report each problem once."""
        for problem in problems:
            if problem not in self.known:
                self.known[problem] = None
                self.report(problem)

    def __len__(self) -> int:
        return len(self.known)

    def __reduce__(self) -> tuple[type[Problems], tuple[()]]:
        return Problems, ()
