"""`--engine`, and that every verb that looks at pictures uses the fastest engine."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest
from PIL import Image

from darknet_py.cli import main
from darknet_py.cli.options import engine_argument
from darknet_py.engine import ENGINES, Engine
from darknet_py.network import Network
from tests.support.engines import AVAILABLE, needs_engine
from tests.support.places import GOLDEN

BOXES = [GOLDEN / "boxes" / f"boxes_region.{suffix}" for suffix in ("cfg", "weights")]
CLASSES = [GOLDEN / "layers" / f"avgpool_softmax.{suffix}" for suffix in ("cfg", "weights")]
VERBS = {
    "detector test": ("a.data", *BOXES, "one.png", "--json"),
    "yolo test": (*BOXES, "one.png", "--json", "--names-anyway"),
    "detector valid": ("a.data", *BOXES, "--json"),
    "detector recall": ("a.data", *BOXES, "--json"),
    "detector map": ("a.data", *BOXES, "--json"),
    "classifier predict": ("a.data", *CLASSES, "one.png", "--json", "--names-anyway"),
    "classifier valid": ("a.data", *CLASSES, "--json"),
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a picture, its label, and a .data file."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("one.png")
    files = {
        "a.names": "a\nb\nc\nd\n", "a.txt": "one.png\n", "one.txt": "0 .5 .5 .2 .2\n",
        "a.data": "names=a.names\nlabels=a.names\nvalid=a.txt\nresults=results\n",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "results").mkdir()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_takes_it(verb, here, monkeypatch, capsys):
    names, plain, heads, calls = [], [], Engine.heads, Network.heads
    monkeypatch.setattr(Engine, "heads", lambda self, x: names.append(self._wanted) or heads(self, x))
    monkeypatch.setattr(Network, "heads", lambda self, x: plain.append(len(x)) or calls(self, x))
    command = [*verb.split(), *map(str, VERBS[verb])]
    for given in (None, "plain", *AVAILABLE):
        assert main(command + (["--engine", given] if given else [])) == 0
    assert names == [None, "plain", *AVAILABLE]
    assert len(plain) == (1 if AVAILABLE else 2)


@needs_engine
def test_it_makes_no_difference_to_what_is_printed(here, capsys):
    records = []
    for name in ("plain", *AVAILABLE):
        assert main(["detector", "test", *map(str, VERBS["detector test"]), "-thresh", ".1", "-engine", name]) == 0
        records.append(json.loads(capsys.readouterr().out))
    boxes = [np.array([row["box"] for row in record["objects"]]) for record in records]
    assert len(boxes[0])
    assert all(np.allclose(other, boxes[0], atol=1e-3) for other in boxes)


def test_the_help_names_all_of_them():
    """It is written there once more, since help waits for no torch."""
    parser = argparse.ArgumentParser()
    engine_argument(parser)
    assert f"how to compute: {', '.join(ENGINES)} (" in " ".join(parser.format_help().split())


def test_an_engine_that_there_is_not(here, capsys):
    assert main(["detector", "test", *map(str, VERBS["detector test"]), "--engine", "warp"]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", "darknet-py: there is no engine 'warp'; there are plain, winograd, fused, cuda\n")
