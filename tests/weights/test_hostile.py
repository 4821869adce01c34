"""Tensor files made to take memory or time, or to write to a terminal: each is one line, at once."""

from __future__ import annotations

import json
import math
import os
import stat
import struct
import threading
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from darknet_py import convert, weights
from darknet_py.cli import main
from darknet_py.convert.inspect import inspect
from darknet_py.errors import WeightsError
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.train import Checkpoint
from darknet_py.weights import archive, named, tensors
from darknet_py.weights.projects import unwrapped
from tests.support.places import GOLDEN

CFG, WEIGHTS = (GOLDEN / "layers" / f"conv_basic.{suffix}" for suffix in ("cfg", "weights"))
pytestmark = pytest.mark.filterwarnings("ignore::darknet_py.errors.CfgWarning")


def pickled(storages: list[tuple[str, int]]) -> bytes:
    """A state dict with a tensor for each storage: its key, and how many values it says that it has."""
    raw = bytearray(b"\x80\x02}(")
    for number, (key, size) in enumerate(storages):
        raw += b"X" + struct.pack("<I", len(key)) + key.encode() + b"ctorch._utils\n_rebuild_tensor_v2\n("
        name = str(number).encode()
        raw += b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX" + struct.pack("<I", len(name)) + name
        raw += b"X\x03\x00\x00\x00cpuJ" + struct.pack("<i", size) + b"tQK\x00J" + struct.pack("<i", size)
        raw += b"\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR"
    return bytes(raw + b"u.")


def record(name: str, data: bytes) -> tuple[bytes, bytes, bytes]:
    head = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 0, zlib.crc32(data), len(data), len(data), len(name), 0)
    return name.encode(), head, data


def overlapping(entries: int, values: int) -> bytes:
    """A .pt whose records all lie at one place."""
    out, places = bytearray(), []
    body = bytes(4 * values)
    contents = [("a/data.pkl", pickled([(f"k{n}", values) for n in range(entries)])), ("a/byteorder", b"little")]
    for name, data in [*contents, ("a/version", b"3\n"), ("a/data/0", body)]:
        label, head, _ = record(name, data)
        places.append((label, head, len(out)))
        out += b"PK\x03\x04" + head + label + data
    places += [(*record(f"a/data/{n}", body)[:2], places[-1][2]) for n in range(1, entries)]
    start = len(out)
    for label, head, at in places:
        out += b"PK\x01\x02" + struct.pack("<H", 20) + head + struct.pack("<HHHII", 0, 0, 0, 0, at) + label
    counts = struct.pack("<HHHHIIH", 0, 0, len(places), len(places), len(out) - start, start, 0)
    return bytes(out + b"PK\x05\x06" + counts)


def refused(path: Path, match: str) -> None:
    """Every reader refuses the file, and inspect says the same."""
    graph = Graph.read(CFG)
    for use in (
        lambda: inspect(path),
        lambda: convert.convert(CFG, path, path.with_suffix(".out.weights")),
        lambda: weights.load(Network(graph), path),
        lambda: weights.verify(graph, path),
    ):
        with pytest.raises(WeightsError, match=match) as caught:
            use()
        assert str(caught.value).startswith(f"{path}: ")
        assert str(caught.value).isprintable()


def test_records_that_lie_on_each_other(tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(overlapping(50, 1 << 16))
    refused(path, "its records lie on each other")
    with pytest.raises(WeightsError, match="its records lie on each other"):
        Checkpoint.read(path)
    path.write_bytes(overlapping(1, 1 << 10))
    assert inspect(path).values == 1 << 10


def test_one_list_of_records_at_the_end_alone(tmp_path):
    good, path = tmp_path / "good.pt", tmp_path / "a.pt"
    torch.save({"layers.0.conv.weight": torch.ones(4)}, good)
    content = good.read_bytes()
    end = content.rindex(b"PK\x06\x06")
    other = bytearray(content)
    other[end + 24 : end + 32] = struct.pack("<Q", 1 << 20)  # so many records
    moved = bytearray(content)
    moved[end + 48 : end + 56] = struct.pack("<Q", 0)  # the list is elsewhere
    located = bytearray(content)
    located[end + 56 + 8 : end + 56 + 16] = struct.pack("<Q", end - 1)  # and what says so, too
    for broken in (
        bytes(other),
        bytes(moved),
        bytes(located),
        content + bytes(10),
        b"PK\x03\x04" + content,
        content[:-1],
    ):
        path.write_bytes(broken)
        refused(path, "cut short or broken")


def test_long_lists_of_records(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    path.write_bytes(overlapping(40, 4))
    monkeypatch.setattr(archive, "MOST", 40)
    refused(path, "cut short or broken")


def test_sizes_whose_product_comes_round_to_zero(tmp_path):
    path = tmp_path / "a.pt"
    for shape in ((1 << 31, 1 << 31), (1 << 62, 1), (1 << 20, 1 << 21, 1 << 21)):
        storage = torch.ones(1)
        torch.save({"layers.0.conv.weight": storage.as_strided(shape, (0,) * len(shape))}, path)
        refused(path, f"layers.0.conv.weight has {math.prod(shape)} values, but the file does not hold as many")


def test_many_views_of_one_tensor(tmp_path):
    whole = torch.ones(1 << 12)
    torch.save({f"layers.{n}.conv.weight": whole.view(-1) for n in range(40)}, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", "its tensors have .* bytes together, but the file does not hold as many")
    parts = {f"layers.{n}.conv.weight": part for n, part in enumerate(whole.split(16))}
    torch.save(parts, tmp_path / "b.pt")  # a file of a program that keeps all in one piece
    assert inspect(tmp_path / "b.pt").values == len(whole)


def test_arrays_of_bytes_are_not_made(tmp_path):
    raw = b"\x80\x02}X\x01\x00\x00\x00ac__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85Rs."
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as made:
        for name, data in (("a/data.pkl", raw), ("a/version", b"3\n"), ("a/byteorder", b"little")):
            made.writestr(name, data)
    refused(tmp_path / "a.pt", r"it holds builtins\.bytearray, not only tensors")


def test_old_files_that_say_they_are_large(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"layers.0.conv.weight": torch.ones(200)}, path, _use_new_zipfile_serialization=False)
    good = path.read_bytes()
    numel = b"cpuq\x06K\xc8"  # the values of the storage, after where it was
    assert numel in good
    assert inspect(path).values == 200
    path.write_bytes(good.replace(numel, b"cpuq\x06J\xff\xff\xff\x7f"))
    refused(path, "a storage has 2147483647 values, but the file does not hold as many")
    path.write_bytes(good.replace(b"X\x03\x00\x00\x00cpu", b"X\xff\xff\xff\x7fcpu"))
    refused(path, "cut short or broken")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_long_keys_and_many(suffix, tmp_path, monkeypatch):
    save = torch.save if suffix == ".pt" else save_file
    path = tmp_path / f"a{suffix}"
    save({f"{'module.' * 1000}layers.0.conv.weight": torch.ones(1)}, path)
    refused(path, r"a key has 7020 letters; more than 4096 are no name: module.module\S{40,60}$")
    save({f"layers.{n}.conv.weight": torch.ones(1) for n in range(6)}, path)
    for module in (named, tensors):
        monkeypatch.setattr(module, "MOST", 5)
    refused(path, "it has 6 tensors; more than 5 are no network's")


def test_wrappers_of_a_long_key_are_counted_once():
    key = f"{'module.' * 200_000}layers.0.conv.weight"
    assert list(unwrapped({key: 1})) == ["layers.0.conv.weight"]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_keys_reach_no_terminal_as_they_are(suffix, tmp_path, capsys):
    names = ["\x1b]0;pwned\x07\nline two", f"layers.0.{'x' * 200}.weight", "layers.0.conv.weight"]
    path = tmp_path / f"a{suffix}"
    (torch.save if suffix == ".pt" else save_file)({name: torch.ones(1) for name in names}, path)
    assert main(["inspect", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(names)
    assert all(line.isprintable() for line in lines)
    assert any(r"\x1b]0;pwned\x07\nline two" in line for line in lines)
    assert max(map(len, lines[1:])) < 160
    for cfg in ([], [str(CFG)]):
        assert main(["inspect", str(path), *cfg]) == len(cfg)
        assert all(line.isprintable() for line in "".join(capsys.readouterr()).splitlines())
    refused_line = "not expected: .*pwned"
    with pytest.raises(WeightsError, match=refused_line) as caught:
        weights.load(Network(Graph.read(CFG)), path)
    assert str(caught.value).isprintable()


def test_safetensors_that_lie(tmp_path):
    def written(header: dict[str, object] | bytes, data: bytes = bytes(8)) -> Path:
        raw = header if isinstance(header, bytes) else json.dumps(header).encode()
        (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + data)
        return tmp_path / "a.safetensors"

    def tensor(shape: list[int], *offsets: int) -> dict[str, object]:
        return {"dtype": "F32", "shape": shape, "data_offsets": offsets}

    for header in (
        {"a": tensor([2], 0, 8), "b": tensor([2], 0, 8)},
        {"a": tensor([1 << 33, 1 << 33], 0, 8)},
        {"a": tensor([2], 8, 0)},
        {"a": tensor([0, (1 << 64) - 1], 0, 0), "b": tensor([2], 0, 8)},
        {"a": tensor([2], 0, 1 << 40)},
        {"a": tensor([2], 0, 8), "__metadata__": {"a": [1]}},
        b'{"a": {"dtype": "F32"',
        b"{" * 100_000,
        b"{}" + b" " * 1000,
    ):
        refused(written(header), "this is no whole safetensors file|does not fit|there is no|not expected|no weights")


def nested(state: dict[str, torch.Tensor], *names: str) -> object:
    inside: object = state
    for name in reversed(names):
        inside = {"epoch": 3, name: inside, "best": 0.5}
    return inside


@pytest.mark.parametrize(
    "names",
    [
        ("weights",), ("model_state",), ("net",), ("ema",), ("network",), ("params",), ("state_dict", "model"),
        ("checkpoint", "model"), ("what", "ever", "there", "is"),
    ],
)  # fmt: skip
def test_checkpoints_are_looked_into(names, tmp_path):
    network = Network(Graph.read(CFG), generator=torch.Generator().manual_seed(1))
    torch.save(nested(network.state_dict(), *names), tmp_path / "a.pt")
    loaded = Network(network.graph, initialize=False)
    weights.load(loaded, tmp_path / "a.pt")
    assert all(
        torch.equal(*pair) for pair in zip(loaded.state_dict().values(), network.state_dict().values(), strict=True)
    )


def test_the_network_of_a_checkpoint_is_found_beside_others(tmp_path):
    network = Network(Graph.read(CFG), generator=torch.Generator().manual_seed(1))
    state = network.state_dict()
    moments = {f"net.{key}": torch.zeros_like(tensor) for key, tensor in state.items()}
    counted = {
        name: torch.ones(1, dtype=torch.float64)
        for key in ("", "layers.0.", "layers.0.conv.")
        for name in (f"net.{key}total_ops", f"net.{key}total_params")
    }
    content = {
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "exp_avg": moments, "param_groups": [{"lr": 0.1}]},
        "scaler": {"scale": torch.ones(1)},
        "model": OrderedDict({**{f"net.{key}": tensor for key, tensor in state.items()}, **counted}),
        "ema": {f"net.{key}": torch.zeros_like(tensor) for key, tensor in state.items()},
    }
    content["itself"] = content
    torch.save(content, tmp_path / "a.pt")
    loaded = Network(network.graph, initialize=False)
    weights.load(loaded, tmp_path / "a.pt")
    assert all(torch.equal(*pair) for pair in zip(loaded.state_dict().values(), state.values(), strict=True))


def test_a_target_that_is_a_pipe_is_written_to(tmp_path):
    pipe, target = tmp_path / "pipe.weights", tmp_path / "file.weights"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    convert.convert(CFG, WEIGHTS, pipe)
    reader.join(30)
    convert.convert(CFG, WEIGHTS, target)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert read == [target.read_bytes()]
    assert sorted(tmp_path.iterdir()) == [target, pipe]


def test_a_source_that_is_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.pt")
    refused(tmp_path / "a.pt", "it is no regular file")
