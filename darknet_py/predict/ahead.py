"""Work that threads do before its turn comes, and batches that go side by side; results come in order."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing
from itertools import chain, islice, repeat
from queue import SimpleQueue
from typing import Generic, TypeVar

import torch

from darknet_py.engine import Engine

T = TypeVar("T")
U = TypeVar("U")
GRACE, PATIENCE = 1.0, 10.0  # seconds to wait for a file, or for computing, that nobody wants any more
LANES = 2


def readers() -> int:
    """How many threads should read files."""
    return min(os.cpu_count() or 1, 8)


def usual_batch(device: torch.device) -> int:
    """How many pictures go through a network together where nothing else is said."""
    return 4 if device.type == "cpu" else 16


def lanes(engine: Engine) -> int:
    """How many batches should go side by side: with half the threads each, they wait less for one another.

    Networks that compute themselves may keep a state or have hooks, and so see one batch after the other.
    """
    apart = engine.network.device.type == "cpu" and torch.get_num_threads() % LANES == 0 and engine.name != "plain"
    return LANES if apart else 1


def in_batches(
    items: Iterable[T], run: Callable[[list[T]], U], *, size: int, lanes: int = 1
) -> Generator[U, None, None]:
    """What `run` gives for `size` items at a time, for as many lists at a time as there are lanes.

    Where the last items would leave a lane without work, they are shared out.
    """
    source = _Source(items)
    lists = _lists(source, size, lanes)
    first = list(islice(lists, 1 if lanes == 1 else 2))
    if len(first) < 2:
        yield from map(run, chain(first, lists))
    else:
        share = max(torch.get_num_threads() // lanes, 1)
        yield from ahead(chain(first, lists), run, count=lanes + 1, threads=lanes, share=share)
    source.settle()


def _lists(items: Iterator[T], size: int, lanes: int) -> Iterator[list[T]]:
    while row := list(islice(items, size * lanes)):
        step = size if len(row) == size * lanes else -(-len(row) // lanes)
        yield from (row[start : start + step] for start in range(0, len(row), step))


def ahead(
    items: Iterable[T], work: Callable[[T], U], *, count: int, threads: int, share: int | None = None
) -> Generator[U, None, None]:
    """Do `work` for items in their order, by threads, for at most `count` before their results are taken.

    Items are asked for in the thread of the caller; an error, of an item too, comes where the result would. When the
    generator is closed, nothing new is begun, and what is being done is waited for, but not longer than `GRACE`. With
    `share`, the work is computing: each thread may use so many threads of torch, and is waited for a little longer.
    """
    crew = _Crew(work, threads, share)
    pending: deque[Future[U]] = deque()
    waiting = _Source(items)
    try:
        while True:
            pending.extend(map(crew.submit, islice(waiting, count - len(pending))))
            if not pending:
                waiting.settle()
                return
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
        crew.dismiss()


def taken_ahead(items: Iterable[T], count: int) -> Generator[T, None, None]:
    """The same items, taken in a thread of their own, at most `count` before they are asked for."""
    iterator = iter(items)

    def take(_: None) -> list[T]:
        return list(islice(iterator, 1))

    with closing(ahead(repeat(None), take, count=count, threads=1)) as taken:
        for item in taken:
            if not item:
                return
            yield item[0]


class _Source(Iterator[T]):
    """Items up to the first error, which `settle` raises: what came before the error has its turn first."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self._error: Exception | None = None

    def __next__(self) -> T:
        if self._error is not None:
            raise StopIteration
        try:
            return next(self._items)
        except StopIteration:
            raise
        except Exception as error:  # noqa: BLE001  # it is raised later
            self._error = error
            raise StopIteration from None

    def settle(self) -> None:
        if self._error is not None:
            raise self._error


class _Crew(Generic[T, U]):
    """Threads that do `work`; started when there is some, and ended with the process if they hang."""

    def __init__(self, work: Callable[[T], U], threads: int, share: int | None) -> None:
        self.work, self.count, self.share = work, threads, share
        self.todo: SimpleQueue[tuple[Future[U], T] | None] = SimpleQueue()
        self.threads: list[threading.Thread] = []

    def submit(self, item: T) -> Future[U]:
        future: Future[U] = Future()
        self.todo.put((future, item))
        if len(self.threads) < self.count:
            self._start()
        return future

    def _start(self) -> None:
        ready = threading.Event()
        thread = threading.Thread(target=self._serve, args=(ready,), name="pictures", daemon=True)
        self.threads.append(thread)
        total = torch.get_num_threads()
        thread.start()
        ready.wait()
        if self.share is not None:
            torch.set_num_threads(total)  # it counts for threads that come later, too

    def _serve(self, ready: threading.Event) -> None:
        if self.share is not None:
            torch.get_num_threads()  # or else torch makes up its mind later, in this thread too
            torch.set_num_threads(self.share)
        ready.set()
        while (task := self.todo.get()) is not None:
            future, item = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self.work(item))
            except BaseException as error:  # noqa: BLE001  # it is raised where the result is taken
                future.set_exception(error)
            del task, future, item

    def dismiss(self) -> None:
        for _ in self.threads:
            self.todo.put(None)
        end = time.monotonic() + (GRACE if self.share is None else PATIENCE)
        for thread in self.threads:
            thread.join(max(0.0, end - time.monotonic()))
