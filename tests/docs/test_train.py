"""What docs/train.md says is what happens: its commands run in their order, on few small pictures and thin networks."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from darknet_py import Network, weights
from darknet_py.cfg import read_names
from tests.support.documents import ROOT, blocks, parse, run, shell_lines, verb_of

DOCUMENT = ROOT / "docs" / "train.md"
CFGS = ("yolov2-voc", "darknet19", "darknet19_448", "shapes", "shapes9")
CHANGED = (("yolov2-voc", "yolov2-voc"), ("yolov2-voc", "mine"), ("darknet19", "breeds"), ("mine", "zoo"))  # the diffs
SMALL = {"tools.datasets.shapes": ["--train", "8", "--valid", "4", "--size", "96x96", "--quiet"]}
SHORT = {"batch": 4, "subdivisions": 2, "max_batches": 2, "width": 96, "height": 96, "random": 0}
NOT_OURS = ("mkdir ", "curl ", "for archive in ")
NUMBER = re.compile(r"-?\d+\.\d+|\d+|-nan")
XML = """<annotation><size><width>100</width><height>75</height><depth>3</depth></size><object><name>{name}</name>
<difficult>0</difficult><bndbox><xmin>11</xmin><ymin>11</ymin><xmax>{right}</xmax><ymax>55</ymax></bndbox></object>
</annotation>"""


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (75, 100, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def devkit(folder: Path) -> None:
    """What the archives of VOC unpack to, with two pictures a set."""
    names = read_names(ROOT / "cfg" / "voc.names")
    for year, sets in (("2007", ("train", "val", "test")), ("2012", ("train", "val"))):
        voc = folder / "VOCdevkit" / f"VOC{year}"
        for place in ("Annotations", "ImageSets/Main"):
            (voc / place).mkdir(parents=True)
        for number, part in enumerate(sets):
            for n in range(2):
                picture(voc / "JPEGImages" / f"{part}{n}.jpg", n)
                text = XML.format(name=names[2 * number + n], right=40 + 20 * n)
                (voc / "Annotations" / f"{part}{n}.xml").write_text(text)
            (voc / "ImageSets" / "Main" / f"{part}.txt").write_text(f"{part}0\n{part}1\n")


def own_pictures(folder: Path) -> None:
    """data/mine with boxes of three classes, and data/breeds with classes in its paths."""
    for part in ("train", "valid"):
        mine, breeds = [], []
        for n in range(12):
            mine.append(folder / "mine" / "images" / part / f"{n}.jpg")
            label = folder / "mine" / "labels" / part / f"{n}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(f"{n % 3} .5 .5 {0.1 + n / 20} {0.2 + n / 20}\n")
        breeds = [folder / "breeds" / part / name / "0.jpg" for name in ("beagle", "husky", "siamese", "tabby")]
        for name, paths in (("mine", mine), ("breeds", breeds)):
            for seed, path in enumerate(paths):
                picture(path, seed)
            (folder / name / f"{part}.txt").write_text("".join(f"{path}\n" for path in paths))


def thin(text: str) -> str:
    """A cfg with a 16th of the filters, small pictures and batches, and a short schedule."""
    parts = re.split(r"(?m)^(?=\[)", text)
    for n, part in enumerate(parts):
        if part.startswith("[convolutional]") and "activation=linear" not in part:
            parts[n] = re.sub(r"(?m)^filters=(\d+)", lambda found: f"filters={max(int(found[1]) // 16, 1)}", part)
    text = "".join(parts)
    for key, value in SHORT.items():
        text = re.sub(rf"(?m)^{key}=.*$", f"{key}={value}", text)
    return text


def changed(text: str, difference: str) -> str:
    """A cfg with the lines of a diff changed, each of which is in it."""
    for old, new in re.findall(r"((?:^-.*\n)+)((?:^\+.*\n)+)", difference, re.MULTILINE):
        before, after = (re.sub(r"(?m)^[-+]", "", lines) for lines in (old, new))
        assert text.count(f"\n{before}") == 1, before
        text = text.replace(f"\n{before}", f"\n{after}")
    return text


def write_cfgs(folder: Path) -> None:
    """The cfg files, those that the document copies among them, all thin, but not those of weights that are here."""
    texts = {name: (ROOT / "cfg" / f"{name}.cfg").read_text(encoding="utf-8") for name in CFGS}
    for (source, target), difference in zip(CHANGED, blocks(DOCUMENT, "diff"), strict=True):
        texts[target] = changed(texts[source], difference)
    for name, text in texts.items():
        short = re.sub(r"(?m)^(batch|max_batches)=.*$", r"\1=2", text) if name in {"shapes", "shapes9"} else thin(text)
        (folder / f"{name}.cfg").write_text(short, encoding="utf-8")


def named_files() -> dict[str, str]:
    """The files that the document shows, by the path in their first line."""
    found = [block.partition("\n") for language in ("ini", "text") for block in blocks(DOCUMENT, language)]
    return {first.removeprefix("# "): text for first, _, text in found if first.startswith("# ")}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the document wants it, and the current one; relative paths are in its lists."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "cfg", "cfg")
    shutil.copytree(ROOT / "weights", "weights")
    write_cfgs(Path("cfg"))
    own_pictures(Path("data"))
    devkit(Path("data/voc"))
    for path, text in named_files().items():
        Path(path).write_text(text, encoding="utf-8")
    shutil.copy("data/mine/images/train/0.jpg", "photo.jpg")
    for name, file in (("darknet19_448", "darknet19_448.weights"), ("yolov2-voc", "yolov2-voc.weights")):
        network = Network.from_cfg(f"cfg/{name}.cfg", generator=torch.Generator().manual_seed(1))
        weights.save(network, file)
    return tmp_path


def use(line: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a line of the document; with several processes its arguments are only looked at."""
    words = shlex.split(line)
    if words[:2] == ["python", "-m"]:
        return importlib.import_module(words[2]).main([*words[3:], *SMALL.get(words[2], [])])
    if words[0] == "torchrun":
        parse(f"darknet-py {line.partition(' -m darknet_py ')[2]}")
        return 0
    if "-gpus" in words:
        return 0 if parse(line).gpus == (0, 1) else 2
    return run(line, monkeypatch)


def lines_like(shown: Sequence[str], printed: str) -> None:
    """Lines that are shown are printed, with other numbers."""
    forms = {NUMBER.sub("#", line) for line in printed.splitlines()}
    for line in shown:
        assert NUMBER.sub("#", line) in forms, line


@pytest.mark.slow
def test_every_command_runs_in_its_order(folder, monkeypatch, capsys):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    lines = [line for line in shell_lines(DOCUMENT) if not line.startswith(NOT_OURS)]
    printed = ""
    try:
        for line in lines:
            assert use(line, monkeypatch) == 0, (line, capsys.readouterr().err)
            printed += capsys.readouterr().out
    finally:
        torch.set_num_threads(threads)
    (log,) = (block for block in blocks(DOCUMENT, "text") if block.startswith("Loaded: "))
    lines_like(log.splitlines(), printed)
    assert len(lines) > 30
    saved = {path.name for path in (folder / "backup").iterdir()}
    assert {"yolov2-voc.backup", "yolov2-voc.resume", "yolov2-voc_final.weights", "chart.png"} <= saved
    assert {"breeds_1.weights", "breeds.weights", "zoo_final.weights", "shapes9_final.weights"} <= saved
    assert (folder / "results" / "comp4_det_test_aeroplane.txt").exists()
    assert all((folder / name).exists() for name in ("curves.png", "voc.csv", "board", "predictions.png"))


def test_voc_data_is_as_shown():
    (shown,) = (block for block in blocks(DOCUMENT, "ini") if "20" in block)
    text = (ROOT / "cfg" / "voc.data").read_text(encoding="utf-8")
    assert shown == "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))


def test_every_verb_of_training_is_named():
    text, shown = (
        DOCUMENT.read_text(encoding="utf-8"),
        {verb_of(line) for line in shell_lines(DOCUMENT) if "darknet-py " in line},
    )
    wanted = {
        "detector train",
        "classifier train",
        "detector map",
        "detector valid",
        "detector valid2",
        "detector recall",
    }
    assert wanted | {"detector calc_anchors", "classifier valid", "tree merge", "tree join"} <= shown
    assert "darknet-py yolo train" in text
