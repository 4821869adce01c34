"""A run that is killed and resumed ends as one that never was."""

from __future__ import annotations

import csv
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from darknet_py.cli import main
from darknet_py.train import Checkpoint
from tests.support.drawn import data_file, detector, pictures

DROPOUT = "\n[dropout]\nprobability=.2\n"
BATCHES = 30
SAVED = ("tiny.backup", "tiny_final.weights")


@pytest.fixture(scope="module")
def kit(tmp_path_factory) -> Path:
    """Pictures, and a cfg with everything that a run has to remember: momentum, dropout, sizes, a rate that changes."""
    folder = tmp_path_factory.mktemp("kit")
    data_file(folder, pictures(folder, 6))
    more = "burn_in=5\npolicy=steps\nsteps=15\nscales=.1\nhue=.1\nsaturation=1.5\nexposure=1.5"
    path = detector(folder / "tiny.cfg", max_batches=BATCHES, random=1, widths=(4, 4), more=more)
    text = path.read_text()
    at = text.index("[maxpool]")
    path.write_text(text[:at] + DROPOUT.lstrip() + "\n" + text[at:])
    return folder


def command(kit: Path, folder: Path, *more: str) -> list[str]:
    return [
        "detector", "train", str(kit / "all.data"), str(kit / "tiny.cfg"), "-backup", str(folder), "--save-every", "5",
        "--sizes", "32,64", "--log", str(folder.with_suffix(".csv")), "--seed", "7", "--map-every", "15", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def straight(kit) -> Path:
    """The files of a run that was never killed."""
    folder = kit / "straight"
    assert main(command(kit, folder)) == 0
    return folder


def same(first: Path, second: Path) -> None:
    for name in SAVED:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    names = [sorted(path.name for path in folder.iterdir()) for folder in (first, second)]
    assert names[0] == names[1]
    logs = [list(csv.reader(folder.with_suffix(".csv").read_text().splitlines())) for folder in (first, second)]
    timeless = [[[*row[:8], row[10]] for row in log] for log in logs]
    assert len(timeless[0]) == 1 + BATCHES + 2
    assert timeless[0] == timeless[1]


class KilledError(BaseException):
    """Stands for SIGKILL."""


@pytest.mark.parametrize("replaced", [2, 3, 11, 12])
def test_killed_while_a_file_takes_its_place(kit, straight, monkeypatch, replaced):
    folder = kit / f"replaced{replaced}"
    done, replace = [], Path.replace

    def killing(path: Path, target: Path) -> Path:
        if target.parent == folder.resolve():
            done.append(target)
        if len(done) >= replaced:
            raise KilledError
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", killing)
    with pytest.raises(KilledError):
        main(command(kit, folder))
    monkeypatch.undo()
    backup = folder / "tiny.backup"
    named = [str(backup)] if replaced > 3 else []  # an argument means the same as --resume where there is a backup
    assert main(command(kit, folder, *(named or ["--resume"]))) == 0
    same(straight, folder)


def kill(kit: Path, folder: Path, lines: int, delay: float) -> None:
    """Train in a process that gets SIGKILL after so many updates and seconds."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-m", "darknet_py", *command(kit, folder, "--resume")], stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env=environment,
    )  # fmt: skip
    seen = 0
    for line in process.stdout:
        seen += bool(re.match(r"\d+: .* images$", line))
        if seen == lines:
            break
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_killed_at_any_moment(kit, straight):
    folder, draw = kit / "killed", random.Random(5)
    for _ in range(3):
        kill(kit, folder, draw.randint(5, 9), draw.uniform(0, 0.05))
    assert Checkpoint.read(folder / "tiny.resume").values["stepper"]["seen"] >= 4 * 3 * 5  # it did not start anew
    assert main(command(kit, folder, "--resume")) == 0
    same(straight, folder)
