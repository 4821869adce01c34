"""tools/bench/train.py runs on a small network and says what it measured; no time is judged."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
import torch

from tools.bench import train as tool
from tools.bench import ways
from tools.bench.__main__ import main

ROOT = Path(__file__).parents[3]

CFG = """
[net]
batch=64
subdivisions=8
width=96
height=96
channels=3
learning_rate=.01
momentum=.9
decay=.0005
max_batches=100

[convolutional]
filters=8
size=3
pad=1
activation=leaky
batch_normalize=1

[maxpool]
size=2
stride=2

[convolutional]
filters=22
size=1
activation=linear

[region]
anchors=1,1, 2,2
classes=6
num=2
softmax=1
random=1
"""
PROGRAM = """#!/bin/sh
test "$1 $2" = "detector train" && grep -q batch=2 "$4" && grep -q max_batches=2 "$4" && grep -q random=0 "$4" || exit 1
echo "Loaded: 0.01 seconds"
echo "1: 35.1, 35.1 avg, 0.0 rate, 1.5 seconds, 2 images"
echo "2: 35.0, 35.1 avg loss, 0.0 rate, 2.5 seconds, 4 images, 0.1 hours left"
"""


@pytest.fixture
def cfg(tmp_path: Path) -> Path:
    path = tmp_path / "small.cfg"
    path.write_text(CFG, encoding="utf-8")
    return path


def executable(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def test_both_loops_do_the_same(cfg: Path) -> None:
    both = [ways.Timed(way, ways.Job.of(cfg, 64, 2, 1)) for way in (ways.PLAIN, ways.OURS)]
    for _ in range(3):
        costs = [float(way.steps.accumulate(*way.batch).cost) for way in both]
        assert costs[0] == pytest.approx(costs[1], rel=1e-5)
        for way in both:
            way.steps.update()
    plain, ours = (list(way.steps.network.parameters()) for way in both)
    for theirs, mine in zip(plain, ours, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=2e-5)


def test_parts_add_up_to_the_step(cfg: Path) -> None:
    parts = ways.Timed(ways.OURS, ways.Job.of(cfg, 64, 2, 1)).step()
    assert parts["step"] == pytest.approx(parts["forward"] + parts["backward"] + parts["update"])
    assert 0 < parts["loss"] < parts["forward"]


@pytest.mark.slow  # processes that import torch
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_steps_are_measured(cfg: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = executable(tmp_path / "darknet", PROGRAM)
    options = ("--size", "64", "--batch", "2", "--rounds", "1", "--threads", "1", "--workers", "0")
    assert main(["train", "--cfg", str(cfg), *options, "--binary", str(program), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settings"]["network"] == "small.cfg 64, batch 2"
    lines = {line["name"]: line for line in found["rows"] if line["group"] != "processor"}
    assert {"plain torch loop", "darknet_py", "darknet_py --tune-malloc", "share of waiting"} <= lines.keys()
    assert lines["darknet_py / plain"]["limit"] == lines["darknet_py --tune-malloc / plain"]["limit"] == 0.8
    assert lines["darknet, the C program"]["value"] == 2000
    assert all(line["low"] <= line["value"] <= line["high"] for line in lines.values())


@pytest.mark.parametrize("text", ["#!/bin/sh\necho no such network\n", "no program"])
def test_a_program_that_does_no_step_is_told_of(cfg: Path, tmp_path: Path, text: str) -> None:
    program = executable(tmp_path / "darknet", text)
    with pytest.raises((tool.BenchError, OSError), match=r"tells of no step|Exec format"):
        list(tool.binary(program, ways.Job.of(cfg, 64, 2, 1), tmp_path))


def test_a_process_that_fails_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.cfg"
    path.write_text("[net]\nwidth=8\nheight=8\nchannels=3\n[convolutional]\nactivation=linear\n", encoding="utf-8")
    assert main(["train", "--cfg", str(path), "--size", "8", "--rounds", "1"]) == 1
    assert "there is nothing to train with" in capsys.readouterr().err
    assert main(["train", "--cfg", str(tmp_path / "missing.cfg")]) == 1
