"""What files hold: statistics against numpy's, cfgs that fit, files that do not."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from darknet_py import convert, weights
from darknet_py.convert import inspect as inspecting
from darknet_py.convert.inspect import inspect
from darknet_py.errors import WeightsError
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.weights import Header
from tests.support.places import GOLDEN
from tests.support.recordings import load_network, read_graph

LAYERS = GOLDEN / "layers"
SHIPPED = Path(__file__).parents[2] / "cfg"
pytestmark = pytest.mark.filterwarnings("ignore::darknet_py.errors.CfgWarning")


def files(folder: Path, case: str = "connected") -> tuple[Path, list[Path]]:
    """A recording as .weights, .pt and .safetensors."""
    cfg, source = LAYERS / f"{case}.cfg", LAYERS / f"{case}.weights"
    made = [source, folder / "a.pt", folder / "a.safetensors"]
    for target in made[1:]:
        convert.convert(cfg, source, target, check=False)
    return cfg, made


@pytest.mark.parametrize("case", ["connected", "conv_basic", "lstm", "batchnorm", "maxpool_even"])
def test_every_kind_of_file_gives_the_same_numbers(case, tmp_path):
    cfg, made = files(tmp_path, case)
    network = load_network(cfg, made[0])
    expected = {}
    for node in network.graph.nodes:
        for blob in node.blobs:
            values = network.stored(node.index, blob).detach().double().numpy()
            numbers = (values.mean(), values.std(), values.min(), values.max())
            expected[f"layers.{node.index}.{blob.name}"] = (node.index, node.layer.type, blob.shape, *numbers)
    for path in made:
        contents = inspect(path, cfg)
        assert contents.problem is None
        assert (contents.facts["version"], int(contents.facts["seen"])) == ("0.2.0", network.seen)
        start = "" if path.suffix != ".weights" else "layers.{}."
        found = {start.format(row.layer) + row.name: row for row in contents.rows}
        extra = found.keys() - expected.keys()  # the bias that [batchnorm] has, and files of Darknet do not
        assert extra <= {f"layers.{node.index}.bias" for node in network.graph.nodes if node.layer.type == "batchnorm"}
        for key, (index, kind, shape, *numbers) in expected.items():
            row = found[key]
            assert (row.layer, row.type, row.shape, row.nans) == (index, kind, shape, 0)
            assert (row.mean, row.std, row.min, row.max) == pytest.approx(numbers, rel=1e-9, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    values=arrays.arrays(np.float32, st.integers(1, 200), elements=st.floats(-1e6, 1e6, width=32) | st.just(np.nan)),
    cuts=st.lists(st.integers(0, 200), max_size=5),
)
def test_numbers_do_not_depend_on_the_pieces(values, cuts):
    row = inspecting._row(None, None, "x", values.shape, map(torch.from_numpy, np.split(values, sorted(cuts))))
    good = values[~np.isnan(values)].astype(np.float64)
    assert row.nans == len(values) - len(good)
    if len(good):
        size = np.abs(good).max()
        expected = (good.mean(), good.std(), good.min(), good.max())
        assert (row.mean, row.std, row.min, row.max) == pytest.approx(expected, abs=max(size, 1e-9) * 1e-7)
    else:
        assert np.isnan([row.mean, row.std, row.min, row.max]).all()


def test_nans_and_infinities_are_told(tmp_path):
    cfg, _ = files(tmp_path)
    network = load_network(cfg, LAYERS / "connected.weights")
    with torch.no_grad():
        next(layer for layer in network.layers if hasattr(layer, "linear")).linear.weight[0, :3] = torch.tensor(
            [float("nan"), float("nan"), float("inf")]
        )
    weights.save(network, tmp_path / "b.weights")
    contents = inspect(tmp_path / "b.weights", cfg)
    row = next(row for row in contents.rows if row.name == "linear.weight")
    assert (row.nans, row.max) == (2, float("inf"))
    plain = json.loads(json.dumps(contents.as_dict(), allow_nan=False))
    assert next(row for row in plain["rows"] if row["name"] == "linear.weight")["max"] == "inf"


def test_without_a_cfg_layers_come_from_the_keys(tmp_path):
    _, (source, *others) = files(tmp_path)
    for path in others:
        contents = inspect(path)
        assert contents.problem is None
        assert contents.facts["layout"] == "darknet_py"
        assert contents.facts["dtype"] == "float32"
        assert {row.type for row in contents.rows} == {None}
        assert [row.layer for row in contents.rows] == sorted(row.layer for row in contents.rows)
        assert contents.values == inspect(source).values


def test_keys_sort_by_their_numbers(tmp_path):
    state = {f"layers.{n}.conv.weight": torch.ones(2) for n in (10, 9, 100)}
    torch.save(state, tmp_path / "a.pt")
    assert [row.layer for row in inspect(tmp_path / "a.pt").rows] == [9, 10, 100]


def test_foreign_keys_are_read_against_a_cfg(tmp_path):
    cfg = SHIPPED / "yolov2-tiny-voc.cfg"
    network = Network(read_graph(cfg).resized(96, 96))
    convert.to_torch(network, tmp_path / "a.pt", layout="marvis", check=False)
    contents = inspect(tmp_path / "a.pt", cfg)
    assert contents.problem is None
    assert contents.facts["layout"] == "marvis"
    row = next(row for row in contents.rows if row.name == "models.2.bn2.running_var")
    assert (row.layer, row.type, row.mean, row.std) == (2, "convolutional", 1, 0)
    wrong = inspect(tmp_path / "a.pt", SHIPPED / "yolov2-tiny.cfg")
    shapes = "7 of another shape: models.13.conv8.weight is (1024, 1024, 3, 3), not (512, 1024, 3, 3), "
    assert shapes in wrong.problem
    torch.save({"fc.weight": torch.ones(2)}, tmp_path / "b.pt")
    assert "none of these projects" in inspect(tmp_path / "b.pt", cfg).problem


def test_a_file_that_does_not_fit_is_described_as_far_as_it_goes(tmp_path):
    path = tmp_path / "cut.weights"
    path.write_bytes((LAYERS / "connected.weights").read_bytes()[:-8])
    contents = inspect(path, LAYERS / "connected.cfg")
    assert contents.problem.startswith("it ends in layer")
    full = inspect(LAYERS / "connected.weights", LAYERS / "connected.cfg")
    assert contents.rows == full.rows[: len(contents.rows)] != full.rows


@pytest.fixture
def beginning(tmp_path):
    """A weights file with the first 7 layers of YOLOv2-tiny, and of its VOC kin, which begins the same."""
    graph = read_graph(SHIPPED / "yolov2-tiny-voc.cfg")
    values = sum(slot.size for slot in weights.layout(graph, cutoff=7))
    path = tmp_path / "some" / "tiny.weights"
    path.parent.mkdir()
    path.write_bytes(Header(0, 1, 0, 5).pack() + np.linspace(0, 1, values, dtype="<f4").tobytes())
    return path


def test_cfgs_that_fit_by_size_are_found(beginning, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = LAYERS / "conv_basic.cfg"
    (tmp_path / "cfg").mkdir()
    (tmp_path / "cfg" / "broken.cfg").write_text("[net]\n[nothing]\n", encoding="utf-8")
    (tmp_path / "cfg" / "mine.cfg").write_bytes(whole.read_bytes())
    (beginning.parent / "beside.cfg").write_bytes((SHIPPED / "yolov2-tiny.cfg").read_bytes())
    contents = inspect(beginning)
    assert contents.facts == {"version": "0.1.0", "seen": 5}
    ((row,), fits) = (contents.rows, contents.fits)
    assert (row.name, row.min, row.max, row.nans) == ("all values", 0, 1, 0)
    assert row.mean == pytest.approx(0.5)
    assert {(Path(fit.cfg).name, fit.layers, fit.of) for fit in fits} == {
        ("beside.cfg", 7, 16), ("yolov2-tiny.cfg", 7, 16), ("yolov2-tiny-voc.cfg", 7, 16)
    }  # fmt: skip
    (fit,) = (fit for fit in inspect(LAYERS / "conv_basic.weights").fits if fit.cfg == str(tmp_path / "cfg/mine.cfg"))
    assert fit.layers == fit.of == len(read_graph(whole).nodes)
    with beginning.open("ab") as file:
        file.write(b"abc")
    assert inspect(beginning).fits == ()


def test_whole_fits_come_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cfg").mkdir()
    text = (LAYERS / "conv_basic.cfg").read_text(encoding="utf-8")
    (tmp_path / "cfg" / "a.cfg").write_text(f"{text}\n[convolutional]\nfilters=3\n", encoding="utf-8")
    (tmp_path / "cfg" / "b.cfg").write_text(text, encoding="utf-8")
    found = [Path(fit.cfg).name for fit in inspect(LAYERS / "conv_basic.weights").fits]
    assert found.index("b.cfg") < found.index("a.cfg")


def test_files_that_cannot_be_looked_into(tmp_path):
    for name, message in (
        ("no.weights", "cannot be read: No such file"),
        ("no.pt", "cannot be read: No such file"),
        ("no.safetensors", "cannot be read: No such file"),
    ):
        with pytest.raises(WeightsError, match=f"{name}: {message}"):
            inspect(tmp_path / name)
    (tmp_path / "short.weights").write_bytes(b"\1\2\3")
    with pytest.raises(WeightsError, match=r"short.weights: it has 3 bytes"):
        inspect(tmp_path / "short.weights")


def test_a_large_file_is_read_in_pieces(tmp_path):
    path = tmp_path / "a.weights"
    values = np.ones(6 << 20, "<f4")
    path.write_bytes(Header().pack() + values.tobytes())
    graph = Graph.parse("[net]\ninputs=2047\n[connected]\noutput=3072\n")
    assert sum(slot.size for slot in weights.layout(graph)) == len(values)
    inspect(path)
    tracemalloc.start()
    (row,) = inspect(path).rows
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (row.mean, row.std) == (1, 0)
    assert peak < values.nbytes  # numpy's part of it, of 24 MiB
