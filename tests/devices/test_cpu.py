"""Other ways of a CPU: one thread, sorting, searching."""

from __future__ import annotations

import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darknet_py import devices

numbers = st.floats(width=32, allow_nan=False) | st.sampled_from([0.0, -0.0, 0.5, 0.25, float("inf"), float("-inf")])


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_one_thread_is_for_who_asks_and_ends() -> None:
    if devices._openmp() is None:
        pytest.skip("torch has no OpenMP that can be asked")
    seen = []
    with devices.one_thread():
        assert torch.get_num_threads() == 1
        other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        other.start()
        other.join()
        with devices.one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert seen == [2]
    assert torch.get_num_threads() == 2
    with pytest.raises(ZeroDivisionError), devices.one_thread():
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_one_thread_without_openmp_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_openmp", lambda: None)
    with devices.one_thread():
        assert torch.get_num_threads() == 2


@pytest.mark.parametrize("found", [object(), OSError("no library")])
@pytest.mark.usefixtures("two_threads")
def test_a_library_that_is_no_openmp_is_left_alone(found: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def library(_name: None) -> object:
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr(devices.ctypes, "CDLL", library)
    assert devices._openmp.__wrapped__() is None
    assert torch.get_num_threads() == 2


def test_an_openmp_that_torch_does_not_use_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        def omp_set_num_threads(self, count: int) -> None:
            """Tell somebody else."""

    monkeypatch.setattr(devices.ctypes, "CDLL", lambda _name: Other())
    assert devices._openmp.__wrapped__() is None


@settings(deadline=None)
@given(st.lists(numbers, max_size=40))
def test_descending_is_a_stable_sort(values: list[float]) -> None:
    row = torch.tensor(values, dtype=torch.float32)
    expected = row.sort(descending=True, stable=True).indices
    assert torch.equal(devices.descending(row), expected)
    assert torch.equal(devices.descending(row.double()), expected)


def test_descending_of_values_that_lie_apart_and_have_gradients() -> None:
    table = torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 0.0]], requires_grad=True)
    assert devices.descending(table[:, 0]).tolist() == [1, 2, 0]


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=40))
def test_places_are_where_the_mask_holds(values: list[bool]) -> None:
    assert devices.places(torch.tensor(values, dtype=torch.bool)).tolist() == [
        n for n, value in enumerate(values) if value
    ]
