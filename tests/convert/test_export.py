"""The graphs of torch.export and TorchScript equal the network they were made from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from darknet_py import convert
from darknet_py.convert import export, torchscript
from darknet_py.convert.formats import Options
from darknet_py.convert.traceable import Traceable
from darknet_py.errors import DarknetError
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from tests.support.places import GOLDEN
from tests.support.recordings import load_network
from tests.support.rows import BOXES, candidates, dense_rows, golden_cases, recorded, rows_of

FORMATS = {".pt2": export, ".ts": torchscript}
SIZED = """
[net]
width=32
height=64
channels=3
[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky
[maxpool]
size=3
stride=1
[convolutional]
filters=16
size=3
stride=2
pad=1
activation=leaky
[shortcut]
from=-2
activation=linear
[route]
layers=-3
[reorg]
stride=2
[route]
layers=-1,-3
[convolutional]
filters=14
size=1
activation=linear
[upsample]
stride=2
[yolo]
anchors=9,8, 12,20
classes=2
num=2
"""  # resizable, with whatever follows the size


@pytest.fixture(params=FORMATS)
def suffix(request):
    return request.param


@pytest.fixture(autouse=True)
def _in_the_folder_of_the_tree(monkeypatch):
    monkeypatch.chdir(BOXES)


def pictures(network: Network, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.rand(count, *network.input_shape.dims, generator=generator)


def saved(suffix, path, network, **options):
    """Write a network; the module that is in the file."""
    FORMATS[suffix].write(network, path, Options(**options))
    return opened(suffix, path)


def opened(suffix, path):
    if suffix == ".pt2":
        return torch.export.load(path).module()
    with torchscript.quiet():
        return torch.jit.load(path)


def heads(network: Network, x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return list(network.heads(x))


def assert_same(found, expected, tolerance=1e-5):
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=tolerance * float(theirs.abs().max().clamp(min=1e-3)))


@pytest.mark.parametrize("name", golden_cases("layers"))
def test_graphs_of_all_layers_equal_the_network(suffix, name, tmp_path):
    network = load_network(GOLDEN / "layers" / f"{name}.cfg", GOLDEN / "layers" / f"{name}.weights")
    module = saved(suffix, tmp_path / f"a{suffix}", network)
    for count in (network.graph.net.time_steps,) if network.graph.recurrent else (1, 3):
        x = pictures(network, count)
        assert_same(module(x), heads(network, x))


@pytest.mark.parametrize("name", [name for name in golden_cases("boxes") if name != "boxes_region_tall"])
def test_boxes_in_the_graph_are_those_of_decode(suffix, name, tmp_path):
    network, x, thresh, _ = recorded(name)
    outputs = saved(suffix, tmp_path / f"a{suffix}", network, decode=True)(x)
    for n, found in enumerate(candidates(network, x, thresh)):
        assert len(found.box_index)
        torch.testing.assert_close(dense_rows(outputs, n, thresh), rows_of(found), rtol=0, atol=1e-5)
    if len(outputs) > 2:
        assert torch.equal(network.layers[-1].walk(outputs[3], 0.5), outputs[2])


def test_the_size_may_change_by_multiples_of_the_stride(suffix, tmp_path):
    network = Network(Graph.parse(SIZED), generator=torch.Generator().manual_seed(2)).eval()
    module = saved(suffix, tmp_path / f"a{suffix}", network, decode=True, dynamic_size=True)
    stride = network.graph.stride
    assert stride == 4
    for width, height, count in ((2, 2, 1), (3, 5, 3), (10, 4, 2), (8, 9, 1)):
        network.resize(width * stride, height * stride)
        x = pictures(network, count)
        outputs = module(x)
        for n, found in enumerate(candidates(network, x, 0.1)):
            assert len(found.box_index) > 10
            torch.testing.assert_close(dense_rows(outputs, n, 0.1), rows_of(found), rtol=1e-5, atol=1e-5)


def test_a_network_is_as_it_was_before(suffix, tmp_path):
    network = load_network(GOLDEN / "layers" / "conv_basic.cfg", GOLDEN / "layers" / "conv_basic.weights").train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    FORMATS[suffix].write(network, tmp_path / f"a{suffix}", Options(dtype=torch.float16))
    assert all(module.training for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())
    for key, value in network.state_dict().items():
        assert value.dtype == before[key].dtype
        assert torch.equal(value, before[key])
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize(
    ("suffix", "dtype"), [(".pt2", torch.float16), (".ts", torch.bfloat16), (".ts", torch.float32)]
)
def test_a_conversion_proves_itself(suffix, dtype, tmp_path):
    network, x, *_ = recorded("boxes_tree")
    to = convert.to_export if suffix == ".pt2" else convert.to_torchscript
    report = to(network, tmp_path / f"a{suffix}", decode=True, dtype=dtype)
    assert report.proof.holds
    assert opened(suffix, tmp_path / f"a{suffix}")(x)[0].dtype == torch.float32  # whatever it computes in


def test_files_hold_the_cfg(suffix, tmp_path):
    network, *_ = recorded("boxes_yolo")
    network.seen = 32013312
    FORMATS[suffix].write(network, tmp_path / f"a{suffix}", Options())
    extra = {"cfg": "", "seen": "", "version": ""}
    if suffix == ".pt2":
        torch.export.load(tmp_path / "a.pt2", extra_files=extra)
    else:
        with torchscript.quiet():
            torch.jit.load(tmp_path / "a.ts", _extra_files=extra)
    told = {key: value.decode() if isinstance(value, bytes) else value for key, value in extra.items()}
    assert [str(node) for node in Graph.parse(told["cfg"]).nodes] == [str(node) for node in network.graph.nodes]
    assert told["seen"] == "32013312"
    assert told["version"] == "0.2.0"


def test_recurrent_graphs_take_the_first_sequence_in_a_check(suffix, tmp_path):
    network = load_network(GOLDEN / "layers" / "gru.cfg", GOLDEN / "layers" / "gru.weights")
    steps = network.graph.net.time_steps
    assert steps > 1
    to = convert.to_export if suffix == ".pt2" else convert.to_torchscript
    assert to(network, tmp_path / f"a{suffix}").proof.holds
    x = pictures(network, 2 * steps)
    (run,) = FORMATS[suffix].run(tmp_path / f"a{suffix}", network, [x], Options())
    assert_same(run, [heads(network, x)[0].unflatten(0, (steps, 2))[:, 0]])


@pytest.mark.parametrize(
    ("cfg", "options", "message"),
    [
        ("boxes/boxes_detection", {"dynamic_size": True}, "takes one size alone"),
        ("layers/crop_center", {"dynamic_size": True}, r"layer 0 \[crop\] takes a part"),
        ("layers/conv_basic", {"decode": True}, "gives no boxes: is this a classifier"),
    ],
)
def test_what_cannot_be_is_refused(suffix, cfg, options, message, tmp_path):
    network = load_network(GOLDEN / f"{cfg}.cfg", GOLDEN / f"{cfg}.weights")
    with pytest.raises(DarknetError, match=message):
        FORMATS[suffix].write(network, tmp_path / f"a{suffix}", Options(**options))


def test_heads_have_to_have_the_same_classes():
    yolo = "[convolutional]\nfilters={filters}\nsize=1\nactivation=linear\n[yolo]\nclasses={classes}\nanchors=1,1\n"
    heads = "".join(yolo.format(filters=5 + classes, classes=classes) for classes in (2, 3))
    network = Network(Graph.parse(f"[net]\nwidth=4\nheight=4\nchannels=1\n{heads}"))
    with pytest.raises(DarknetError, match="different classes"):
        Traceable(network, Options(decode=True))


def test_detection_heads_need_four_coordinates():
    network, *_ = recorded("boxes_detection")
    node = network.graph.nodes[-1]
    nodes = (*network.graph.nodes[:-1], replace(node, layer=replace(node.layer, coords=5)))
    network.graph = replace(network.graph, nodes=nodes)
    with pytest.raises(DarknetError, match="coords=5"):
        Traceable(network, Options(decode=True))


def test_what_torch_cannot_export_is_one_line(monkeypatch):
    def fail(*_args, **_options):
        raise RuntimeError("Constraints violated (rows)!\nand so on")

    monkeypatch.setattr(torch.export, "export", fail)
    network, *_ = recorded("boxes_yolo")
    with pytest.raises(DarknetError, match=r"boxes_yolo\.cfg: Constraints violated \(rows\)!$"):
        export.export(Traceable(network, Options()), Options())
