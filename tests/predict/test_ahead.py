"""Threads that work ahead, and batches side by side: order, bounds, errors, and what stays behind."""

from __future__ import annotations

import threading
import time
from itertools import count, islice

import pytest
import torch

from darknet_py.predict import ahead as reading
from darknet_py.predict.ahead import ahead, in_batches, taken_ahead


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)


def left() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "pictures"]


def test_results_come_in_order_whatever_takes_how_long():
    def slow(n: int) -> int:
        time.sleep(0.01 * (n % 3 == 0))
        return n

    assert list(ahead(range(20), slow, count=5, threads=4)) == list(range(20))
    assert not left()


def test_no_more_is_begun_than_asked_for():
    begun = []
    results = ahead(count(), lambda n: begun.append(n) or n, count=3, threads=2)
    assert list(islice(results, 5)) == [0, 1, 2, 3, 4]
    results.close()
    assert len(begun) <= 8
    assert not left()


def test_an_error_comes_where_the_result_would():
    def work(n: int) -> int:
        if n == 3:
            raise ValueError("three")
        return n

    seen = []
    with pytest.raises(ValueError, match="three"):
        seen.extend(ahead(range(10), work, count=6, threads=2))
    assert seen == [0, 1, 2]
    assert not left()


@pytest.mark.parametrize("threads", [1, 3])
def test_an_item_that_is_an_error_comes_in_its_place(threads):
    def items():
        yield from range(4)
        raise ValueError("four")

    seen = []
    with pytest.raises(ValueError, match="four"):
        seen.extend(ahead(items(), lambda n: n, count=6, threads=threads))
    assert seen == [0, 1, 2, 3]
    assert not left()


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("count", range(6))
def test_so_it_does_between_batches(two_threads, lanes, count):
    def items():
        yield from range(count)
        raise ValueError("no more")

    seen = []
    with pytest.raises(ValueError, match="no more"):
        seen.extend(in_batches(items(), list, size=2, lanes=lanes))
    assert [item for one in seen for item in one] == list(range(count))
    assert not left()


def test_items_are_asked_for_in_the_thread_of_the_caller():
    def items():
        for n in range(4):
            yield n, threading.current_thread()

    assert {thread for _, thread in ahead(items(), lambda item: item, count=2, threads=2)} == {threading.main_thread()}


def test_what_hangs_is_left_behind(monkeypatch):
    monkeypatch.setattr(reading, "GRACE", 0.05)
    hangs, begun = threading.Event(), threading.Event()

    def work(n: int) -> int:
        if n == 1:
            begun.set()
            hangs.wait()
        return n

    results = ahead(range(9), work, count=4, threads=2)
    assert next(results) == 0
    begun.wait()
    start = time.monotonic()
    results.close()
    assert time.monotonic() - start < 5
    (thread,) = left()
    assert thread.daemon
    hangs.set()
    thread.join()


def test_each_thread_has_its_share_of_torchs_threads(two_threads):
    shares = set(ahead(range(8), lambda _: torch.get_num_threads(), count=3, threads=2, share=1))
    assert shares == {1}
    assert torch.get_num_threads() == 2
    found: list[int] = []
    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert found == [2]


@pytest.mark.parametrize(
    ("items", "lanes", "sizes"),
    [
        (0, 1, []),
        (9, 1, [4, 4, 1]),
        (0, 2, []),
        (1, 2, [1]),
        (2, 2, [1, 1]),
        (4, 2, [2, 2]),
        (7, 2, [4, 3]),
        (8, 2, [4, 4]),
        (11, 2, [4, 4, 2, 1]),
        (12, 2, [4, 4, 2, 2]),
        (25, 3, [4, 4, 4, 4, 4, 4, 1]),
    ],
)
def test_the_last_items_are_shared_out(two_threads, items, lanes, sizes):
    lists = list(in_batches(range(items), list, size=4, lanes=lanes))
    assert [len(one) for one in lists] == sizes
    assert [item for one in lists for item in one] == list(range(items))


def test_lanes_run_at_the_same_time_and_one_list_runs_here(two_threads):
    meet = threading.Barrier(2, timeout=5)
    assert list(in_batches(range(8), lambda _: meet.wait() in (0, 1), size=2, lanes=2)) == [True] * 4
    (here,) = in_batches(range(1), lambda _: (threading.current_thread(), torch.get_num_threads()), size=4, lanes=2)
    assert here == (threading.main_thread(), 2)


def test_items_taken_ahead_are_those_of_the_iterator():
    taken = []

    def items():
        for n in range(5):
            taken.append(threading.current_thread())
            yield n

    assert list(taken_ahead(items(), 2)) == list(range(5))
    assert threading.main_thread() not in taken
    assert list(taken_ahead([], 2)) == []


def test_an_error_of_the_iterator_comes_in_its_place():
    def items():
        yield 1
        raise ValueError("two")

    taken = taken_ahead(items(), 3)
    assert next(taken) == 1
    with pytest.raises(ValueError, match="two"):
        next(taken)
    assert not left()
