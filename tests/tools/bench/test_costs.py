"""tools/bench/costs.py runs on small networks and says what it measured; no time is judged."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.places import takes_long
from tools.bench import costs as tool
from tools.bench import measuring
from tools.bench.__main__ import main
from tools.bench.rows import spread

ROOT = Path(__file__).parents[3]

CFG = """
[net]
width=64
height=64
channels=3

[maxpool]
size=32
stride=32

[convolutional]
filters={filters}
size=1
activation=linear

[{head}]
anchors=1,1, 2,2
classes=9
num=2
softmax=1
{more}
"""
HEADS = {"yolov2": ("region", ""), "yolo9000": ("region", "tree=none.tree"), "yolov3": ("yolo", "")}


@pytest.fixture
def darknet(tmp_path: Path) -> Path:
    (tmp_path / "cfg").mkdir()
    for name, (head, more) in HEADS.items():
        text = CFG.format(filters=2 * (9 + 5), head=head, more=more)
        (tmp_path / "cfg" / f"{name}.cfg").write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "costs",
    [
        ["parse", "load", "decode", "convert"],
        pytest.param(["load-memory", "memory", "start"], marks=takes_long),  # processes that import torch
    ],
)
def test_costs_are_measured(costs: list[str], darknet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["costs", "--darknet", str(darknet), "--rounds", "1", "--json", "--only", *costs]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["machine"]["threads"] >= 1
    assert {line["group"] for line in found["rows"]} == set(costs)
    measured = [line for line in found["rows"] if line["value"] is not None]
    assert all(line["low"] <= line["high"] for line in measured)
    assert any(line["holds"] is not None for line in measured)


def test_check_fails_only_where_a_limit_does_not_hold(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = spread("parse", "a cfg", [3.0, 1.0, 2.0], "ms", limit=1)
    monkeypatch.setitem(tool.COSTS, "parse", lambda _: iter([line]))
    assert main(["costs", "--only", "parse"]) == 0
    assert "a cfg  2.00 ms" in capsys.readouterr().out
    assert main(["costs", "--only", "parse", "--check"]) == 1


def test_a_command_that_fails_is_not_measured() -> None:
    with pytest.raises(measuring.BenchError, match="exit code 3"):
        measuring.command(sys.executable, "-c", "raise SystemExit(3)")()
