from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from darknet_py.data import DetectionData, Key, PictureData, Sample, batches
from darknet_py.errors import CfgError, DarknetError
from tests.support.made import list_data, make_data, region_graph

FILES = Path("/proc/self/fd")


@pytest.fixture
def data(tmp_path: Path) -> DetectionData:
    return DetectionData.from_cfg(region_graph(), make_data(tmp_path), seed=7)


def keys(start: int = 0, stop: int = 6, size: int = 3) -> Iterator[list[Key]]:
    """Mini-batches, every other of another size."""
    for number in range(start, stop):
        side = (32, 48)[number % 2]
        yield [Key(number * size + n, side, side) for n in range(size)]


def same(a: Sequence[tuple[Tensor, Tensor]], b: Sequence[tuple[Tensor, Tensor]]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x, y) for one, other in zip(a, b, strict=True) for x, y in zip(one, other, strict=True)
    )


def soon(condition: Callable[[], bool]) -> bool:
    """Whether something comes true within ten seconds."""
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.05)
    return condition()


def test_batches(data: DetectionData) -> None:
    found = list(batches(data, keys()))
    assert [tuple(images.shape) for images, _ in found[:2]] == [(3, 3, 32, 32), (3, 3, 48, 48)]
    assert found[0][1].shape == (3, 150)
    assert torch.equal(found[1][0][2], data[Key(5, 48, 48)][0])


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_workers_change_nothing(data: DetectionData, workers: int) -> None:
    assert same(list(batches(data, keys(), workers)), list(batches(data, keys())))


def test_a_run_that_goes_on_later_gets_what_it_would_have_got(data: DetectionData) -> None:
    assert same(list(batches(data, keys(3), 1)), list(batches(data, keys()))[3:])


def test_the_common_random_numbers_are_left_alone(data: DetectionData) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    for workers in (0, 1):
        list(batches(data, keys(), workers))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 2])
def test_keys_are_asked_for_as_they_are_needed(data: DetectionData, workers: int) -> None:
    asked = []

    def endless() -> Iterator[list[Key]]:
        number = 0
        while True:
            asked.append(number)
            yield [Key(number, 16, 16)]
            number += 1

    made = batches(data, endless(), workers)
    for _ in range(5):
        next(made)
    made.close()
    assert len(asked) <= 5 + 2 * workers


@pytest.mark.parametrize("workers", [1, 2])
def test_closing_ends_the_workers(data: DetectionData, workers: int) -> None:
    before = set(multiprocessing.active_children())
    made = batches(data, keys(0, 100), workers)
    next(made)
    started = set(multiprocessing.active_children()) - before
    assert len(started) == workers
    made.close()
    assert not any(process.is_alive() for process in started)


@pytest.mark.skipif(not FILES.is_dir(), reason="this system does not show the files of a process")
def test_files_do_not_add_up(data: DetectionData) -> None:
    list(batches(data, keys(0, 3), 1))
    before = len(list(FILES.iterdir()))
    for _ in range(3):
        made = batches(data, keys(0, 50), 1)
        next(made)
        made.close()
    list(batches(data, keys(0, 30), 2))
    assert soon(lambda: len(list(FILES.iterdir())) <= before)  # the last queue is closed by a thread of its own


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_problems_are_reported_once_by_any_number_of_workers(tmp_path: Path, workers: int) -> None:
    made = make_data(tmp_path)
    (tmp_path / "labels/1.txt").write_text("bad\n1 .5 .5 .5 .5\nworse\n")
    (tmp_path / "images/2.png").unlink()
    reports: list[str] = []
    data = DetectionData.from_cfg(region_graph(), made, report=reports.append)
    for _ in range(2):
        assert len(list(batches(data, keys(0, 12), workers))) == 12
    assert sorted(report.removeprefix(f"{tmp_path}/").partition(": ")[0] for report in reports) == [
        "images/2.png", "labels/1.txt:1", "labels/1.txt:3",
    ]  # fmt: skip
    assert len(data.problems) == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_come_as_they_are(tmp_path: Path, workers: int) -> None:
    data = DetectionData.from_cfg(region_graph(), list_data(tmp_path, "gone.jpg"))
    with pytest.raises(DarknetError, match=r"train\.list: none of the pictures") as caught:
        list(batches(data, keys(), workers))
    assert "\n" not in str(caught.value)
    assert not multiprocessing.active_children()


class Told(PictureData):
    """A data set that does what a test says."""

    def make(self, path: str, key: Key, generator: torch.Generator) -> Sample:
        if path == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if path == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
        return Sample(torch.zeros(1), torch.tensor([float(torch.get_num_threads())]))


def test_workers_have_one_thread(tmp_path: Path) -> None:
    assert [truth.tolist() for _, truth in batches(Told(["x"], "list", 3, 0), keys(0, 1), 1)] == [[[1], [1], [1]]]


def test_ctrl_c_does_not_end_workers() -> None:
    assert len(list(batches(Told(["interrupt"], "list", 3, 0), keys(), 2))) == 6


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_worker_that_dies_is_an_error() -> None:
    with pytest.raises(DarknetError, match="a worker that loads pictures died"):
        list(batches(Told(["die"], "list", 3, 0), keys(), 1))


def test_bad_keys_are_not_hidden(data: DetectionData) -> None:
    def failing() -> Iterator[list[Key]]:
        yield [Key(0, 16, 16)]
        raise CfgError("no more")

    for workers in (0, 1):
        with pytest.raises(CfgError, match="no more"):
            list(batches(data, failing(), workers))


def test_an_iterator_that_is_forgotten_ends_its_workers(data: DetectionData) -> None:
    next(batches(data, keys(0, 100), 2))
    assert soon(lambda: not multiprocessing.active_children())
