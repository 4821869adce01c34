"""ONNX files, run by onnxruntime, equal the network they were made from."""

from __future__ import annotations

import sys

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from darknet_py import convert
from darknet_py.boxes.suppress import Nms
from darknet_py.convert import onnx as target
from darknet_py.convert.formats import Options
from darknet_py.convert.traceable import Traceable
from darknet_py.errors import DarknetError
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from tests.convert.test_export import SIZED, assert_same, heads, pictures
from tests.support.places import GOLDEN
from tests.support.recordings import load_network
from tests.support.rows import BOXES, are_alike, candidates, dense_rows, recorded, rows_of

EVERYTHING = f"""
[net]
width=22
height=18
channels=3
[crop]
crop_width=20
crop_height=16
[convolutional]
batch_normalize=1
filters=8
size=3
pad=1
activation=leaky
[maxpool]
size=3
stride=2
[convolutional]
groups=2
filters=12
size=3
pad=1
activation=elu
[route]
layers=-3
[convolutional]
filters=4
size=1
activation=ramp
[reorg]
stride=2
[route]
layers=-1,-4
[normalization]
alpha=0.1
[batchnorm]
[shortcut]
from=1
alpha=0.5
activation=relu
[deconvolutional]
batch_normalize=1
filters=6
size=2
stride=2
activation=plse
[shortcut]
from=2
activation=linear
[maxpool]
size=2
stride=1
[l2norm]
[upsample]
stride=-2
[dropout]
probability=0.5
[upsample]
stride=2
scale=0.5
[maxpool]
size=5
stride=2
padding=3
[local]
filters=3
size=3
stride=2
pad=1
activation=loggy
[activation]
activation=selu
[connected]
batch_normalize=1
output=20
activation=hardtan
[connected]
output=10
activation=lhtan
[softmax]
tree={GOLDEN / "train" / "tiny.tree"}
"""
KINDS = ("boxes_detection", "boxes_region", "boxes_tree", "boxes_yolo")


@pytest.fixture(scope="module", params=KINDS)
def with_nms(request, tmp_path_factory):
    """A network with boxes, pictures, options, and the file with NMS in its graph."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(BOXES)  # where the tree is
        network, x, thresh, iou = recorded(request.param)
    options = Options(nms=True, thresh=thresh, iou=iou)
    path = tmp_path_factory.mktemp("nms") / "a.onnx"
    target.write(network, path, options)
    return network, x, options, path


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run(path, x: Tensor) -> dict[str, Tensor]:
    model = session(path)
    outputs = map(torch.from_numpy, model.run(None, {"images": x.numpy()}))
    return dict(zip([output.name for output in model.get_outputs()], outputs, strict=True))


def drawn(text: str) -> Network:
    """A network with random values everywhere."""
    generator = torch.Generator().manual_seed(4)
    network = Network(Graph.parse(text), generator=generator).eval()
    for value in (*network.parameters(), *network.buffers()):
        if value.ndim == 1 and value.is_floating_point():
            value.data.copy_(torch.rand(len(value), generator=generator) + 0.5)
    return network


def test_every_kind_of_layer_and_any_batch(tmp_path):
    network = drawn(EVERYTHING)
    report = convert.to_onnx(network, tmp_path / "a.onnx")
    assert report.proof.holds
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
    onnx.checker.check_model(tmp_path / "a.onnx", full_check=True)
    for count in (1, 3):
        x = pictures(network, count)
        outputs = run(tmp_path / "a.onnx", x)
        assert list(outputs) == ["layer23"]
        assert_same(list(outputs.values()), heads(network, x))


def test_what_goes_into_nms_is_what_decode_finds(with_nms):
    network, x, options, path = with_nms
    (outputs,) = target.run(path, network, [x], options)
    (expected,) = target.FORMAT.expect(network, [x], options)
    assert_same(outputs, expected)
    if len(outputs) > 2:
        return  # the labels are left out: see the next test
    for n, found in enumerate(candidates(network, x, options.thresh)):
        rows = rows_of(found)
        rows[:, :4].clamp_(0, 1)
        torch.testing.assert_close(dense_rows(outputs, n, options.thresh), rows, rtol=0, atol=1e-5)


def test_nms_leaves_what_darknets_leaves(with_nms):
    network, x, options, path = with_nms
    for count in (3, 1):
        outputs = run(path, x[:count])
        assert list(outputs) == ["boxes", "scores", "labels", "pictures"]
        boxes, scores, labels, number = outputs.values()
        rows = torch.cat((boxes, labels[:, None], scores[:, None]), 1)
        for n, found in enumerate(candidates(network, x[:count], options.thresh)):
            kept = found.suppressed(Nms(threshold=options.iou))
            assert len(kept.box_index) < len(found.box_index) or n
            assert are_alike(rows[number == n], rows_of(kept))
        keys = list(zip(number.tolist(), labels.tolist(), (-scores).tolist(), strict=True))
        assert keys == sorted(keys)


def test_boxes_of_a_tree_have_a_label(monkeypatch, tmp_path):
    monkeypatch.chdir(BOXES)
    network, x, thresh, _ = recorded("boxes_tree")
    report = convert.to_onnx(network, tmp_path / "a.onnx", decode=True)
    assert report.proof.holds
    outputs = run(tmp_path / "a.onnx", x)
    assert list(outputs) == ["boxes", "scores", "labels", "probabilities"]
    assert_same(list(outputs.values()), Traceable(network, Options(decode=True))(x))
    for n, found in enumerate(candidates(network, x, thresh)):
        mine = dense_rows(list(outputs.values()), n, thresh)
        torch.testing.assert_close(mine, rows_of(found), rtol=0, atol=1e-5)


def test_the_size_may_change_by_multiples_of_the_stride(tmp_path):
    network = drawn(SIZED)
    target.write(network, tmp_path / "a.onnx", Options(decode=True, dynamic_size=True))
    (images,) = session(tmp_path / "a.onnx").get_inputs()
    assert images.name == "images"
    assert images.shape == ["batch", 3, "4*rows", "4*columns"]
    for width, height, count in ((2, 2, 1), (3, 5, 3), (10, 4, 2), (8, 9, 1)):
        network.resize(4 * width, 4 * height)
        x = pictures(network, count)
        outputs = list(run(tmp_path / "a.onnx", x).values())
        for n, found in enumerate(candidates(network, x, 0.1)):
            assert len(found.box_index) > 10
            torch.testing.assert_close(dense_rows(outputs, n, 0.1), rows_of(found), rtol=1e-5, atol=1e-5)


def test_half_precision_computes_inside_alone(tmp_path):
    cfg = GOLDEN / "layers" / "gru"  # recurrent: one sequence
    network = load_network(cfg.with_suffix(".cfg"), cfg.with_suffix(".weights"))
    report = convert.to_onnx(network, tmp_path / "a.onnx", dtype=torch.float16)
    assert report.proof.holds
    x = pictures(network, network.graph.net.time_steps)
    (output,) = run(tmp_path / "a.onnx", x).values()
    assert output.dtype == torch.float32
    assert_same([output], heads(network, x), 1e-2)
    model = onnx.load(tmp_path / "a.onnx")
    assert {value.data_type for value in model.graph.initializer} >= {onnx.TensorProto.FLOAT16}
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert Graph.parse(told["cfg"]).net == network.graph.net
    assert told["version"] == "0.2.0"
    assert told["dtype"] == "float16"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": torch.bfloat16}, "bfloat16"),
        ({"thresh": 0.5}, "thresh goes with nms"),
        ({"nms": True, "iou": 1.5}, "iou is 1.5; it must be from 0 to 1"),
        ({"nms": True, "thresh": float("nan")}, "thresh is nan"),
        ({"dynamic_size": True}, "takes only one size"),
    ],
)
def test_what_cannot_be_is_refused(options, message, tmp_path):
    network, *_ = recorded("boxes_detection")
    with pytest.raises(DarknetError, match=message):
        target.write(network, tmp_path / "a.onnx", Options(**options))
    assert not list(tmp_path.iterdir())


def test_weights_beyond_two_gigabytes_are_refused_before_anything_is_done(monkeypatch, tmp_path):
    network, *_ = recorded("boxes_detection")
    monkeypatch.setattr(target, "MAX_BYTES", 1000)
    monkeypatch.setattr(target, "export", None)
    with pytest.raises(DarknetError, match=r"holds up to 2 GB, and the weights have 0.0 GB: try .pt2"):
        target.write(network, tmp_path / "a.onnx", Options())


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_one_line(package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    network, *_ = recorded("boxes_detection")
    with pytest.raises(DarknetError, match=rf"^{package} is not installed: pip install 'darknet-torch\[onnx\]'$"):
        convert.to_onnx(network, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_what_torch_cannot_translate_is_one_line(monkeypatch, tmp_path):
    def fail(*_args, **_options):
        raise torch.onnx.OnnxExporterError("No decompositions registered\nand so on")

    monkeypatch.setattr(torch.onnx, "export", fail)
    network, *_ = recorded("boxes_detection")
    with pytest.raises(DarknetError, match=r"cannot translate this network: No decompositions registered$"):
        target.write(network, tmp_path / "a.onnx", Options())


def test_the_terminal_stays_quiet(capfd, tmp_path):
    cfg = GOLDEN / "layers" / "upsample"
    network = load_network(cfg.with_suffix(".cfg"), cfg.with_suffix(".weights"))
    convert.to_onnx(network, tmp_path / "a.onnx")
    assert capfd.readouterr() == ("", "")
