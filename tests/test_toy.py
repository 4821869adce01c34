"""A layer is one file and a head is three: the toys in `tests.support.toys` do all that the package's own do."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from inspect import signature
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

import darknet_py
from darknet_py import convert, weights
from darknet_py.boxes.suppress import Nms
from darknet_py.cfg import DataFile
from darknet_py.cli import main
from darknet_py.data.boxes import DetectionData
from darknet_py.errors import DarknetWarning
from darknet_py.evaluate import measure
from darknet_py.files.targets import BY_SUFFIX
from darknet_py.layers import REGISTRY
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.predict.decode import Settings
from darknet_py.train import TrainSettings, train
from tests.layers import test_conformance as conformance
from tests.support import toys
from tests.support.engines import all_engines, difference, parsed, picture
from tests.support.made import list_data

CFG = """
[net]
batch=4
subdivisions=2
width=64
height=64
channels=3
learning_rate=.02
momentum=.9
max_batches=400

[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky

[gain]
start=1.5

[convolutional]
batch_normalize=1
filters=16
size=3
stride=2
pad=1
activation=leaky

[maxpool]
size=4
stride=4

[convolutional]
filters=7
size=1
activation=linear

[spot]
classes=2
anchors=1,1
jitter=0
box_scale=2
"""
EXAMPLES = (
    ("gain", {"start": 2.0}, conformance.PICTURE),
    ("spot", {"classes": 3, "num": 2}, conformance.Shape(16, 5, 6)),
)


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    with toys.registered():
        yield
    assert "gain" not in REGISTRY
    assert "spot" not in REGISTRY


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A cfg, and weights that a network trained a little would have."""
    cfg, values = tmp_path / "toy.cfg", tmp_path / "toy.weights"
    cfg.write_text(CFG)
    weights.save(parsed(CFG), values)
    return cfg, values


@pytest.fixture
def squares(tmp_path: Path) -> DataFile:
    """Pictures of a bright square or a dark disc, with labels."""
    places = [(place, label) for place in ((8, 8), (36, 20), (20, 38), (34, 34)) for label in range(2)]
    paths = []
    (tmp_path / "labels").mkdir()
    for number, ((left, top), label) in enumerate(places):
        image = Image.new("RGB", (64, 64), (90, 90, 90))
        draw = ImageDraw.Draw(image)
        corners = (left, top, left + 18, top + 18)
        draw.rectangle(corners, (250, 240, 90)) if label == 0 else draw.ellipse(corners, (10, 20, 80))
        image.save(tmp_path / f"{number}.png")
        paths.append(str(tmp_path / f"{number}.png"))
        box = f"{(left + 9.5) / 64} {(top + 9.5) / 64} {19 / 64} {19 / 64}"
        (tmp_path / f"{number}.txt").write_text(f"{label} {box}\n")
    return list_data(tmp_path, *paths, more="classes=2")


@pytest.mark.parametrize(("name", "keys", "shape"), EXAMPLES, ids=[name for name, *_ in EXAMPLES])
def test_an_example_is_all_that_the_conformance_of_a_layer_takes(name, keys, shape):
    example = conformance.Example(REGISTRY[name](**keys), (shape,))
    checks = [check for title, check in vars(conformance).items() if title.startswith("test_")]
    mine = [check for check in checks if list(signature(check).parameters) == ["example"]]
    assert len(mine) > 8
    for check in mine:
        if check is not conformance.test_drawn_weights_are_numbers_and_depend_on_the_generator_alone or name == "gain":
            check(example)


def test_summary(files, capsys):
    assert main(["summary", str(files[0])]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "gain" in lines[2]
    assert "spot" in lines[6]
    assert main(["summary", str(files[0]), "--json"]) == 0
    layers = json.loads(capsys.readouterr().out)["layers"]
    assert (layers[1]["parameters"], layers[1]["bflops"]) == (8, 8 * 32 * 32 / 1e9)
    assert layers[1]["receptive_field"] == layers[0]["receptive_field"]


def test_check(files, squares, capsys):
    assert main(["check", str(files[0]), squares.source]) == 0, capsys.readouterr()
    capsys.readouterr()
    wrong = files[0].with_name("wrong.cfg")
    wrong.write_text(CFG.replace("filters=7", "filters=8").replace("start=1.5", "start=much"))
    assert main(["check", str(wrong)]) == 1
    found = capsys.readouterr()
    assert "needs num*(classes+5) = 1*(2+5) = 7" in found.out + found.err
    assert "[gain] 'start=much': a number" in found.out + found.err


def test_weights_are_drawn_saved_and_loaded(files, tmp_path):
    network = Network(Graph.read(files[0]))
    assert torch.equal(network.layers[1].factor, torch.full((8,), 1.5))
    assert weights.load(network, files[1]).whole
    assert not torch.equal(network.layers[1].factor, torch.full((8,), 1.5))
    weights.save(network, tmp_path / "again.weights")
    assert (tmp_path / "again.weights").read_bytes() == files[1].read_bytes()


def test_every_engine_computes_it(files):
    network = parsed(CFG)
    x = picture(network, 2)
    assert difference(x, *all_engines(network)) < 1e-5


def test_the_head_has_boxes_by_its_own_coder(files):
    model = darknet_py.load(files[0])
    place, size = model.network.graph.grids[5].coder.encode(torch.tensor(0.2), torch.tensor(0.3), 0, 2, 1.0, 2)
    output = torch.zeros(7, 2, 2)
    output[:, 0, 0] = torch.tensor([place, place, size, size, 0.9, 0.1, 0.8])
    found = model.detector.decode([output], (64, 64), Settings(0.5), Nms())
    assert found.labels.tolist() == [1]
    assert found.scores.tolist() == pytest.approx([0.72])
    assert found.boxes[0].tolist() == pytest.approx([0.05 * 64, 0.05 * 64, 0.35 * 64, 0.35 * 64], abs=1e-3)


def test_it_learns_and_is_measured(files, squares, tmp_path):
    graph = Graph.read(files[0])
    network = Network(graph, generator=torch.Generator().manual_seed(3))
    result = train(network, DetectionData.from_cfg(graph, squares), TrainSettings(folder=tmp_path / "backup", seed=2))
    assert result is not None
    model = darknet_py.load(files[0], tmp_path / "backup" / "toy_final.weights")
    paths = [str(tmp_path / f"{n}.png") for n in range(8)]
    scores = measure(model, paths, thresh=0.1)
    assert scores.mean_average_precision(0.5) > 0.9
    (found,) = model.detect([paths[1]], thresh=0.3)
    assert found.labels.tolist() == [1]


@pytest.mark.parametrize("suffix", sorted(BY_SUFFIX))
@pytest.mark.parametrize("boxes", [False, True])
def test_every_format_takes_it(files, tmp_path, suffix, boxes):
    pytest.importorskip({".onnx": "onnxruntime", ".safetensors": "safetensors"}.get(suffix, "torch"))
    if boxes and "decode" not in BY_SUFFIX[suffix].takes:
        pytest.skip("no graph in it")
    options = {"decode": True} if boxes else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DarknetWarning)
        report = convert.convert(files[0], files[1], tmp_path / f"other{suffix}", **options)
    assert report.difference <= 1e-4 * max(report.scale, 1)
