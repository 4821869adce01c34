"""Every verb that takes WEIGHTS takes what `convert` writes, whatever the file is called."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from darknet_py import convert, load, surgery, weights
from darknet_py.check import check
from darknet_py.cli import main
from darknet_py.errors import DarknetWarning, WeightsError
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.weights.projects import COUNTER

DETECTOR = """[net]
width=32
height=32
channels=3
batch=2
max_batches=2
learning_rate=0.001
[convolutional]
batch_normalize=1
filters=4
size=3
pad=1
stride=2
activation=leaky
[maxpool]
size=2
stride=2
[convolutional]
filters=14
size=1
activation=linear
[region]
anchors=1,1, 2,2
num=2
classes=2
"""
CLASSIFIER = DETECTOR.split("[region]", maxsplit=1)[0].replace("filters=14", "filters=2") + "[avgpool]\n[softmax]\n"
YOLO = """[net]
width=32
height=32
channels=3
[convolutional]
batch_normalize=1
filters=4
size=3
pad=1
activation=leaky
[convolutional]
filters=21
size=1
activation=linear
[yolo]
mask=0,1,2
anchors=1,1, 2,2, 3,3, 4,4
num=4
classes=2
[route]
layers=-3
[convolutional]
batch_normalize=1
filters=5
size=1
activation=leaky
[convolutional]
filters=7
size=1
activation=linear
[yolo]
mask=3
anchors=1,1, 2,2, 3,3, 4,4
num=4
classes=2
"""
KINDS = {
    "net.pt": {},
    "net.pth": {"layout": "marvis"},
    "net.safetensors": {},
    "half.safetensors": {"dtype": torch.float16},
    "theirs.pt": {"layout": "ultralytics"},
    "theirs.safetensors": {"layout": "eriklindernoren"},
}


def drawn(text: str, seed: int = 1) -> Network:
    network = Network(Graph.parse(text, "net.cfg"), generator=torch.Generator().manual_seed(seed)).eval()
    network.seen = 77
    return network


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """net.cfg, net.weights and every other kind of the same values; net.data with two pictures."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("red", "blue"):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(f"{name}.png")
        Path(f"{name}.txt").write_text("0 .5 .5 .5 .5\n", encoding="utf-8")
    Path("list.txt").write_text("red.png\nblue.png\n", encoding="utf-8")
    Path("names").write_text("red\nblue\n", encoding="utf-8")
    text = (
        "classes=2\ntrain=list.txt\nvalid=list.txt\nnames=names\nlabels=names\nbackup=backup\nresults=results\ntop=1\n"
    )
    Path("net.data").write_text(text, encoding="utf-8")
    return tmp_path


def write(text: str) -> Network:
    network = drawn(text)
    Path("net.cfg").write_text(text, encoding="utf-8")
    weights.save(network, "net.weights")
    for name, options in KINDS.items():
        to = convert.to_torch if ".pt" in name else convert.to_safetensors
        to(network, name, check=False, **options)
    shutil.copy("net.pt", "pt.weights")  # what it is its bytes say
    shutil.copy("net.pt", "pt.safetensors")
    shutil.copy("net.safetensors", "safetensors.backup")
    shutil.copy("net.weights", "weights.pt")
    return network


def same(some: Network, others: Network, tolerance: float = 0) -> bool:
    mine, theirs = some.state_dict(), others.state_dict()
    keys = [key for key in mine if not key.endswith(COUNTER)]
    return all(torch.allclose(mine[key], theirs[key], rtol=tolerance, atol=tolerance) for key in keys)


@pytest.mark.parametrize("name", [*KINDS, "pt.weights", "pt.safetensors", "safetensors.backup", "weights.pt"])
def test_every_kind_is_loaded(name, folder):
    network = write(DETECTOR)
    for loaded in (load("net.cfg", name, device="cpu").network, drawn(DETECTOR, seed=2)):
        if loaded.seen == 77 and not same(loaded, network):
            weights.load(loaded, name)
        assert same(loaded, network, 1e-3 if name.startswith("half") else 0)
        assert loaded.seen == 77
    assert check("net.cfg", name) == check("net.cfg", "net.weights")


VERBS = {
    "detector test net.data net.cfg {} red.png -thresh 0.01 --json": DETECTOR,
    "detector map net.data net.cfg {} --json": DETECTOR,
    "detector recall net.data net.cfg {}": DETECTOR,
    "detector valid net.data net.cfg {}": DETECTOR,
    "classifier predict net.data net.cfg {} red.png --json": CLASSIFIER,
    "classifier valid net.data net.cfg {} --json": CLASSIFIER,
    "statistics net.cfg {} --json": DETECTOR,
    "print net.cfg {} 0 --json": DETECTOR,
    "visualize net.cfg {}": DETECTOR,
    "partial net.cfg {} out.weights 2": DETECTOR,
    "average net.cfg out.weights {} net.weights": DETECTOR,
    "average net.cfg out.weights net.weights {}": DETECTOR,
    "rgbgr net.cfg {} out.weights": DETECTOR,
    "reset net.cfg {} out.weights": DETECTOR,
    "denormalize net.cfg {} out.weights": DETECTOR,
    "oneoff2 net.cfg {} out.weights 0": DETECTOR,
}


@pytest.mark.filterwarnings("ignore::darknet_py.errors.CfgWarning")
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_takes_them(verb, folder, capsys):
    write(VERBS[verb])
    answers = []
    for name in ("net.weights", "net.pth", "net.safetensors"):
        assert main(verb.format(name).split()) == 0, capsys.readouterr().err
        out = "" if "recall" in verb else capsys.readouterr().out
        files = sorted(path for path in Path.cwd().rglob("*") if path.name in ("out.weights", "filters.png"))
        answers.append((out.replace(name, ""), [path.read_bytes() for path in files]))
    if "seconds" not in answers[0][0]:
        assert answers[0] == answers[1] == answers[2]


@pytest.mark.filterwarnings("ignore::darknet_py.errors.DarknetWarning")
@pytest.mark.parametrize("manner", ["detector", "classifier"])
@pytest.mark.parametrize("name", ["net.pt", "net.safetensors"])
def test_training_starts_from_them(manner, name, folder, capsys):
    write(DETECTOR if manner == "detector" else CLASSIFIER)
    results = []
    for start in ("net.weights", name):
        command = f"{manner} train net.data net.cfg {start} -clear --seed 1 -nogpu --batches 1 --workers 0 --threads 1"
        assert main(command.split()) == 0, capsys.readouterr().err
        results.append(Path("backup/net.backup").read_bytes())
    assert results[0] == results[1]


def test_a_run_can_be_started_from_its_resume_file(folder, capsys):
    network = write(DETECTOR)
    command = "detector train net.data net.cfg net.weights -clear --seed 1 -nogpu --batches 1 --workers 0"
    assert main(command.split()) == 0, capsys.readouterr().err
    resumed = load("net.cfg", "backup/net.resume", device="cpu").network
    assert same(resumed, load("net.cfg", "backup/net.backup", device="cpu").network)
    assert not same(resumed, network)


def test_oneoff_takes_a_classifier_of_any_kind(folder, capsys):
    classifier = drawn(DETECTOR.split("[region]", maxsplit=1)[0].replace("filters=14", "filters=2"))
    Path("net.cfg").write_text(DETECTOR, encoding="utf-8")
    weights.save(classifier, "c.weights")
    convert.to_safetensors(classifier, "c.safetensors", check=False)
    for name in ("c.weights", "c.safetensors"):
        assert main(["oneoff", "net.cfg", name, f"{name}.out"]) == 0, capsys.readouterr().err
    assert Path("c.weights.out").read_bytes() == Path("c.safetensors.out").read_bytes()


def test_a_beginning_goes_into_later_layers_by_its_names(folder):
    half = DETECTOR.split("[maxpool]", maxsplit=1)[0]
    twice = f"{half}{half[half.index('[convolutional]') :]}".replace("channels=3", "channels=4")
    first = drawn(half.replace("channels=3", "channels=4"))
    weights.save(first, "first.weights")
    convert.to_safetensors(first, "first.safetensors", check=False)
    networks = []
    for name in ("first.weights", "first.safetensors"):
        network = drawn(twice, seed=3)
        surgery.oneoff2(network, name, 1)
        networks.append(network)
    assert same(*networks)
    assert torch.equal(networks[0].layers[1].conv.weight, first.layers[0].conv.weight)


def test_a_cutoff_reads_the_beginning_of_named_tensors(folder):
    network = write(DETECTOR)
    other = drawn(DETECTOR, seed=2)
    before = other.layers[2].conv.weight.clone()
    assert weights.load(other, "net.safetensors", cutoff=1).layers == 1
    assert torch.equal(other.layers[0].conv.weight, network.layers[0].conv.weight)
    assert torch.equal(other.layers[2].conv.weight, before)


def test_values_that_are_no_numbers_are_told_of_every_kind(folder):
    network = drawn(DETECTOR)
    with torch.no_grad():
        network.layers[0].bn.bias[1] = float("nan")
        network.layers[2].conv.bias[0] = float("inf")
    Path("net.cfg").write_text(DETECTOR, encoding="utf-8")
    convert.to_torch(network, "net.pt", check=False)
    messages = [problem.message for problem in check("net.cfg", "net.pt")]
    assert "NaN or infinity in layers.0.bn.bias, and in 1 more layers" in messages
    with pytest.warns(DarknetWarning, match=r"^net\.pt: values of layer 0 \[convolutional\] are NaN or infinite"):
        convert.convert("net.cfg", "net.pt", "net.weights")


def other_classes(text: str) -> str:
    """The same network for 5 classes."""
    return (
        text.replace("classes=2", "classes=5")
        .replace("filters=14", "filters=20")
        .replace("filters=21", "filters=30")
        .replace("filters=7\n", "filters=10\n")
        .replace("filters=2\n", "filters=5\n")
    )


LEFT = {
    "detector": (DETECTOR, "took 1 of 2 layers; left out: layer 2 [convolutional] (20 filters there, 14 here)"),
    "classifier": (CLASSIFIER, "took 1 of 2 layers; left out: layer 2 [convolutional] (5 filters there, 2 here)"),
    "yolo": (
        YOLO,
        "took 2 of 4 layers; left out: "
        + ", ".join(
            f"layer {n} [convolutional] ({a} filters there, {b} here)" for n, a, b in ((1, 30, 21), (5, 10, 7))
        ),
    ),
}
FITS = {
    "detector": "it would fit with filters=20 in layer 2 [convolutional] (classes=5)",
    "classifier": "it would fit with filters=5 in layer 2 [convolutional];",
    "yolo": "filters=30 in layer 1 [convolutional] and filters=10 in layer 5 [convolutional] (classes=5)",
}


@pytest.mark.parametrize("kind", LEFT)
@pytest.mark.parametrize("name", ["net.weights", "net.pt", "net.safetensors"])
def test_weights_for_other_classes_are_taken_where_they_match(kind, name, folder, capsys):
    text, left = LEFT[kind]
    other = write(other_classes(text))
    Path("net.cfg").write_text(text, encoding="utf-8")
    with pytest.raises(WeightsError) as caught:
        load("net.cfg", name, device="cpu")
    assert FITS[kind] in str(caught.value)
    assert "--transfer" in str(caught.value)
    assert "partial='matching'" in str(caught.value)
    with pytest.warns(DarknetWarning) as warned:
        network = load("net.cfg", name, partial="matching", device="cpu").network
    assert [str(one.message) for one in warned] == [f"{name}: {left}"]
    assert network.seen == 0
    shapes = {key: tensor.shape for key, tensor in network.state_dict().items()}
    theirs = other.state_dict()
    taken = [key for key, shape in shapes.items() if theirs[key].shape == shape and "counter" not in key]
    left_layers = {key.split(".")[1] for key in shapes if key not in taken}
    for key in taken:
        if key.split(".")[1] not in left_layers:
            assert torch.equal(network.state_dict()[key], theirs[key]), key
    assert all(tensor.isfinite().all() for tensor in network.state_dict().values())


@pytest.mark.parametrize("name", ["net.weights", "net.pt"])
def test_what_fits_is_loaded_whole_and_keeps_its_count(name, folder):
    network = write(DETECTOR)
    loaded = load("net.cfg", name, partial="matching", device="cpu").network
    assert same(loaded, network)
    assert loaded.seen == 77


def test_transfer_is_for_other_classes_and_not_for_other_networks(folder):
    write(DETECTOR)
    other = DETECTOR.replace("size=3", "size=5")
    Path("net.cfg").write_text(other, encoding="utf-8")
    with pytest.raises(WeightsError, match="values in all"):
        load("net.cfg", "net.weights", partial="matching", device="cpu")
    with pytest.warns(DarknetWarning, match=r"took 1 of 2 layers; left out: layer 0 \[convolutional\]"):
        load("net.cfg", "net.pt", partial="matching", device="cpu")
    wider = DETECTOR.replace("filters=4", "filters=6").replace("=14", "=21").replace("num=2", "num=3")
    Path("net.cfg").write_text(wider, encoding="utf-8")
    with pytest.raises(WeightsError, match="it does not fit"):
        load("net.cfg", "net.pt", partial="matching", device="cpu")


def test_a_beginning_is_transferred_too(folder):
    write(DETECTOR)
    assert main(["partial", "net.cfg", "net.weights", "some.weights", "2"]) == 0
    with pytest.warns(DarknetWarning, match=r"layer 2 \[convolutional\] \(not in the file\)"):
        load("net.cfg", "some.weights", partial="matching", device="cpu")


@pytest.mark.filterwarnings("default::darknet_py.errors.DarknetWarning")
@pytest.mark.parametrize("name", ["net.weights", "net.safetensors"])
@pytest.mark.parametrize("manner", ["detector", "classifier"])
def test_training_takes_the_option(manner, name, folder, capsys):
    text, left = LEFT[manner]
    write(other_classes(text))
    Path("net.cfg").write_text(text, encoding="utf-8")
    command = f"{manner} train net.data net.cfg {name} -nogpu --batches 1 --workers 0"
    assert main(command.split()) == 1
    assert "--transfer" in capsys.readouterr().err
    assert main([*command.split(), "--transfer"]) == 0
    assert f"darknet-py: warning: {name}: {left}\n" in capsys.readouterr().err
    assert weights.verify(Graph.read("net.cfg"), "backup/net.backup").header.seen == 2


@pytest.mark.filterwarnings("default::darknet_py.errors.DarknetWarning")
@pytest.mark.parametrize("verb", ["statistics net.cfg net.pt --json", "convert net.cfg net.pt out.weights"])
def test_other_verbs_take_the_option(verb, folder, capsys):
    text, left = LEFT["detector"]
    write(other_classes(text))
    Path("net.cfg").write_text(text, encoding="utf-8")
    assert main(verb.split()) == 1
    capsys.readouterr()
    assert main([*verb.split(), "--transfer"]) == 0
    out, err = capsys.readouterr()
    assert f"darknet-py: warning: net.pt: {left}\n" in err
    if "json" in verb:
        assert json.loads(out)
