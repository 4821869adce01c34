"""The recipes of docs/convert.md run, in their order, on a small network under the names that they use."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

from darknet_py.cli import main
from tests.support.places import GOLDEN

DOCUMENT = Path(__file__).parents[2] / "docs/convert.md"


def test_every_recipe_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("cfg").mkdir()
    shutil.copy(GOLDEN / "boxes/boxes_region.cfg", "cfg/yolov2.cfg")
    shutil.copy(GOLDEN / "boxes/boxes_region.weights", "yolov2.weights")
    commands = re.findall(r"^darknet-py .*$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) > 12
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, (command, capsys.readouterr().err)
        if command.endswith("back.weights"):
            assert Path("back.weights").read_bytes() == Path("yolov2.weights").read_bytes()
    assert Path("folded.cfg").exists()
