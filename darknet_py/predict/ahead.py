"""Reads ahead and computes batches in parallel, with results in order."""

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
GRACE, PATIENCE = 1.0, 10.0  # seconds to wait for work whose result nobody needs any more
LANES = 2


def readers() -> int:
    """The number of threads that read files."""
    return min(os.cpu_count() or 1, 8)


def usual_batch(device: torch.device) -> int:
    """The default batch size of a device."""
    return 4 if device.type == "cpu" else 16


def lanes(engine: Engine) -> int:
    """The number of batches to compute in parallel: with half the threads each, they wait less for one another.

    Networks without a faster engine may keep state or have hooks, so they get one batch after the other.
    """
    apart = engine.network.device.type == "cpu" and torch.get_num_threads() % LANES == 0 and engine.name != "plain"
    return LANES if apart else 1


def in_batches(
    items: Iterable[T], run: Callable[[list[T]], U], *, size: int, lanes: int = 1
) -> Generator[U, None, None]:
    """The results of `run` for `size` items at a time, for as many lists in parallel as there are lanes.

    The last items are divided among the lanes if one would have nothing to do.
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
    """Do `work` for items in threads, for at most `count` items ahead of the results that are taken, in order.

    Items are taken in the caller's thread; errors, those of items too, are raised in place of the result. When the
    generator is closed, no new work starts, and running work is awaited, but not longer than `GRACE`. With `share` the
    work is computing: each thread may use that many threads of torch, and is awaited a little longer.
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
    """The same items, produced in a thread of their own, at most `count` ahead."""
    iterator = iter(items)

    def take(_: None) -> list[T]:
        return list(islice(iterator, 1))

    with closing(ahead(repeat(None), take, count=count, threads=1)) as taken:
        for item in taken:
            if not item:
                return
            yield item[0]


class _Source(Iterator[T]):
    """Items up to the first error, which `settle` raises after the results before it."""

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
    """Threads that do `work`; started on demand, and ended with the process if they hang."""

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
            torch.set_num_threads(total)  # holds for later threads, too

    def _serve(self, ready: threading.Event) -> None:
        if self.share is not None:
            torch.get_num_threads()  # otherwise torch sets its number later, in this thread too
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
