"""The sizes of random=1."""

from __future__ import annotations

from collections import Counter

import pytest

from darknet_py.errors import DarknetError
from darknet_py.train.sizes import CLASSIFIER, DETECTOR, Sizes, size_at


def test_detectors_get_all_ten_sizes_as_often():
    counts = Counter(size_at(0, batch, 10**6) for batch in range(0, 20000, 10))
    assert sorted(counts) == list(range(320, 609, 32))
    assert min(counts.values()) > 150


def test_a_size_stays_for_ten_batches():
    sizes = [size_at(3, batch, 10**6) for batch in range(200)]
    turns = [sizes[at : at + 10] for at in range(0, 200, 10)]
    assert all(len(set(turn)) == 1 for turn in turns)
    assert len(set(sizes)) > 5


def test_the_last_batches_are_large():
    sizes = [size_at(0, batch, 1000) for batch in range(1000)]
    assert set(sizes[810:]) == {608}
    assert set(sizes[:800]) != {608}
    assert size_at(0, 800, 1000) == size_at(0, 800, 10**6)  # C asks for batch + 200 > max_batches


def test_sizes_follow_from_seed_and_batch_alone():
    first, again, other = ([size_at(seed, batch, 10**6) for batch in range(0, 500, 10)] for seed in (1, 1, 2))
    assert first == again != other


def test_classifiers_get_their_own():
    sizes = {size_at(0, batch, 500, CLASSIFIER) for batch in range(0, 40000, 40)}
    assert sizes == set(range(128, 449, 32))
    assert len({size_at(0, batch, 500, CLASSIFIER) for batch in range(40)}) == 1


def test_other_ranges():
    sizes = Sizes(low=96, high=160, step=16)
    assert {size_at(0, batch, 10**6, sizes) for batch in range(0, 2000, 10)} == {96, 112, 128, 144, 160}
    assert size_at(0, 5, 100, sizes) == 160
    assert Sizes(low=DETECTOR.low) == DETECTOR


@pytest.mark.parametrize("keys", [{"low": 640}, {"low": 100}, {"high": 333}, {"low": 0}, {"step": 0}, {"low": -32}])
def test_ranges_without_a_size_are_errors(keys):
    with pytest.raises(DarknetError, match="multiples of"):
        Sizes(**keys)
