"""Surgery on weights: every verb on small networks, with what it has to give computed by hand or with NumPy."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from darknet_py import surgery, weights
from darknet_py.cli import main
from darknet_py.engine import fastest
from darknet_py.errors import DarknetError, WeightsError
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.network.header import Header
from tests.support.places import GOLDEN
from tests.support.recordings import load_network

LAYERS = GOLDEN / "layers"
NET = "[net]\nwidth=6\nheight=5\nchannels=3\n"
CONV = "[convolutional]\nfilters=4\nsize=3\nactivation=leaky\n"
NORMALIZED = CONV + "batch_normalize=1\n"
EVERY_KIND = {
    "convolutional": NORMALIZED,
    "groups": NORMALIZED.replace("filters=4", "filters=6\ngroups=3"),
    "deconvolutional": NORMALIZED.replace("convolutional", "deconvolutional"),
    "connected": "[connected]\noutput=4\nactivation=tanh\nbatch_normalize=1\n",
    "rnn": "[rnn]\noutput=4\nactivation=tanh\nbatch_normalize=1\n",
    "gru": "[gru]\noutput=4\nbatch_normalize=1\n",
    "lstm": "[lstm]\noutput=4\nbatch_normalize=1\n",
    "crnn": "[crnn]\noutput_filters=4\nhidden_filters=3\nactivation=tanh\nbatch_normalize=1\n",
    "batchnorm": CONV + "[batchnorm]\n",
}


def network_of(text: str, seed: int = 0) -> Network:
    """A network with every stored value drawn, variances above 0."""
    network = Network(Graph.parse(text, "a.cfg"), initialize=False).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for node in network.graph.nodes:
            for blob in node.blobs:
                values = torch.randn(blob.shape, generator=generator) / 2
                network.stored(node.index, blob).copy_(values.abs() + 0.5 if blob.role == "variance" else values)
    network.seen = 6400
    return network


def outputs(network: Network, x: torch.Tensor | None = None) -> torch.Tensor:
    if x is None:
        x = torch.rand(2, *network.input_shape.dims, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        return network.heads(x)[0]


def arrays(network: Network, layer: int = 0) -> dict[str, np.ndarray]:
    """Copies of the stored tensors of a layer, by role."""
    node = network.graph.nodes[layer]
    return {blob.role: network.stored(layer, blob).detach().numpy().copy() for blob in node.blobs}


def same(a: Network, b: Network) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with a cfg and three weights files of it."""
    monkeypatch.chdir(tmp_path)
    Path("a.cfg").write_text(NET + NORMALIZED + CONV)
    for seed in (1, 2, 3):
        weights.save(network_of(NET + NORMALIZED + CONV, seed), f"{seed}.weights")
    return tmp_path


@pytest.fixture
def run(capsys):
    """Run a command; gives the exit code and what was printed to stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def loaded(path: str, cfg: str = "a.cfg") -> Network:
    return load_network(Path(cfg), Path(path))


# partial


def test_partial_is_the_beginning_of_the_file_with_seen_0(folder, run):
    assert run("partial", "a.cfg", "1.weights", "a.conv.1", 1) == (0, "", "")
    whole, part = Path("1.weights").read_bytes(), Path("a.conv.1").read_bytes()
    assert part[:20] == Header().pack()
    assert part[20:] == whole[20 : 20 + 4 * (4 * 4 + 4 * 27)]
    assert weights.load(network_of(NET + NORMALIZED + CONV), "a.conv.1").layers == 1


def test_partial_of_more_layers_than_there_are_is_all_of_them(folder, run):
    assert run("partial", "a.cfg", "1.weights", "all.weights", 99)[0] == 0
    assert Path("all.weights").read_bytes()[20:] == Path("1.weights").read_bytes()[20:]


def test_partial_takes_a_beginning(folder, run):
    run("partial", "a.cfg", "1.weights", "a.conv.1", 1)
    assert run("partial", "a.cfg", "a.conv.1", "b.conv.1", 1)[0] == 0
    assert Path("a.conv.1").read_bytes() == Path("b.conv.1").read_bytes()


# average


def test_average_is_the_mean_of_every_stored_value(folder, run):
    assert run("average", "a.cfg", "mean.weights", "1.weights", "2.weights", "3.weights") == (0, "", "")
    files = [np.fromfile(f"{n}.weights", "<f4", offset=20) for n in (1, 2, 3)]
    mean = (files[0] + files[1] + files[2]) * np.float32(1 / 3)  # in the order and precision of the C program
    np.testing.assert_array_equal(np.fromfile("mean.weights", "<f4", offset=20), mean)
    assert loaded("mean.weights").seen == 6400


def test_average_of_one_is_that_one(folder, run):
    assert run("average", "a.cfg", "mean.weights", "2.weights")[0] == 0
    assert Path("mean.weights").read_bytes() == Path("2.weights").read_bytes()


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_average_leaves_no_layer_out(kind):
    first, second = (network_of(NET + EVERY_KIND[kind], seed) for seed in (1, 2))
    expected = {key: (value + second.state_dict()[key]) / 2 for key, value in first.state_dict().items()}
    surgery.average(first, [second])
    for key, value in first.state_dict().items():
        torch.testing.assert_close(value, expected[key], rtol=1e-6, atol=1e-7, check_dtype=False)


def test_average_of_different_networks_is_refused():
    with pytest.raises(DarknetError, match="has other layers than"):
        surgery.average(network_of(NET + CONV), [network_of(NET + CONV.replace("4", "5"))])


# rescale and rgbgr


@pytest.mark.parametrize("text", [NET + CONV, NET + NORMALIZED, NET + "[maxpool]\nsize=2\n" + NORMALIZED])
def test_rescaled_networks_take_inputs_from_0_to_1(text):
    old, new = network_of(text), network_of(text)
    surgery.rescale(new)
    x = torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(outputs(new, x), outputs(old, 2 * x - 1), rtol=1e-4, atol=1e-5)


def test_rescale_of_a_bias_is_darknets(folder, run):
    Path("b.cfg").write_text(NET + CONV)
    network = network_of(NET + CONV)
    weights.save(network, "b.weights")
    before = arrays(network)
    assert run("rescale", "b.cfg", "b.weights", "out.weights") == (0, "", "")
    after = arrays(loaded("out.weights", "b.cfg"))
    np.testing.assert_array_equal(after["weight"], 2 * before["weight"])
    expected = before["bias"] - 0.5 * (2 * before["weight"]).sum((1, 2, 3))
    np.testing.assert_allclose(after["bias"], expected, rtol=1e-5, atol=1e-6)
    assert loaded("out.weights", "b.cfg").seen == 6400


def test_rgbgr_takes_the_other_order_of_colours(folder, run):
    assert run("rgbgr", "a.cfg", "1.weights", "bgr.weights") == (0, "", "")
    x = torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(outputs(loaded("bgr.weights"), x), outputs(loaded("1.weights"), x.flip(1)))
    before, after = arrays(loaded("1.weights"))["weight"], arrays(loaded("bgr.weights"))["weight"]
    np.testing.assert_array_equal(after, before[:, ::-1])
    assert run("rgbgr", "a.cfg", "bgr.weights", "rgb.weights")[0] == 0
    assert Path("rgb.weights").read_bytes() == Path("1.weights").read_bytes()


def test_a_file_can_be_rewritten_in_its_place(folder, run):
    before = loaded("1.weights")
    assert run("rgbgr", "a.cfg", "1.weights", "1.weights")[0] == 0
    np.testing.assert_array_equal(arrays(loaded("1.weights"))["weight"], arrays(before)["weight"][:, ::-1])


@pytest.mark.parametrize("change", [surgery.rescale, surgery.rgbgr])
def test_the_first_convolution_has_to_take_colours(change):
    for text in (
        NET.replace("channels=3", "channels=4") + CONV,
        NET + CONV.replace("filters=4", "filters=3\ngroups=3"),
    ):
        with pytest.raises(DarknetError, match=r"a\.cfg: the first convolution takes \d channels, not 3 colours"):
            change(network_of(text))
    with pytest.raises(DarknetError, match=r"a\.cfg has no \[convolutional\] layer"):
        change(network_of(NET + "[connected]\noutput=3\n"))


# reset, denormalize, normalize


def test_reset_is_darknets_formula():
    network = network_of(NET + NORMALIZED)
    before = arrays(network)
    surgery.reset(network)
    after = arrays(network)
    scale = before["scale"] / np.sqrt(before["variance"].astype(np.float64) + 1e-5)
    np.testing.assert_allclose(after["weight"], before["weight"] * scale[:, None, None, None], rtol=1e-6)
    np.testing.assert_allclose(after["bias"], before["bias"] - before["mean"] * scale, rtol=1e-5, atol=1e-6)
    assert (after["scale"].tolist(), after["mean"].tolist(), after["variance"].tolist()) == ([1] * 4, [0] * 4, [1] * 4)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_reset_changes_no_output(kind):
    network = network_of(NET + EVERY_KIND[kind])
    before = outputs(network)
    surgery.reset(network)
    torch.testing.assert_close(outputs(network), before, rtol=1e-4, atol=1e-5)  # 1e-5 is added to each variance
    for name, value in network.state_dict().items():
        if name.endswith("bn.running_var"):
            assert (value == 1).all(), name


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_denormalized_networks_have_no_normalization_and_give_the_same(kind, tmp_path):
    network = network_of(NET + EVERY_KIND[kind])
    plain = surgery.denormalize(network)
    assert not [name for name in plain.state_dict() if ".bn." in name]
    torch.testing.assert_close(outputs(plain), outputs(network), rtol=1e-5, atol=1e-5)
    weights.save(plain, tmp_path / "out.weights")
    again = network_of(NET + EVERY_KIND[kind].replace("batch_normalize=1\n", ""))
    weights.load(again, tmp_path / "out.weights")
    assert same(again, plain)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_normalized_networks_give_the_same_and_so_do_they_without_it_again(kind, tmp_path):
    network = network_of(NET + EVERY_KIND[kind].replace("batch_normalize=1\n", ""))
    normalized = surgery.normalize(network)
    torch.testing.assert_close(outputs(normalized), outputs(network), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(outputs(surgery.denormalize(normalized)), outputs(network), rtol=1e-4, atol=1e-4)
    weights.save(normalized, tmp_path / "out.weights")
    again = network_of(NET + (NORMALIZED + "[batchnorm]\n" if kind == "batchnorm" else EVERY_KIND[kind]))
    weights.load(again, tmp_path / "out.weights")
    assert same(again, normalized)
    assert same(network, network_of(NET + EVERY_KIND[kind].replace("batch_normalize=1\n", "")))


def test_what_normalize_adds():
    network = network_of(NET + CONV + NORMALIZED.replace("size=3", "size=2"))
    after = arrays(surgery.normalize(network))
    np.testing.assert_array_equal(after["bias"], arrays(network)["bias"])
    np.testing.assert_array_equal(after["weight"], arrays(network)["weight"])
    assert (after["scale"].tolist(), after["mean"].tolist(), after["variance"].tolist()) == ([1] * 4, [0] * 4, [1] * 4)
    second = arrays(surgery.normalize(network), 1)
    for role, value in arrays(network, 1).items():  # it has batch normalization already
        np.testing.assert_array_equal(second[role], value)


@pytest.mark.parametrize("verb", ["normalize", "denormalize"])
def test_the_new_cfg_is_that_of_the_new_weights(folder, run, verb):
    assert run(verb, "a.cfg", "1.weights", "new.weights", "--new-cfg", "new.cfg") == (0, "", "")
    new = loaded("new.weights", "new.cfg")
    assert [node.layer.batch_normalize for node in new.graph.nodes] == [verb == "normalize"] * 2
    torch.testing.assert_close(outputs(new), outputs(loaded("1.weights")), rtol=1e-4, atol=1e-5)
    assert new.seen == 6400


def test_reset_keeps_the_cfg(folder, run):
    assert run("reset", "a.cfg", "1.weights", "new.weights") == (0, "", "")
    torch.testing.assert_close(outputs(loaded("new.weights")), outputs(loaded("1.weights")), rtol=1e-4, atol=1e-5)


# oneoff and oneoff2

HEAD = "[convolutional]\nfilters={}\nactivation=linear\n"
ANCHORS = "[region]\nclasses=4\nnum=3\n"


def classifier_and_detector(tmp_path, head: str = ANCHORS, filters: int = 27) -> tuple[Network, Network, Path]:
    classifier = network_of(NET + NORMALIZED + HEAD.format(4) + "[avgpool]\n[softmax]\n", 1)
    weights.save(classifier, tmp_path / "classifier.weights")
    return classifier, network_of(NET + NORMALIZED + HEAD.format(filters) + head, 2), tmp_path / "classifier.weights"


def test_oneoff_gives_every_anchor_the_classifiers_filters(tmp_path):
    classifier, detector, path = classifier_and_detector(tmp_path)
    start = arrays(detector, 1)["weight"]
    surgery.oneoff(detector, path)
    after, its = arrays(detector, 1), arrays(classifier, 1)
    rows, bias = after["weight"].reshape(3, 9, -1), after["bias"].reshape(3, 9)
    for anchor in range(3):
        np.testing.assert_allclose(rows[anchor, :5], 0.1 * start[:5].reshape(5, -1), rtol=1e-6)
        np.testing.assert_array_equal(rows[anchor, 5:], its["weight"].reshape(4, -1))
        assert bias[anchor].tolist() == [0] * 5 + its["bias"].tolist()
    for role, value in arrays(classifier).items():
        np.testing.assert_array_equal(arrays(detector)[role], value)
    assert detector.seen == 0


def test_oneoff_knows_masks_and_yolo_heads(tmp_path):
    classifier, detector, path = classifier_and_detector(tmp_path, "[region]\nclasses=4\nnum=2\ncoords=6\n", 22)
    surgery.oneoff(detector, path)
    np.testing.assert_array_equal(arrays(detector, 1)["weight"][18:], arrays(classifier, 1)["weight"])
    classifier, detector, path = classifier_and_detector(tmp_path, "[yolo]\nclasses=4\nnum=9\nmask=0,1\n", 18)
    surgery.oneoff(detector, path)
    np.testing.assert_array_equal(arrays(detector, 1)["weight"][5:9], arrays(classifier, 1)["weight"])


def test_the_command_oneoff(folder, run):
    classifier, _, path = classifier_and_detector(folder)
    Path("detector.cfg").write_text(NET + NORMALIZED + HEAD.format(27) + ANCHORS)
    assert run("oneoff", "detector.cfg", path, "out.weights") == (0, "", "")
    out = loaded("out.weights", "detector.cfg")
    np.testing.assert_array_equal(arrays(out, 1)["weight"][5:9], arrays(classifier, 1)["weight"])
    assert run("oneoff", "detector.cfg", path, "again.weights")[0] == 0
    assert Path("again.weights").read_bytes() == Path("out.weights").read_bytes()


def test_oneoff_refuses_what_is_no_detector_or_no_classifier(tmp_path):
    classifier, detector, path = classifier_and_detector(tmp_path)
    with pytest.raises(DarknetError, match=r"does not end in \[convolutional\] and \[region\] or \[yolo\]"):
        surgery.oneoff(classifier, path)
    normalized = network_of(NET + HEAD.format(27) + "batch_normalize=1\n" + ANCHORS)
    with pytest.raises(DarknetError, match="has batch_normalize=1"):
        surgery.oneoff(normalized, path)
    weights.save(detector, tmp_path / "detector.weights")
    before = network_of(NET + NORMALIZED + HEAD.format(27) + ANCHORS, 2)
    with pytest.raises(WeightsError, match="a classifier wants"):
        surgery.oneoff(detector, tmp_path / "detector.weights")
    surgery.partial(classifier, tmp_path / "a.conv.1", 1)
    with pytest.raises(WeightsError, match="holds the first 1 layers, and a classifier of all is needed"):
        surgery.oneoff(detector, tmp_path / "a.conv.1")
    assert same(detector, before)


def test_oneoff2_loads_a_file_twice(folder, run):
    middle = CONV.replace("filters=4", "filters=3\npad=1")
    Path("two.cfg").write_text(NET + middle + middle)
    Path("one.cfg").write_text(NET + middle)
    one = network_of(NET + middle, 5)
    weights.save(one, "one.weights")
    assert run("oneoff2", "two.cfg", "one.weights", "two.weights", 1) == (0, "", "")
    two = loaded("two.weights", "two.cfg")
    for layer in (0, 1):
        for role, value in arrays(one).items():
            np.testing.assert_array_equal(arrays(two, layer)[role], value)
    assert two.seen == 0
    code, _, err = run("oneoff2", "two.cfg", "one.weights", "other.weights", 2)
    assert (code, err) == (1, "darknet-py: there is no layer 2; the layers are 0 to 1\n")
    assert not Path("other.weights").exists()


# statistics and print


def test_statistics_are_those_of_numpy(folder, run):
    code, out, _ = run("statistics", "a.cfg", "1.weights", "--json")
    rows = json.loads(out)
    assert code == 0
    assert [(row["layer"], row["role"]) for row in rows] == [
        *((0, role) for role in ("bias", "scale", "mean", "variance", "weight")), (1, "bias"), (1, "weight"),
    ]  # fmt: skip
    for row in rows:
        values = arrays(loaded("1.weights"), row["layer"])[row["role"]].astype(np.float64)
        assert row["values"] == values.size
        assert row["mean"] == pytest.approx(values.mean())
        assert row["variance"] == pytest.approx(values.var())
        assert row["root_mean_square"] == pytest.approx(np.sqrt((values**2).mean()))


def test_statistics_are_printed_as_darknet_prints_them(folder, run):
    code, out, _ = run("statistics", "a.cfg", "1.weights")
    first, second, *_ = out.splitlines()
    bias = arrays(loaded("1.weights"))["bias"].astype(np.float64)
    assert (code, first) == (0, "Convolutional Layer 0")
    numbers = f"MSE: {np.sqrt((bias**2).mean()):.6f}, Mean: {bias.mean():.6f}, Variance: {bias.var():.6f}"
    assert second.split(maxsplit=1) == ["bn.bias", numbers]
    assert "\n\nConvolutional Layer 1\n" in out


def test_numbers_that_are_none_are_null_in_json(folder, run):
    network = loaded("1.weights")
    with torch.no_grad():
        network.layers[1].conv.weight[0, 0, 0, 0] = math.nan
    weights.save(network, "nan.weights")
    rows = json.loads(run("statistics", "a.cfg", "nan.weights", "--json")[1])
    assert [row["mean"] is None for row in rows] == [False] * 6 + [True]
    matrix = json.loads(run("print", "a.cfg", "nan.weights", 1, "--json")[1])["weights"][0]
    assert matrix[0][0] is None
    assert run("print", "a.cfg", "nan.weights", 1)[1].startswith("nan ")


def test_print_gives_a_row_a_filter(folder, run):
    weight = arrays(loaded("1.weights"), 1)["weight"]
    expected = "".join("".join(f"{value:g} " for value in row.tolist()) + "\n" for row in weight.reshape(4, -1))
    assert run("print", "a.cfg", "1.weights", 1) == (0, expected, "")
    parsed = json.loads(run("print", "a.cfg", "1.weights", 1, "--json")[1])
    assert parsed["layer"] == 1
    np.testing.assert_array_equal(np.array(parsed["weights"][0], np.float32), weight.reshape(4, -1))


def test_matrices_of_other_layers():
    recurrent = surgery.matrices(network_of("[net]\ninputs=7\n[gru]\noutput=4\n"), 0)
    assert [tuple(matrix.shape) for matrix in recurrent] == [(4, 4)] * 3 + [(4, 7)] * 3
    (local,) = surgery.matrices(network_of(NET + "[local]\nfilters=2\nsize=3\n"), 0)
    assert local.shape == (3 * 4 * 2, 27)


@pytest.mark.parametrize(
    ("layer", "message"),
    [("0", r"layer 0 [maxpool] has no weights"), ("3", "there is no layer 3; the layers are 0 to 1")],
)
def test_print_of_what_is_not_there(folder, run, layer, message):
    Path("b.cfg").write_text(NET + "[maxpool]\n" + CONV)
    weights.save(network_of(NET + "[maxpool]\n" + CONV), "b.weights")
    assert run("print", "b.cfg", "b.weights", layer) == (1, "", f"darknet-py: {message}\n")


# visualize


def test_filters_of_three_channels_are_in_colour():
    network = network_of("[net]\nwidth=5\nheight=5\nchannels=3\n" + CONV.replace("filters=4", "filters=3"))
    picture = surgery.filters_picture(network)
    weight = network.layers[0].conv.weight.detach()
    factor = 1024 // 7
    assert picture.shape == (3, 7 * factor, 7 * factor)  # two rows of two, with a line between
    small = picture[:, ::factor, ::factor]
    low, high = weight.flatten(1).aminmax(dim=1)
    for n, (row, column) in enumerate([(0, 0), (0, 4), (4, 0)]):
        expected = (weight[n] - low[n]) / (high[n] - low[n])
        torch.testing.assert_close(small[:, row : row + 3, column : column + 3], expected)
    assert (small[:, 3] == 0).all()
    assert (small[:, 4:, 4:] == 0).all()


def test_channels_of_others_stand_side_by_side():
    network = network_of(NET.replace("channels=3", "channels=2") + CONV)
    weight = network.layers[0].conv.weight.detach()
    picture = surgery.filters_picture(network)
    factor = 1024 // 15
    small = picture[:, ::factor, ::factor]
    assert small.shape == (1, 15, 7)
    low, high = weight[1].aminmax()
    torch.testing.assert_close(small[0, 4:7, 4:7], (weight[1, 1] - low) / (high - low))


def test_the_command_visualize(folder, run):
    assert run("visualize", "a.cfg", "1.weights") == (0, "filters.png\n", "")
    with Image.open("filters.png") as picture:
        assert picture.mode == "RGB"
    assert run("visualize", "a.cfg", "1.weights", "--out", "second.png", "--layer", 1)[0] == 0
    with Image.open("second.png") as picture:
        assert picture.mode == "L"
    assert run("visualize", "a.cfg", "-out", "start.png")[0] == 0
    first = Path("start.png").read_bytes()
    run("visualize", "a.cfg", "-out", "start.png")
    assert Path("start.png").read_bytes() == first


def test_visualize_needs_a_convolution(folder, run):
    Path("b.cfg").write_text(NET + "[connected]\noutput=3\n")
    assert run("visualize", "b.cfg") == (1, "", "darknet-py: b.cfg has no [convolutional] layer\n")
    code, _, err = run("visualize", "a.cfg", "--layer", 7)
    assert (code, err) == (1, "darknet-py: layer 7 is no convolution; those are 0, 1\n")
    wide = network_of(NET.replace("channels=3", "channels=4096") + CONV.replace("filters=4", "filters=2000"))
    with pytest.raises(DarknetError, match="too much for a picture"):
        surgery.filters_picture(wide)


def test_filters_of_one_value_and_of_no_number_are_shown_too():
    network = network_of(NET + CONV)
    with torch.no_grad():
        network.layers[0].conv.weight[0] = 2.0
        network.layers[0].conv.weight[1] = math.nan
    assert surgery.filters_picture(network).isfinite().all()


# ops and speed


def test_operations_by_hand(folder, run):
    # 3 x 3 x 3 for each of 4 x (5-2) x (6-2), then 3 x 3 x 4 for each of 4 x 1 x 2; two each.
    total = 2 * 27 * 4 * 3 * 4 + 2 * 36 * 4 * 1 * 2
    lines = f"Floating Point Operations: {total}\nFloating Point Operations: 0.00 Bn\n"
    assert run("ops", "a.cfg") == (0, lines, "")
    assert json.loads(run("ops", "a.cfg", "--json")[1]) == {"operations": total}


def test_operations_count_every_layer_with_weights():
    graph = Graph.parse(NET + "[local]\nfilters=2\nsize=3\n[connected]\noutput=7\n")
    assert surgery.operations(graph) == 2 * 27 * 2 * 3 * 4 + 2 * 24 * 7
    assert surgery.operations(Graph.parse("[net]\ninputs=7\n[rnn]\noutput=4\n")) == 2 * (7 * 4 + 4 * 4 + 4 * 4)


def test_rates_of_a_speed():
    found = surgery.Speed(evaluations=10, seconds=4.0, operations=6)
    assert (found.seconds_each, found.per_second, found.flops) == (0.4, 2.5, 15.0)


@pytest.mark.parametrize("text", [NET + CONV, "[net]\ninputs=7\nbatch=1\ntime_steps=3\n[lstm]\noutput=4\n"])
def test_speed_counts_evaluations(text):
    network = network_of(text)
    calls = []
    network.register_forward_hook(lambda *_: calls.append(1))
    found = surgery.speed(network, 3)
    assert (len(calls), found.evaluations) == (4, 3)  # the first is not counted
    assert found.seconds > 0
    assert found.operations == surgery.operations(network.graph) * network.graph.net.time_steps


def test_the_command_speed(folder, run):
    code, out, _ = run("speed", "a.cfg", 2, "-nogpu")
    assert code == 0
    blank, evals, operations, flops, each, rate = out.splitlines()
    assert (blank, evals.split()[:2], operations) == ("", ["2", "evals,"], "Floating Point Operations: 0.00 Bn")
    assert flops.startswith("FLOPS: ")
    assert each.endswith(" sec/eval")
    assert rate.endswith(" Hz")
    found = json.loads(run("speed", "a.cfg", 2, "-nogpu", "--json")[1])
    assert (found["evaluations"], found["device"]) == (2, "cpu")
    assert found["per_second"] == pytest.approx(2 / found["seconds"])
    assert (found["engine"] == "plain") == (fastest() == "plain")
    assert json.loads(run("speed", "a.cfg", 2, "-nogpu", "--json", "--engine", "plain")[1])["engine"] == "plain"


# The command line


@pytest.mark.parametrize(
    "arguments",
    [
        ["partial", "a.cfg", "cut.weights", "out", "1"],
        ["average", "a.cfg", "out", "1.weights", "cut.weights"],
        *([verb, "a.cfg", "cut.weights", "out"] for verb in ("rescale", "rgbgr", "reset", "normalize", "denormalize")),
        ["statistics", "a.cfg", "cut.weights"],
        ["print", "a.cfg", "cut.weights", "0"],
        ["visualize", "a.cfg", "cut.weights"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_file_that_does_not_fit_is_one_line_and_no_output(folder, run, arguments):
    Path("cut.weights").write_bytes(Path("1.weights").read_bytes()[:-8])
    Path("out").write_text("old")
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    assert err.startswith("darknet-py: cut.weights: it ends in layer 1 [convolutional], weight")
    assert err.count("\n") == 1
    assert Path("out").read_text() == "old"
    assert {path.name for path in folder.iterdir()} == {
        "a.cfg",
        "1.weights",
        "2.weights",
        "3.weights",
        "cut.weights",
        "out",
    }


def test_partial_files_are_taken_where_asked_for(folder, run):
    Path("cut.weights").write_bytes(Path("1.weights").read_bytes()[:-8])
    assert run("rgbgr", "a.cfg", "cut.weights", "out.weights", "--partial")[0] == 0
    np.testing.assert_array_equal(arrays(loaded("out.weights"), 1)["bias"], arrays(loaded("1.weights"), 1)["bias"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["partial", "a.cfg", "1.weights", "out"],
        ["partial", "a.cfg", "1.weights", "out", "0"],
        ["partial", "a.cfg", "1.weights", "out", "x"],
        ["print", "a.cfg", "1.weights", "-1"],
        ["average", "a.cfg", "out"],
        ["rescale", "a.cfg", "1.weights"],
        ["speed", "a.cfg", "many"],
    ],
    ids=" ".join,
)
def test_wrong_arguments_are_one_line_and_exit_code_2(folder, run, arguments):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"darknet-py {arguments[0]}: ")
    assert err.count("\n") == 1


def test_errors_of_files_are_one_line(folder, run):
    code, _, err = run("rgbgr", "a.cfg", "none.weights", "out")
    assert (code, err) == (1, "darknet-py: none.weights: cannot be read: No such file or directory\n")
    code, _, err = run("rgbgr", "a.cfg", "1.weights", "none/out")
    assert (code, err) == (1, "darknet-py: none/out: cannot be written: No such file or directory\n")
    code, _, err = run("ops", "none.cfg")
    assert (code, err.count("\n")) == (1, 1)


@pytest.mark.filterwarnings("default::darknet_py.errors.CfgWarning")
def test_strict_is_obeyed(folder, run):
    Path("odd.cfg").write_text(NET + CONV + "odd=1\n")
    assert run("ops", "odd.cfg")[0] == 0
    assert run("ops", "odd.cfg", "--strict")[0] == 1


@pytest.mark.parametrize("device", [["-nogpu"], ["-i", "0"]])
def test_the_device_can_be_named_as_in_the_c_program(folder, run, device):
    assert run(*device, "rgbgr", "a.cfg", "1.weights", "before.weights")[0] == 0
    assert run("rgbgr", "a.cfg", "1.weights", "after.weights", *device)[0] == 0
    assert Path("before.weights").read_bytes() == Path("after.weights").read_bytes()


def test_old_files_come_out_in_darknets_present_version(folder, run):
    network = loaded("1.weights")
    weights.save(network, "old.weights", header=replace(network.header, minor=1))
    assert run("rgbgr", "a.cfg", "old.weights", "out.weights")[0] == 0
    assert Path("out.weights").read_bytes()[:20] == Header(0, 2, 0, 6400).pack()
