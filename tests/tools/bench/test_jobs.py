"""tools/bench/jobs.py does its jobs on small sizes, beside whoever is installed; no time is judged."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
import torch

from tools.bench import measuring
from tools.bench.__main__ import main
from tools.bench.peers import runner
from tools.bench.trials import boxes, files, sets
from tools.bench.trials import trial as trials

ROOT = Path(__file__).parents[3]

ABSENT = "is not installed"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, object]]:
    assert main(["jobs", *arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["machine"]["threads"] >= 1
    assert "scikit-learn" in found["versions"]
    return {f"{line['group']}: {line['name']}": line for line in found["rows"]}


@pytest.mark.parametrize(
    ("jobs", "scale"),
    [(["parse", "load", "convert"], ".001"), (["decode", "nms", "nms-one-class", "precision"], ".01")],
)
def test_jobs_are_measured(
    jobs: list[str], scale: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(files, "LAYERS", (3, 10, 30))
    lines = run(capsys, "--only", *jobs, "--scale", scale, "--rounds", "1")
    assert {line["group"] for line in lines.values()} == set(jobs)
    assert not [line for line in lines.values() if "DIFFER" in str(line["note"])]
    for job in jobs:
        growths = [name for name in lines if name.startswith(f"{job}: growth, ")]
        others = [name for name in lines if name.startswith(f"{job}: ") and " / " in name]
        missing = [line for name, line in lines.items() if name.startswith(f"{job}: ") and line["value"] is None]
        assert len(growths) >= 1
        assert len(others) >= 3 or any(
            line["note"].endswith(ABSENT) or " does not work here: " in line["note"] for line in missing
        )
    measured = [line for line in lines.values() if line["value"] is not None]
    assert all(line["low"] <= line["high"] for line in measured)


def test_packages_that_cannot_be_had_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_for_another_torch.py").write_text("raise RuntimeError('operator nms is not here\\nsee below')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        measuring.BenchError, match="^made_for_another_torch does not work here: operator nms is not here$"
    ):
        runner.needed("made_for_another_torch")
    with pytest.raises(measuring.BenchError, match=f"^there_is_no_such {ABSENT}$"):
        runner.needed("there_is_no_such")


def test_anchors_are_measured_beside_scikit_learn(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    lines = run(capsys, "--only", "k-means", "--scale", ".002", "--rounds", "1", "--threads", "1")
    note = lines["k-means: 2,000 boxes, results"]["note"]
    squares = {part.split(" ")[-1] for part in str(note).split("; ") if part.startswith(("cluster, sse", "KMeans, 10"))}
    assert len(squares) in {1, 2}
    assert max(map(float, squares)) < 1.05 * min(map(float, squares))


def test_who_is_not_installed_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    for name in ("cv2", "torchvision", "torchvision.ops", "sklearn", "sklearn.cluster", "pycocotools.cocoeval"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(files, "LAYERS", (3, 10, 30))
    jobs = ["parse", "decode", "nms", "k-means", "precision"]
    assert main(["jobs", "--only", *jobs, "--scale", ".0005", "--rounds", "1"]) == 0
    printed = capsys.readouterr().out
    for name in ("cv2", "torchvision.ops", "sklearn.cluster", "pycocotools.cocoeval"):
        assert f"{name} is not installed" in printed


def test_a_disagreement_is_shown() -> None:
    ours = {"boxes.nms": torch.tensor([True, False, True])}
    assert boxes.same_kept(ours) == ""
    assert boxes.same_kept({**ours, "torchvision": torch.tensor([2, 0])}) == "the same 2 boxes are kept"
    assert "of which 2 DIFFER" in boxes.same_kept({**ours, "torchvision": torch.tensor([1, 0])})
    numbers = {"Scores.coco": [0.5, float("nan")], "pycocotools": [0.5, -1.0]}
    assert "DIFFER" not in sets.same_numbers(numbers)
    assert "1.0e-06 apart: they DIFFER" in sets.same_numbers({**numbers, "pycocotools": [0.500001, -1.0]})


def test_growth_is_the_power_of_the_size() -> None:
    lines = {line.name: line for line in trials.growth("job", [1, 10, 100], {"a": [1, 10, 100], "b": [3, 30, 3000]})}
    assert lines["growth, a"].value == pytest.approx(1)
    assert lines["growth, b"].value == pytest.approx(1.5)
    assert (lines["growth, b"].low, lines["growth, b"].high) == (pytest.approx(1), pytest.approx(2))
    assert not list(trials.growth("job", [1, 10, 100], {"only at two": [1, 2]}))


def test_rounds_end_with_the_time_and_the_first_does_not_count() -> None:
    given: list[str] = []
    entrants = [
        trials.Entrant("ours", lambda word: given.append(word) or time.sleep(0.01), prepare=lambda: "made"),
        trials.Entrant("other", lambda: time.sleep(0.02), "ours"),
    ]
    trial = trials.Trial("small", 1, entrants, lambda results: str(sorted(results)))
    found, note = trials.rounds_of(trial, 0.2, None)
    assert given == ["made"] * (len(found["ours"]) + 1)
    assert 1 <= len(found["ours"]) == len(found["other"]) <= 6
    assert note == "['other', 'ours']"
    found, _ = trials.rounds_of(trial, 0, None)
    assert len(found["ours"]) == 1
    (ratio,) = (line for line in trials.rows_of("job", trial, found, note) if line.name == "small, ours / other")
    assert 0.1 < ratio.value < 2


def test_official_cfgs_come_from_the_checkout(tmp_path: Path) -> None:
    (tmp_path / "cfg").mkdir()
    with pytest.raises(measuring.BenchError, match=r"densenet201\.cfg is not here"):
        measuring.find_cfg("densenet201.cfg", tmp_path)
    assert measuring.find_cfg("yolov2.cfg", tmp_path) == ROOT / "cfg/yolov2.cfg"
    (tmp_path / "cfg/yolov2.cfg").touch()
    assert measuring.find_cfg("yolov2.cfg", tmp_path) == tmp_path / "cfg/yolov2.cfg"
    assert main(["jobs", "--only", "parse", "--darknet", str(tmp_path), "--rounds", "1"]) == 1
