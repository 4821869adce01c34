"""Weights files: headers, beginnings, odd keys, and files that do not fit."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import darknet_py
from darknet_py import weights
from darknet_py.cli import main
from darknet_py.errors import DarknetWarning, WeightsError
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.weights import Header
from tests.support.places import GOLDEN, OFFICIAL, needs_official
from tests.support.recordings import load_network, read_graph

CFG = """
[net]
width=8
height=8
channels=3

[convolutional]
batch_normalize=1
filters=4
size=3
pad=1
activation=leaky

[maxpool]
size=2
stride=2

[convolutional]
filters=6
size=1
activation=linear

[connected]
output=5
batch_normalize=1
activation=linear
"""
FIRST, SECOND, LAST = 4 * 4 + 4 * 27, 6 + 6 * 4, 5 + 5 * 96 + 3 * 5  # values a layer


def network(text: str = CFG) -> Network:
    return Network(Graph.parse(text, "net.cfg"), generator=torch.Generator().manual_seed(1))


def write(path: Path, values: int, header: Header | None = None, extra: bytes = b"") -> Path:
    numbers = np.arange(1, values + 1, dtype="<f4") / 1000
    path.write_bytes((header or Header(seen=77)).pack() + numbers.tobytes() + extra)
    return path


@pytest.mark.parametrize(
    ("header", "size"),
    [
        (Header(0, 2, 0, 2**40), 20),
        (Header(0, 1, 0, 12), 16),
        (Header(1, 0, 5, 3), 20),
        (Header(0, 1001, 0, 3), 16),
        (Header(1001, 2, 0, 3), 16),
    ],
)
def test_header_round_trips_with_seen_of_the_right_width(header, size):
    assert len(header.pack()) == header.size == size
    assert Header.unpack(header.pack() + b"more") == header
    assert header.transposed == (max(header.major, header.minor) > 1000)


def test_values_go_in_the_order_of_the_c_program(tmp_path):
    net = network()
    loaded = weights.load(net, write(tmp_path / "a.weights", FIRST + SECOND + LAST))
    assert (loaded.layers, loaded.values, net.seen) == (4, FIRST + SECOND + LAST, 77)
    state = net.state_dict()
    assert state["layers.0.bn.bias"].tolist() == pytest.approx([0.001, 0.002, 0.003, 0.004])
    assert state["layers.0.bn.weight"][0].item() == pytest.approx(0.005)
    assert state["layers.0.bn.running_mean"][0].item() == pytest.approx(0.009)
    assert state["layers.0.bn.running_var"][0].item() == pytest.approx(0.013)
    assert state["layers.0.conv.weight"][0, 0, 0, :2].tolist() == pytest.approx([0.017, 0.018])
    start = FIRST + SECOND  # connected: biases, weights, and only then the scales
    assert state["layers.3.bn.bias"][0].item() == pytest.approx((start + 1) / 1000)
    assert state["layers.3.linear.weight"][0, 0].item() == pytest.approx((start + 6) / 1000)
    assert state["layers.3.bn.weight"][0].item() == pytest.approx((start + 6 + 480) / 1000)


def test_old_files_hold_connected_matrices_transposed(tmp_path):
    new, old = network(), network()
    weights.load(new, write(tmp_path / "new.weights", FIRST + SECOND + LAST))
    weights.load(old, write(tmp_path / "old.weights", FIRST + SECOND + LAST, Header(0, 1001, 0, 1)))
    matrix = new.state_dict()["layers.3.linear.weight"]
    torch.testing.assert_close(old.state_dict()["layers.3.linear.weight"], matrix.reshape(96, 5).T)


def test_loading_then_saving_gives_the_same_bytes(tmp_path):
    source = write(tmp_path / "a.weights", FIRST + SECOND + LAST)
    net = network()
    weights.load(net, source)
    weights.save(net, tmp_path / "b.weights")
    assert (tmp_path / "b.weights").read_bytes() == source.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.weights", "b.weights"]


def test_channels_last_networks_load_and_save_the_same(tmp_path):
    source = write(tmp_path / "a.weights", FIRST + SECOND + LAST)
    net = network().to(memory_format=torch.channels_last)
    weights.load(net, source)
    weights.save(net, tmp_path / "b.weights")
    assert (tmp_path / "b.weights").read_bytes() == source.read_bytes()


def test_half_precision_networks_load(tmp_path):
    net = network().to(torch.bfloat16)
    weights.load(net, write(tmp_path / "a.weights", FIRST + SECOND + LAST))
    assert net.state_dict()["layers.0.bn.bias"][0].item() == pytest.approx(0.001, rel=1e-2)


def test_conv_n_files_hold_a_beginning_and_the_rest_stays(tmp_path):
    net = network()
    before = net.state_dict()["layers.2.conv.weight"].clone()
    loaded = weights.load(net, write(tmp_path / "a.conv.2", FIRST))
    assert loaded.layers == 1
    assert net.state_dict()["layers.0.bn.bias"][0].item() == pytest.approx(0.001)
    torch.testing.assert_close(net.state_dict()["layers.2.conv.weight"], before)


def test_cutoff_saves_and_loads_a_beginning(tmp_path):
    net = network()
    weights.save(net, tmp_path / "cut.weights", cutoff=2)
    assert (tmp_path / "cut.weights").stat().st_size == 20 + 4 * FIRST
    other = network()
    other.initialize(torch.Generator().manual_seed(9))
    weights.load(other, tmp_path / "cut.weights", cutoff=2)
    torch.testing.assert_close(other.layers[0].conv.weight, net.layers[0].conv.weight)
    weights.load(other, write(tmp_path / "long.weights", FIRST + SECOND + LAST), cutoff=1)  # reads its beginning


def test_start_reads_later_layers_from_the_front_of_the_file(tmp_path):
    net = network()
    weights.load(net, write(tmp_path / "tail.weights", SECOND + LAST), start=2)
    assert net.state_dict()["layers.2.conv.bias"][0].item() == pytest.approx(0.001)


def test_keys_that_change_what_a_file_holds(tmp_path):
    text = CFG.replace("[maxpool]", "dontload=1\n[maxpool]", 1)
    net = network(text)
    weights.load(net, write(tmp_path / "a.weights", SECOND + LAST))
    assert net.state_dict()["layers.2.conv.bias"][0].item() == pytest.approx(0.001)

    net = network(CFG.replace("[maxpool]", "dontloadscales=1\n[maxpool]", 1))
    weights.load(net, write(tmp_path / "b.weights", FIRST - 12 + SECOND + LAST))
    assert net.state_dict()["layers.0.conv.weight"].flatten()[0].item() == pytest.approx(0.005)
    assert net.state_dict()["layers.0.bn.weight"].tolist() == [1] * 4

    net = network(CFG.replace("[maxpool]", "numload=3\n[maxpool]", 1))
    last_filter = net.state_dict()["layers.0.conv.weight"][3].clone()
    weights.load(net, write(tmp_path / "c.weights", FIRST * 3 // 4 + SECOND + LAST))
    assert net.state_dict()["layers.0.conv.weight"].flatten()[0].item() == pytest.approx(0.013)
    torch.testing.assert_close(net.state_dict()["layers.0.conv.weight"][3], last_filter)

    net = network(CFG.replace("[maxpool]", "dontsave=1\n[maxpool]", 1))
    weights.save(net, tmp_path / "d.weights")
    assert (tmp_path / "d.weights").stat().st_size == 20 + 4 * (SECOND + LAST)


@pytest.mark.parametrize(
    ("values", "extra", "says"),
    [
        (FIRST - 1, b"", "ends in layer 0 [convolutional], weight: 108 values wanted there and 107 had"),
        (FIRST, b"", "it holds the first 1 layers exactly"),
        (FIRST + SECOND + LAST + 3, b"", "it has 3 values more after layer 3 [connected]"),
        (FIRST + SECOND + LAST, b"xy", "it has 2 bytes more after layer 3 [connected]"),
        (0, b"", "ends in layer 0 [convolutional], bias: 4 values wanted there and 0 had"),
    ],
)
def test_files_of_the_wrong_size_change_nothing_and_say_where_they_end(tmp_path, values, extra, says):
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(WeightsError, match=".weights: ") as caught:
        weights.load(net, write(tmp_path / "a.weights", values, extra=extra))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert net.seen == 0
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_a_file_for_other_classes_is_recognised(tmp_path):
    text = CFG.split("[connected]", maxsplit=1)[0]
    each = 1 + 4
    with pytest.raises(WeightsError, match=r"it would fit with filters=9 in layer 2"):
        weights.load(network(text), write(tmp_path / "a.weights", FIRST + 9 * each))


def test_partial_takes_what_there_is(tmp_path):
    net = network()
    loaded = weights.load(net, write(tmp_path / "a.weights", FIRST + 10), partial=True)
    assert (loaded.layers, loaded.values) == (3, FIRST + 6)  # the bias of the second convolution is whole
    weights.load(net, write(tmp_path / "b.weights", FIRST + SECOND + LAST + 100, extra=b"x"), partial=True)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (b"\1\2\3\4", "it has 4 bytes, which is too short for a header"),
        (b"PK\x03\x04" + bytes(100), "was not written by torch.save"),
        (b"<!DOCTYPE html><html>" + bytes(100), "no weights file but an HTML page"),
        (b"[net]\nwidth=8\n" + bytes(100), "a cfg"),
        (struct.pack("<iiiQ", -1, 2, 0, 0) + bytes(100), "its version would be -1.2.0"),
    ],
)
def test_other_files_are_recognised(tmp_path, content, says):
    (tmp_path / "a.weights").write_bytes(content)
    with pytest.raises(WeightsError, match=says):
        weights.load(network(), tmp_path / "a.weights")


def test_missing_files_and_folders_are_one_line(tmp_path):
    with pytest.raises(WeightsError, match="no.weights: cannot be read: No such file"):
        weights.load(network(), tmp_path / "no.weights")
    with pytest.raises(WeightsError, match="cannot be read: Is a directory"):
        weights.load(network(), tmp_path)
    with pytest.raises(WeightsError, match="cannot be written"):
        weights.save(network(), tmp_path / "no" / "a.weights")


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.weights"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Network, "stored", fail)
    with pytest.raises(WeightsError, match="No space left"):
        weights.save(network(), path)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.weights"]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_altered_files_load_or_raise_weights_error_alone(data, tmp_path_factory):
    source = (GOLDEN / "layers" / "rnn.weights").read_bytes()
    content = bytearray(source)
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(content) + 8))
    content = (content + bytes(8))[:end]
    path = tmp_path_factory.getbasetemp() / "altered.weights"
    path.write_bytes(content)
    try:
        load_network(GOLDEN / "layers" / "rnn.cfg", path)
    except WeightsError as error:
        assert "\n" not in str(error)


def test_numload_of_a_small_layer_does_not_confuse_the_message(tmp_path):
    text = "[net]\nwidth=32\nheight=32\nchannels=3\n[conv]\nfilters=125\nnumload=1\n"
    with pytest.raises(WeightsError, match="it has 1 values more"):
        weights.load(network(text), write(tmp_path / "a.weights", 5))


def test_a_file_that_stops_inside_a_layer_holds_no_whole_layers(tmp_path):
    with pytest.raises(WeightsError) as caught:
        weights.load(network(), write(tmp_path / "a.weights", 4))
    assert "exactly" not in str(caught.value)


OTHER = CFG.replace("filters=4", "filters=5")  # another backbone


@pytest.mark.parametrize("values", [FIRST - 1, FIRST + 1, FIRST + SECOND, FIRST + SECOND + LAST, 5 * 4 + 5 * 27])
@pytest.mark.parametrize("layers", [1, 2, 9])
def test_a_name_with_a_number_of_layers_has_to_be_right(tmp_path, values, layers):
    path = write(tmp_path / f"other.conv.{layers}", values)
    if layers == 9 and values == FIRST + SECOND + LAST:  # all that there are
        assert weights.load(network(), path).layers == 4
        return
    with pytest.raises(WeightsError) as caught:
        weights.load(network(), path)
    assert f"its name says that it holds the first {layers} layers, but it has {values} values" in str(caught.value)
    assert "the beginning of another network" in str(caught.value)
    assert weights.load(network(), path, partial=True).values <= values
    weights.load(network(), path, cutoff=1) if values >= FIRST else None  # who says what to read is obeyed


def test_another_backbone_is_refused_by_check_train_and_load(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("net.cfg").write_text(CFG, encoding="utf-8")
    Path("other.cfg").write_text(OTHER, encoding="utf-8")
    Path("net.data").write_text("classes=5\ntrain=list.txt\nlabels=names\n", encoding="utf-8")
    Path("names").write_text("a\nb\nc\nd\ne\n", encoding="utf-8")
    weights.save(network(OTHER), "other.conv.2", cutoff=2)
    for verb in (["check", "net.cfg", "other.conv.2"], ["classifier", "train", "net.data", "net.cfg", "other.conv.2"]):
        assert main(verb) == 1
        assert "the beginning of another network" in "".join(capsys.readouterr())
    with pytest.raises(WeightsError, match="the beginning of another network; --partial takes what it holds"):
        darknet_py.load("net.cfg", "other.conv.2")
    darknet_py.load("net.cfg", "other.conv.2", partial=True)
    with pytest.warns(DarknetWarning, match=r"^other\.conv\.2 has weights up to layer 0; those of later"):
        darknet_py.load("other.cfg", "other.conv.2")


@pytest.mark.parametrize(
    ("source", "target", "layers", "size"),
    [
        ("darknet19_448", "yolov2", 23, 79327120),
        ("darknet19_448", "yolov2-voc", 23, 79327120),
        ("darknet53", "yolov3", 74, 162482580),
    ],
)
@needs_official
def test_official_beginnings_fit(source, target, layers, size, tmp_path):
    path = tmp_path / f"{source}.conv.{layers}"
    whole, graph = (read_graph(OFFICIAL / "cfg" / f"{name}.cfg") for name in (source, target))
    values = sum(slot.size for slot in weights.layout(whole, cutoff=layers))
    with path.open("wb") as file:
        file.write(Header().pack())
        file.truncate(20 + 4 * values)  # a hole in the file: no disk is taken
    assert size - 4 * values in (16, 20)  # of the file that is to be had, with a header of either kind
    assert weights.verify(graph, path).held == layers
    other = read_graph(OFFICIAL / "cfg" / "yolov2-tiny-voc.cfg")
    with pytest.raises(WeightsError, match="the beginning of another network"):
        weights.verify(other, path)


def test_no_memory_is_taken_for_a_file_that_does_not_fit(tmp_path, monkeypatch):
    layer = "[convolutional]\nfilters=16000\nsize=1\nactivation=linear\n"
    (tmp_path / "big.cfg").write_text(f"[net]\nwidth=8\nheight=8\nchannels=3\n{layer * 5}", encoding="utf-8")
    monkeypatch.setattr(Network, "initialize", lambda *_: pytest.fail("weights were drawn"))
    for content in (Header().pack() + bytes(980), bytes(1000), b"<html>"):
        (tmp_path / "a.weights").write_bytes(content)
        with pytest.raises(WeightsError, match="a.weights: "):
            darknet_py.load(tmp_path / "big.cfg", tmp_path / "a.weights", device="cpu")
        for verb in (["statistics"], ["rgbgr", "b.weights"], ["average"], ["partial", "b.weights", "3"], ["visualize"]):
            name, *rest = verb
            files = [str(tmp_path / "big.cfg"), str(tmp_path / "a.weights"), *rest]
            assert main([name, *(files if name != "average" else (files[0], "b.weights", files[1]))]) == 1
    torch.save({"layers.0.conv.weight": torch.ones(2)}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="it does not fit"):
        darknet_py.load(tmp_path / "big.cfg", tmp_path / "a.pt", device="cpu")
