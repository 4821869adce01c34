"""tools/bench/end_to_end.py runs on a small network and says what it measured; no time is judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tools.bench.__main__ import main

ROOT = Path(__file__).parents[3]

CFG = """
[net]
width=64
height=64
channels=3

[convolutional]
filters=8
size=3
stride=4
pad=1
activation=leaky
batch_normalize=1

[maxpool]
size=2
stride=2

[convolutional]
filters=18
size=1
activation=linear

[region]
anchors=1,1, 2,2
classes=4
num=2
softmax=1
"""


@pytest.fixture
def small(tmp_path: Path) -> list[str]:
    path = tmp_path / "small.cfg"
    path.write_text(CFG, encoding="utf-8")
    threads = str(torch.get_num_threads())
    return ["--cfg", str(path), "--pictures", "3", "--batch", "2", "--rounds", "1", "--threads", threads]


def test_lists_and_parts_are_measured(small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["end-to-end", *small, "--only", "list", "parts", "--json", str(tmp_path / "found.json")]) == 0
    assert "JPEG to boxes / forward" in capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    lines = {line["name"]: line for line in found["rows"]}
    assert lines["JPEG to boxes / forward"]["limit"] == 1.1
    assert lines["(forward + JPEG) / forward"]["value"] > 1
    assert all(line["value"] > 0 for line in found["rows"] if line["value"] is not None)
    boxes = float(lines["the same, worked"]["note"].split()[0])
    assert 1 < boxes < 64


@pytest.mark.slow
def test_a_cold_start_is_measured(small: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["end-to-end", *small, "--only", "start", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [line["limit"] for line in found["rows"]] == [None, None, 600]


def test_networks_without_boxes_need_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "no.cfg"
    path.write_text(CFG.partition("[region]")[0] + "[softmax]\n", encoding="utf-8")
    assert main(["end-to-end", "--cfg", str(path), "--pictures", "1"]) == 1
    assert "name --weights of its own" in capsys.readouterr().err
