"""Weights into state dicts and back: the same bytes, and nothing of a conversion that failed."""

from __future__ import annotations

import json
import pickle
import struct
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from darknet_py import convert, weights
from darknet_py.convert import formats, proof, state_dict
from darknet_py.errors import CfgWarning, DarknetError, WeightsError
from darknet_py.files.targets import TARGETS
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.weights import Header
from tests.support.places import GOLDEN, OFFICIAL, needs_official
from tests.support.recordings import load_network, read_graph

LAYERS = GOLDEN / "layers"
CASES = sorted(path.stem for path in LAYERS.glob("*.npz"))
HEADERS = [Header(0, 1, 0, 32013312), Header(0, 2, 0, 2**40), Header(1, 0, 5, 3), Header(0, 1001, 0, 7)]
SOME = ["conv_flipped", "connected", "lstm", "crnn", "deconv", "local", "batchnorm", "maxpool_even"]
FOLDED = ["conv_basic", "conv_groups", "conv_xnor", "connected", "rnn", "gru", "lstm", "crnn", "deconv"]
SMALL_OFFICIAL = ("cifar", "go", "tiny", "writing", "gru", "yolov2-tiny", "yolov3-tiny")
CFG = """
[net]
width=64
height=64
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

[avgpool]

[connected]
output=5
batch_normalize=1
activation=linear
"""
pytestmark = pytest.mark.filterwarnings("ignore::darknet_py.errors.CfgWarning")


@pytest.fixture
def cfg(tmp_path):
    path = tmp_path / "net.cfg"
    path.write_text(CFG, encoding="utf-8")
    return path


@pytest.fixture
def source(cfg, tmp_path):
    path = tmp_path / "net.weights"
    weights.save(drawn(cfg), path, header=Header(0, 1, 0, 1234))
    return path


def drawn(cfg: Path) -> Network:
    """A network with random values everywhere, in eval mode."""
    network = Network(read_graph(cfg), initialize=False).eval()
    rng = torch.Generator().manual_seed(3)
    for key, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5 if "var" in key else -1, 1.5, generator=rng)
    return network


def random_weights(graph: Graph, path: Path, header: Header) -> Path:
    count = sum(slot.size for slot in weights.layout(graph))
    values = np.random.default_rng(0).uniform(0.01, 0.2, count).astype("<f4")
    path.write_bytes(header.pack() + values.tobytes())
    return path


def there_and_back(cfg: Path, source: Path, suffix: str) -> Path:
    between, target = source.with_name(f"between{suffix}"), source.with_name(f"again_{source.name}")
    report = convert.convert(cfg, source, between)
    assert report.proof is not None
    assert report.difference == 0
    convert.convert(cfg, between, target, check=False)
    return target


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("case", CASES)
def test_weights_come_back_as_the_identical_file(case, suffix, tmp_path):
    source = tmp_path / "a.weights"
    source.write_bytes((LAYERS / f"{case}.weights").read_bytes())
    again = there_and_back(LAYERS / f"{case}.cfg", source, suffix)
    assert again.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".backup"])
@pytest.mark.parametrize("header", HEADERS, ids=lambda header: f"{header.major}.{header.minor}")
@pytest.mark.parametrize("case", SOME)
def test_the_version_of_the_header_survives(case, header, suffix, tmp_path):
    cfg = LAYERS / f"{case}.cfg"
    source = random_weights(read_graph(cfg), tmp_path / "a.weights", header)
    assert there_and_back(cfg, source, suffix).read_bytes() == source.read_bytes()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_cut_file_stays_cut(source, cfg, suffix, tmp_path):
    cut = tmp_path / "net.conv.3"
    report = convert.convert(cfg, source, cut)
    assert (report.layers, report.values) == (3, 4 * 4 + 4 * 27 + 6 + 6 * 4)
    assert source.read_bytes().startswith(cut.read_bytes())
    again = there_and_back(cfg, cut, suffix)
    assert again.name == "again_net.conv.3"
    assert again.read_bytes() == cut.read_bytes()


@needs_official
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("name", SMALL_OFFICIAL)
def test_official_cfgs_come_back_as_the_identical_file(name, suffix, tmp_path, monkeypatch):
    monkeypatch.chdir(OFFICIAL)
    cfg = OFFICIAL / "cfg" / f"{name}.cfg"
    source = random_weights(read_graph(cfg), tmp_path / "a.weights", HEADERS[0])
    assert there_and_back(cfg, source, suffix).read_bytes() == source.read_bytes()


def test_a_state_dict_is_plain_and_strict(source, cfg, tmp_path):
    convert.convert(cfg, source, tmp_path / "net.pt")
    state = torch.load(tmp_path / "net.pt", weights_only=True)
    network = Network(Graph.read(cfg), initialize=False)
    assert network.load_state_dict(state, strict=True).missing_keys == []
    expected = load_network(cfg, source).state_dict()
    assert list(state) == list(expected)
    assert all(torch.equal(state[key], tensor) for key, tensor in expected.items())
    note = state._metadata["darknet_py"]
    assert (note["version"], note["seen"], note["layers"]) == ("0.1.0", "1234", "5")
    assert Graph.parse(note["cfg"]).nodes[0].layer == network.graph.nodes[0].layer


def test_safetensors_carry_the_cfg_and_the_header(source, cfg, tmp_path):
    convert.convert(cfg, source, tmp_path / "net.safetensors", seen=99)
    with safe_open(tmp_path / "net.safetensors", "pt") as file:
        note = file.metadata()
        assert set(file.keys()) == set(load_network(cfg, source).state_dict())
    assert (note["format"], note["version"], note["seen"], note["dtype"]) == ("pt", "0.1.0", "99", "float32")
    assert Graph.parse(note["cfg"]).input_shape == Graph.read(cfg).input_shape


@pytest.mark.parametrize("name", ["net.pt", "net.safetensors", "net.weights"])
def test_read_into_takes_any_kind(source, cfg, name, tmp_path):
    path = tmp_path / "other" / name
    path.parent.mkdir()
    convert.convert(cfg, source, path)
    network = Network(Graph.read(cfg)).eval()
    kept = network.layers[0].conv.weight
    loaded = convert.read_into(network, path)
    assert (loaded.header, loaded.layers, loaded.values) == (Header(0, 1, 0, 1234), 5, 204)
    assert network.header == loaded.header
    assert network.layers[0].conv.weight is kept
    for key, tensor in load_network(cfg, source).state_dict().items():
        assert torch.equal(network.state_dict()[key], tensor)


@pytest.mark.parametrize("case", FOLDED)
def test_folding_gives_the_same_outputs(case, tmp_path):
    cfg, target = LAYERS / f"{case}.cfg", tmp_path / "folded.weights"
    report = convert.convert(cfg, LAYERS / f"{case}.weights", target, fold_bn=True)
    assert report.cfg == str(tmp_path / "folded.cfg")
    assert report.proof.share < 1e-5
    folded, original = load_network(Path(report.cfg), target), load_network(cfg, LAYERS / f"{case}.weights")
    assert not [module for module in folded.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    steps = original.graph.net.time_steps
    x = torch.rand(2 * steps, *original.input_shape.dims, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(folded(x), original(x), rtol=1e-4, atol=1e-5)


def test_the_check_after_folding_is_against_the_network_before(source, cfg, tmp_path, monkeypatch):
    def halved(network: Network) -> Network:
        other = load_network(cfg, source)
        with torch.no_grad():
            other.layers[2].conv.weight.mul_(0.5)
        return other

    monkeypatch.setattr(convert, "fold", halved)
    with pytest.raises(DarknetError, match="was not written: largest difference"):
        convert.convert(cfg, source, tmp_path / "folded.pt", fold_bn=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.cfg", "net.weights"]


def test_the_cfg_of_a_folded_network_never_replaces_another(source, cfg, tmp_path):
    text = cfg.read_text(encoding="utf-8")
    with pytest.raises(DarknetError, match=r"net.cfg is another cfg"):
        convert.convert(cfg, source, tmp_path / "net.safetensors", fold_bn=True)
    assert cfg.read_text(encoding="utf-8") == text
    for _ in range(2):  # one's own may be there already
        convert.convert(cfg, source, tmp_path / "folded.safetensors", fold_bn=True)
    assert "batch_normalize" not in (tmp_path / "folded.cfg").read_text(encoding="utf-8")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(("dtype", "eps"), [(torch.float16, 2**-11), (torch.bfloat16, 2**-8)])
def test_half(source, cfg, dtype, eps, suffix, tmp_path):
    target = tmp_path / f"half{suffix}"
    report = convert.convert(cfg, source, target, dtype=dtype)
    assert 0 < report.proof.share < report.proof.tolerance == proof.TOLERANCES[dtype]
    full, half = load_network(cfg, source).state_dict(), Network(Graph.read(cfg))
    convert.read_into(half, target)
    assert half.dtype == torch.float32
    for key, tensor in half.state_dict().items():
        assert torch.all((tensor - full[key]).abs() <= eps * full[key].abs())
    with pytest.raises(DarknetError, match="hold only float32"):
        convert.convert(cfg, source, tmp_path / "half.weights", dtype=dtype)


def test_numbers_that_16_bits_cannot_hold_are_found(source, cfg, tmp_path):
    network = load_network(cfg, source)
    network.layers[0].bn.running_var[0] = 1e6  # infinity would change no output by much
    with pytest.raises(DarknetError, match=r"layers.0.bn.running_var has 1e\+06, which is too large for torch.float16"):
        convert.to_torch(network, tmp_path / "half.pt", dtype=torch.float16)
    convert.to_torch(network, tmp_path / "half.pt", dtype=torch.bfloat16)


def test_upto_keeps_the_first_layers(source, cfg, tmp_path):
    convert.convert(cfg, source, tmp_path / "two.pt", upto=2)
    state = torch.load(tmp_path / "two.pt", weights_only=True)
    assert {key.split(".")[1] for key in state} == {"0"}
    assert convert.convert(cfg, tmp_path / "two.pt", tmp_path / "two.weights").layers == 2
    for upto, message in ((0, "upto=0"), (6, "holds the first 5 layers, and 6"), (-1, "upto=-1")):
        with pytest.raises(DarknetError, match=message):
            convert.convert(cfg, source, tmp_path / "bad.pt", upto=upto)
    with pytest.raises(DarknetError, match="holds the first 2 layers, and 3"):
        convert.convert(cfg, tmp_path / "two.pt", tmp_path / "three.conv.3")
    with pytest.raises(DarknetError, match="name of the first 3 layers, and upto=2"):
        convert.convert(cfg, source, tmp_path / "three.conv.3", upto=2)


@pytest.mark.parametrize("name", ["two.pt", "two.conv.2"])
def test_partial_draws_the_rest(source, cfg, name, tmp_path):
    convert.convert(cfg, source, tmp_path / name, upto=2)
    reports = [convert.convert(cfg, tmp_path / name, tmp_path / f"{n}.weights", partial=True) for n in range(2)]
    assert reports[0].layers == 5
    first, second = ((tmp_path / f"{n}.weights").read_bytes() for n in range(2))
    assert first == second
    held = 16 + 4 * (4 * 4 + 4 * 27)
    assert first[16:held] == source.read_bytes()[16:held]


def test_partial_leaves_tensors_of_another_shape(source, cfg, tmp_path):
    convert.convert(cfg, source, tmp_path / "net.pt")
    other = Network(Graph.parse(CFG.replace("output=5", "output=7")))
    before = other.layers[4].linear.weight.clone()
    with pytest.raises(WeightsError, match=r"5 of another shape: layers.4.linear.weight is \(5, 6\), not \(7, 6\)"):
        convert.read_into(other, tmp_path / "net.pt")
    assert not torch.equal(other.layers[0].conv.weight, load_network(cfg, source).layers[0].conv.weight)
    convert.read_into(other, tmp_path / "net.pt", partial=True)
    assert torch.equal(other.layers[0].conv.weight, load_network(cfg, source).layers[0].conv.weight)
    assert torch.equal(other.layers[4].linear.weight, before)


def test_layers_that_files_do_not_hold(tmp_path):
    cfg = tmp_path / "a.cfg"
    cfg.write_text(CFG.replace("filters=6", "filters=6\ndontload=1"), encoding="utf-8")
    source = random_weights(read_graph(cfg), tmp_path / "a.weights", Header())
    assert there_and_back(cfg, source, ".pt").read_bytes() == source.read_bytes()


def test_seen_has_to_fit_the_header(source, cfg, tmp_path):
    with pytest.raises(WeightsError, match="seen=4294967296 has no place in a file of version 0.1.0"):
        convert.convert(cfg, source, tmp_path / "a.weights", seen=2**32)
    convert.convert(cfg, source, tmp_path / "a.weights", seen=7)
    assert Header.unpack((tmp_path / "a.weights").read_bytes()) == Header(0, 1, 0, 7)


def test_a_failed_check_leaves_everything_as_it_was(source, cfg, tmp_path, monkeypatch):
    target = tmp_path / "net.safetensors"
    target.write_bytes(b"old")
    named = state_dict.named

    def wrong(network: Network, options: convert.Options) -> dict[str, torch.Tensor]:
        tensors = named(network, options)
        return {**tensors, "layers.4.linear.weight": tensors["layers.4.linear.weight"] + 1e-2}

    monkeypatch.setattr("darknet_py.convert.safetensors.named", wrong)
    with pytest.raises(DarknetError, match="was not written: largest difference .* 1e-04 allowed"):
        convert.convert(cfg, source, target)
    assert target.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.cfg", "net.safetensors", "net.weights"]
    assert convert.convert(cfg, source, target, check=False).difference is None
    assert target.read_bytes() != b"old"


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, SystemExit])
def test_an_interrupted_conversion_leaves_nothing(source, cfg, error, tmp_path, monkeypatch):
    def stop(*_):
        raise error

    monkeypatch.setattr(convert, "prove", stop)
    with pytest.raises(error):
        convert.convert(cfg, source, tmp_path / "net.pt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.cfg", "net.weights"]


def test_a_target_that_cannot_be_written(source, cfg, tmp_path):
    with pytest.raises(WeightsError, match=r"no/net.pt: cannot be written: No such file"):
        convert.convert(cfg, source, tmp_path / "no" / "net.pt")
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(WeightsError, match=r"folder.pt: cannot be written"):
        convert.convert(cfg, source, tmp_path / "folder.pt")


def test_links_and_permissions_stay(source, cfg, tmp_path):
    link, target = tmp_path / "link.safetensors", tmp_path / "real.safetensors"
    link.symlink_to(target)
    convert.convert(cfg, source, link)
    assert link.is_symlink()
    (tmp_path / "any").touch()
    assert target.stat().st_mode == (tmp_path / "any").stat().st_mode
    target.chmod(0o640)
    convert.convert(cfg, source, link)
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_file_can_be_converted_onto_itself(source, cfg, tmp_path):
    path = tmp_path / "net.safetensors"
    convert.convert(cfg, source, path)
    convert.convert(cfg, path, path, layout="darknet_py", seen=5)
    convert.convert(cfg, path, tmp_path / "net.backup")
    assert (tmp_path / "net.backup").read_bytes()[16:] == source.read_bytes()[16:]


def test_the_network_of_a_caller_is_left_as_it_was(source, cfg, tmp_path):
    network = load_network(cfg, source).train()
    network.layers[0].bn.eval()
    report = convert.to_safetensors(network, tmp_path / "a.safetensors")
    assert report.difference == 0
    assert network.training
    assert not network.layers[0].bn.training
    assert network.layers[4].bn.training
    convert.to_torch(network.half(), tmp_path / "a.pt")
    assert network.dtype == torch.float16
    convert.to_weights(load_network(cfg, source), tmp_path / "a.weights")
    assert (tmp_path / "a.weights").read_bytes() == source.read_bytes()


def test_a_carried_state_is_neither_used_nor_changed(tmp_path):
    network = load_network(LAYERS / "rnn.cfg", LAYERS / "rnn.weights")
    network.carry_state()
    with torch.no_grad():
        network(torch.rand(network.graph.net.time_steps, *network.input_shape.dims))
    (state,) = network.recurrent()[0].state
    assert convert.to_torch(network, tmp_path / "a.pt").difference == 0
    assert network.recurrent()[0].state[0] is state


def test_a_bias_that_weights_files_have_no_place_for_is_noticed(tmp_path):
    network = load_network(LAYERS / "batchnorm.cfg", LAYERS / "batchnorm.weights")
    with torch.no_grad():
        next(layer for layer in network.layers if isinstance(layer, torch.nn.BatchNorm2d)).bias.fill_(0.5)
    assert convert.to_torch(network, tmp_path / "a.pt").difference == 0
    with pytest.raises(DarknetError, match="was not written"):
        convert.to_weights(network, tmp_path / "a.weights")


def test_what_a_format_does_not_take_is_refused(source, cfg, tmp_path):
    network = load_network(cfg, source)
    for options, message in (
        ({"decode": True}, r"PyTorch state dict \(.pt\) does not take --decode; .*\.onnx"),
        ({"nms": True}, "does not take --nms"),
        ({"dynamic_size": True}, "does not take --dynamic-size"),
        ({"layout": "nobody"}, "there is no layout 'nobody'; there are darknet_py, ultralytics"),
        ({"bn_eps": 1e-4}, "goes with another project's layout"),
        ({"dtype": torch.int8}, "holds no fractions"),
    ):
        with pytest.raises(DarknetError, match=message):
            convert.to_torch(network, tmp_path / "a.pt", **options)
    with pytest.raises(DarknetError, match=r"does not take --layout; .pt, .pth, .safetensors can"):
        convert.to_weights(network, tmp_path / "a.weights", layout="marvis")
    with pytest.raises(TypeError, match="nothing"):
        convert.to_torch(network, tmp_path / "a.pt", nothing=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.cfg", "net.weights"]


def test_names_that_stand_for_no_format(source, cfg, tmp_path):
    for target in ("net", "net.bin", "net.conv.x"):
        with pytest.raises(DarknetError, match=r"there is no format .*; there are .weights, .backup, .pt"):
            convert.convert(cfg, source, tmp_path / target)
    convert.convert(cfg, source, tmp_path / "net.py")
    with pytest.raises(WeightsError, match=r"net.py: this is no weights file but a text"):
        convert.convert(cfg, tmp_path / "net.py", tmp_path / "net.pt")


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_every_kind_of_file_has_a_function_that_writes_it(target, source, cfg, tmp_path):
    write = getattr(convert, f"to_{target.name}")
    assert write.__name__ in convert.__all__
    report = write(load_network(cfg, source), tmp_path / f"a{target.suffixes[-1]}")
    assert (report.format, report.proof.holds) == (target.title, True)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(formats.BY_SUFFIX, ".pt", replace(formats.BY_SUFFIX[".pt"], module="not_here"))
    with pytest.raises(DarknetError, match="needs the package 'darknet_py.convert.not_here'"):
        formats.format_of("a.pt")


@pytest.mark.parametrize("name", ["state_dict", "model", "model_state_dict"])
def test_checkpoints_are_looked_into(source, cfg, name, tmp_path):
    state = {f"module.{key}": tensor for key, tensor in load_network(cfg, source).state_dict().items()}
    torch.save({"epoch": 3, "lr": 0.1, name: state, "optimizer": {"param_groups": []}}, tmp_path / "a.pt")
    convert.convert(cfg, tmp_path / "a.pt", tmp_path / "a.weights")
    assert (tmp_path / "a.weights").read_bytes()[20:] == source.read_bytes()[16:]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_file_is_named(cfg, tmp_path):
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="it is TorchScript"):
        convert.read_into(Network(Graph.read(cfg)), tmp_path / "a.pt")


def test_old_files_of_torch_are_read(source, cfg, tmp_path):
    state = load_network(cfg, source).state_dict()
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    convert.convert(cfg, tmp_path / "old.pt", tmp_path / "a.weights")
    assert (tmp_path / "a.weights").read_bytes()[20:] == source.read_bytes()[16:]


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def test_code_in_a_file_is_never_run(cfg, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"layers.0.conv.weight": Bomb()}, 2))
    torch.save({"state_dict": load_network(cfg, source).state_dict(), "model": Bomb()}, "zip.pt")
    torch.save(torch.nn.Linear(2, 2), "module.pt")
    for name in ("plain.pt", "zip.pt", "module.pt"):
        with pytest.raises(WeightsError, match=rf"{name}: it holds .*, not only tensors, and code in files is never"):
            convert.read_into(Network(Graph.read(cfg)), name)
    assert not (tmp_path / "exploded").exists()


def test_files_that_hold_no_state_dict(cfg, source, tmp_path):
    good = tmp_path / "good.pt"
    convert.convert(cfg, source, good)
    contents: dict[str, bytes | object] = {
        "empty.pt": b"",
        "text.pt": b"hello, world",
        "cut.pt": good.read_bytes()[:-200],
        "half.pt": good.read_bytes()[:700],
        "list.pt": [torch.ones(3)],
        "numbers.pt": {"epoch": 3},
        "other.pt": {"fc.weight": torch.ones(2, 2)},
        "expanded.pt": {"layers.0.conv.weight": torch.ones(1).expand(1 << 40)},
        "whole.pt": {"layers.0.conv.weight": torch.ones(4, 3, 3, 3, dtype=torch.int8)},
        "eight.pt": {"layers.0.conv.weight": torch.ones(4, 3, 3, 3).to(torch.float8_e5m2)},
        "sparse.pt": {"layers.0.conv.weight": torch.ones(4, 4).to_sparse()},
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
        network = Network(Graph.read(cfg))
        before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
        with pytest.raises(WeightsError) as caught:
            convert.read_into(network, path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)
        assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    with pytest.raises(WeightsError, match=r"nothing.pt: cannot be read: No such file"):
        convert.read_into(Network(Graph.read(cfg)), tmp_path / "nothing.pt")


def test_compressed_records_are_refused(cfg, source, tmp_path):
    convert.convert(cfg, source, tmp_path / "good.pt")
    with zipfile.ZipFile(tmp_path / "good.pt") as good, zipfile.ZipFile(tmp_path / "bomb.pt", "w") as bomb:
        for record in good.infolist():
            bomb.writestr(record.filename, good.read(record), zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match="its records are compressed"):
        convert.read_into(Network(Graph.read(cfg)), tmp_path / "bomb.pt")


def test_broken_safetensors(cfg, source, tmp_path):
    convert.convert(cfg, source, tmp_path / "good.safetensors")
    good = (tmp_path / "good.safetensors").read_bytes()
    wide = {"x": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}
    header = json.dumps(wide).encode()
    contents = {
        "empty": b"",
        "cut": good[:-4],
        "short": good[:100],
        "absurd": struct.pack("<Q", 2**63) + good[8:],
        "large": struct.pack("<Q", 90_000_000) + good[8:],
        "nonsense": struct.pack("<Q", 8) + b"notjson!",
        "wide": struct.pack("<Q", len(header)) + header + bytes(4),
    }
    for name, content in contents.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(content)
        says = "this is no whole safetensors file" if name in ("cut", "short", "large", "wide") else ""
        for whole in (True, False):
            with pytest.raises(WeightsError, match=f"{name}.safetensors: {says}"):
                weights.read(Network(Graph.read(cfg)), path, weights.Reading(assign=whole))


def test_tensors_without_values_are_no_trouble(cfg, source, tmp_path):
    state = {**load_network(cfg, source).state_dict(), "nothing": torch.ones(0), "none": torch.ones(3, 0)}
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"2 not expected: .*nothing \(0,\)"):
        convert.convert(cfg, tmp_path / "a.safetensors", tmp_path / "a.pt")
    convert.convert(cfg, tmp_path / "a.safetensors", tmp_path / "a.pt", partial=True)


def test_notes_of_others_are_no_headers(cfg, source, tmp_path):
    state = load_network(cfg, source).state_dict()
    for note in (
        None,
        {"version": "1.2", "seen": "5"},
        {"version": "0.2.0", "seen": "-1"},
        {"version": "0.-2.0", "seen": "1"},
        {"version": "0.2.0", "seen": "9" * 5000},
        {"version": "0.2.0", "seen": "x", "layers": "-3"},
        {"layers": "99999999999999999"},
        {"layers": "99"},
    ):
        save_file(state, tmp_path / "a.safetensors", metadata=note)
        network = Network(Graph.read(cfg))
        assert convert.read_into(network, tmp_path / "a.safetensors").header == Header()
        assert torch.equal(network.layers[0].conv.weight, state["layers.0.conv.weight"])


def test_missing_and_strange_keys_are_listed(cfg, source, tmp_path):
    state = dict(load_network(cfg, source).state_dict())
    del state["layers.2.conv.bias"]
    state["layers.0.bn.weight"] = torch.ones(3)
    state |= {f"layers.{n}.more": torch.ones(n) for n in range(10, 25)}
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(WeightsError) as caught:
        convert.read_into(Network(Graph.read(cfg)), tmp_path / "a.pt")
    text = str(caught.value)
    assert "1 missing: layers.2.conv.bias (6,)" in text
    assert "1 of another shape: layers.0.bn.weight is (3,), not (4,)" in text
    assert "15 not expected: layers.10.more (10,)" in text
    assert text.endswith("layers.13.more (13,) and 11 more")


def test_a_weights_file_has_no_layout(cfg, source):
    for options in ({"layout": "marvis"}, {"bn_eps": 1e-3}):
        with pytest.raises(DarknetError, match="belong to state dicts"):
            convert.read_into(Network(Graph.read(cfg)), source, **options)


def test_a_proof_sees_what_is_not_finite():
    nan, inf = float("nan"), float("inf")
    for expected, found, share in (
        ([1.0, nan, inf], [1.0, nan, inf], 0),
        ([1.0, 2.0], [1.0, nan], inf),
        ([1.0, nan], [1.0, 2.0], inf),
        ([1.0, inf], [1.0, -inf], inf),
        ([0.0, 0.0], [0.0, 1e-3], 1e-3),
        ([], [], 0),
        ([4.0, -8.0], [4.0, -8.5], 0.0625),
    ):
        result = proof._compare(torch.tensor(expected), torch.tensor(found), 1e-4)
        assert result.share == pytest.approx(share)
        assert result.holds == (share == 0)


def test_outputs_of_other_shapes_are_no_proof(cfg, source):
    network = load_network(cfg, source)
    for outputs in ([torch.zeros(2, 4)], [torch.zeros(2, 5)] * 2):
        form = replace(formats.format_of("a.pt"), run=lambda *_, outputs=outputs: [outputs])
        with pytest.raises(DarknetError, match=r"outputs are \[\(2, 5, 1, 1\)\], and what was written gives"):
            proof.prove(form, Path("a.pt"), network, convert.Options())


def test_the_check_takes_a_small_picture_where_it_can():
    graph = read_graph(Path(__file__).parents[2] / "cfg" / "yolov2-tiny-voc.cfg")
    network = Network(graph, initialize=False)
    assert proof.small(network).input_shape.dims == (3, 96, 96)
    assert network.input_shape.dims == (3, 416, 416)
    assert proof.small(network).layers[0] is network.layers[0]
    fixed = Network(Graph.parse(CFG))
    assert proof.small(fixed) is fixed


@settings(max_examples=100, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_altered_files_load_or_raise_weights_error_alone(suffix, data, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    good = folder / f"good_for_altering{suffix}"
    cfg = LAYERS / "connected.cfg"
    if not good.exists():
        convert.convert(cfg, LAYERS / "connected.weights", good)
    content = bytearray(good.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = folder / f"altered{suffix}"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CfgWarning)
        network = Network(Graph.read(cfg))
    try:
        convert.read_into(network, path)
    except WeightsError as error:
        assert "\n" not in str(error)
