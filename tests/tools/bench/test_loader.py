"""tools/bench/loader.py runs and says what it measured; no time is judged."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import torch

from tools.bench import limits
from tools.bench import loader as tool
from tools.bench.__main__ import main


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    monkeypatch.setattr(tool, "CFG_FILE", tool.ROOT / "cfg/shapes.cfg")
    monkeypatch.setattr(tool, "PICTURES", 2)
    monkeypatch.setattr(tool, "BATCH", 2)
    monkeypatch.setattr(tool, "PICTURE", tool.Extent(20, 15))
    yield
    torch.set_num_threads(threads)


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--workers", "0", "1", "--size", "64", "--batches", "1", "--rounds", "1"]
    assert main(["loader", *options, "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)["rows"]
    assert [line["name"] for line in lines if line["group"] == "loader"] == [
        "a picture, 0 workers", "pictures a second, 0 workers", "a picture, 1 worker", "pictures a second, 1 worker",
    ]  # fmt: skip
    assert all(line["value"] > 0 for line in lines)
    assert [line["name"].split(",")[0] for line in lines if line["group"] == "step"] == [
        "pictures a second without a loader", "pictures a second with 1 workers", "waiting for a batch",
    ]  # fmt: skip
    assert main(["loader", *options]) == 0
    assert "place it and change its colours" in capsys.readouterr().out


def test_a_limit_that_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PICTURE", 0.0)
    assert main(["loader", "--workers", "0", "--size", "64", "--batches", "1", "--rounds", "1", "--check"]) == 1


@pytest.mark.parametrize("option", ["--size", "--batches", "--rounds"])
def test_numbers_start_at_one(option: str) -> None:
    with pytest.raises(SystemExit):
        main(["loader", option, "0"])
