"""Reports the progress of downloads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NoReturn, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

FileProgress = Callable[[str, int, "int | None"], None]  # file name, bytes so far, bytes in all if known


@contextmanager
def reporting(progress: bool | FileProgress) -> Iterator[FileProgress]:
    """The receiver of progress: a function, bars on stderr for True, none for False."""
    if callable(progress):
        yield progress
        return
    with ExitStack() as bars:
        yield bars_of(bars) if progress else lambda _name, _done, _total: None


def bars_of(stack: ExitStack, file: TextIO | None = None) -> FileProgress:
    """One bar per file, in `file` or else on stderr; they are closed with the stack."""
    from tqdm import tqdm  # noqa: PLC0415

    shown: dict[str, tqdm[NoReturn]] = {}

    def report(name: str, done: int, total: int | None) -> None:
        if name not in shown:
            bar = tqdm(file=file, desc=name, total=total, unit="B", unit_scale=True, unit_divisor=1024)
            stack.callback(bar.close)
            shown[name] = bar
        shown[name].update(done - shown[name].n)

    return report
