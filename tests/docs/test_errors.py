"""docs/errors.md: each message in it is given, word for word, by the command that a user would have typed."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import warnings
from pathlib import Path

import pytest
from PIL import Image

from darknet_py.cli import main
from darknet_py.devices import memory
from darknet_py.errors import DarknetError
from darknet_py.files.locks import FolderLock
from tests.support.documents import ROOT, blocks

DOCUMENT = ROOT / "docs" / "errors.md"
STANDS_FOR = {"FILE": r"\S+", "NAME": ".+?", "KEY": r"\w+", "SECTION": r"\w+", "LINE": r"\d+", "N": r"-?[\d.]+"}
TEST = "detector test cfg/shapes.data"
TRAIN = "detector train cfg/shapes.data"
COMMANDS = (  # in the order of the document
    "summary misspelt.cfg",
    "summary unknown.cfg",
    "summary other.cfg",
    "summary classes.cfg",
    "summary odd.cfg",
    "summary route.cfg",
    f"{TEST} nowhere.cfg shapes dog.png",
    f"{TEST} cfg/yolov2.cfg shapes dog.png",
    f"{TEST} cfg/shapes.cfg short.weights dog.png",
    f"{TEST} cfg/shapes.cfg long.weights dog.png",
    f"{TEST} cfg/shapes.cfg page.weights dog.png",
    f"{TEST} cfg/shapes.cfg shapes page.weights",
    "detector train unlabelled.data small.cfg",
    "detector train mislabelled.data small.cfg",
    f"{TRAIN} nan.cfg --batches 5",
    f"{TRAIN} cfg/darknet19.cfg --names-anyway",
    f"{TRAIN} cfg/shapes.cfg --backup taken",
    f"{TEST} cfg/shapes.cfg shapes dog.png --engine cuda -nogpu",
    f"{TEST} cfg/shapes.cfg shapes dog.png -i 77",
    f"{TEST} large.cfg shapes dog.png",
    f"{TRAIN} cfg/shapes.cfg --backup taken",
    "detector tests",
    "detector demo cfg/shapes.data cfg/shapes.cfg shapes",
)


def pattern(message: str) -> re.Pattern[str]:
    """A regular expression for a message of the document and whatever follows it in its line."""
    words = re.split(r"\b(FILE|NAME|KEY|SECTION|LINE|N)\b", message.strip())
    return re.compile("".join(STANDS_FOR.get(word, re.escape(word)) for word in words))


def write_cfgs() -> None:
    """cfg files, each with a mistake."""
    text = Path("cfg/shapes.cfg").read_text(encoding="utf-8")
    net = "[net]\nwidth=32\nheight=32\nchannels=3\n[convolutional]\n"
    small = re.sub(r"(?m)^(batch|subdivisions)=.*$", r"\1=1", text).replace("random=1", "random=0")
    texts = {
        "misspelt": f"{net}filtres=8\n",
        "unknown": f"{net}[fully]\n",
        "other": f"{net}activation=mish\n",
        "classes": re.sub(r"classes=\d+", "classes=3", text),
        "odd": re.sub(r"(width|height)=\d+", r"\1=200", text),
        "large": re.sub(r"(width|height)=\d+", r"\1=448", text),
        "route": f"{net}[route]\nlayers=-40\n",
        "small": small,
        "nan": re.sub(r"(?m)^burn_in=.*$", "", re.sub(r"learning_rate=\S+", "learning_rate=1e30", small)),
    }
    for name, changed in texts.items():
        Path(f"{name}.cfg").write_text(changed, encoding="utf-8")


def write_data() -> None:
    """A picture with a label, one without and one with a class that is none; and a list of each."""
    labels = {"shapes": "2 .5 .5 .2 .2\n", "unlabelled": None, "mislabelled": "9 .5 .5 .2 .2\n"}
    for name, label in labels.items():
        for folder in ("images", "labels"):
            Path(f"data/{name}/{folder}").mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(f"data/{name}/images/a.png")
        Path(f"data/{name}/train.txt").write_text(f"data/{name}/images/a.png\n")
        Path(f"{name}.data").write_text(f"classes=6\nnames=cfg/shapes.names\ntrain=data/{name}/train.txt\n")
        if label is not None:
            Path(f"data/{name}/labels/a.txt").write_text(label)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with files that have something wrong with them."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "cfg", "cfg")
    write_cfgs()
    write_data()
    Image.new("RGB", (96, 96)).save("dog.png")
    weights = (ROOT / "weights" / "shapes.weights").read_bytes()
    Path("short.weights").write_bytes(weights[:1_000_000])
    Path("long.weights").write_bytes(weights + weights[:1_000_000])
    Path("page.weights").write_text("<!DOCTYPE html><html><head></head></html>")


@pytest.fixture
def taken(folder):
    """A folder that a run of this process has."""
    Path("taken").mkdir()
    lock = FolderLock(Path("taken"))
    lock.take()
    yield
    lock.give_back()


@pytest.mark.parametrize(("message", "command"), list(zip(blocks(DOCUMENT, "text"), COMMANDS, strict=True)))
@pytest.mark.usefixtures("taken")
def test_the_message_is_given(message, command, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cv2", None)
    if "memory" in message:
        monkeypatch.setattr(memory, "available", lambda: 1 << 22)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        main(shlex.split(command))
    lines = [re.sub("^darknet-py: (warning: )?", "", line) for line in capsys.readouterr().err.splitlines()]
    assert any(pattern(message).match(line) for line in lines), lines


def test_every_class_of_errors_is_in_it():
    named = set(re.findall(r"(?m)^\| `(\w+)` \|", DOCUMENT.read_text(encoding="utf-8")))
    assert named == {kind.__name__ for kind in DarknetError.__subclasses__()}
