"""Fuzzing of .weights files: those of small networks, and other files with their name, changed in header and values."""

from __future__ import annotations

import gzip
import json
import tempfile
from functools import cache
from pathlib import Path
from random import Random
from typing import Final

import numpy as np
import torch

from darknet_py import weights
from darknet_py.convert.inspect import inspect
from darknet_py.errors import WeightsError
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.network.header import HEADER_SIZES, Header
from tools.fuzz.changes import changed, one_of
from tools.fuzz.judge import AnswerError, Kind, Sample, check_message, tried
from tools.fuzz.networks import BODIES, NET

SUFFIXES: Final = (".weights", ".backup", ".conv.1", ".conv.2", ".conv.3", ".conv.99")
OTHERS: Final = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 248007048\n",
    b"\n\n  <!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head></html>\n",
    b"\xef\xbb\xbf<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    json.dumps({"message": "Not Found", "documentation_url": "https://docs.github.com"}).encode(),
    gzip.compress(b"\0" * 1000, mtime=0), b"PK\x03\x04" + b"\0" * 100, b"\x89HDF\r\n\x1a\n" + b"\0" * 100,
    b"\x08\x07\x12\x07pytorch" + b"\0" * 100, b"\x80\x02}q\x00." + b"\0" * 50, b"[net]\nwidth=8\nheight=8\n" * 9,
    b"", b"\0" * 15, b"\0" * 20,
)  # fmt: skip
PARTIAL: Final[tuple[weights.Partial, ...]] = (False, True, "matching")
COUNTS: Final = (0, 1, 2, 3, 1000, 1001, 2**16, 2**31 - 1, -1, -(2**31))


@cache
def networks() -> tuple[Network, ...]:
    """Small networks of every kind, with weights that are the same every time."""
    made = (Network(Graph.parse(NET + body), generator=torch.Generator().manual_seed(1)) for body in BODIES)
    return tuple(network.eval() for network in made)


@cache
def seeds() -> tuple[bytes, ...]:
    """Their weights, of both sizes of header, whole and cut off."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "seed.weights")
        for network in networks():
            for header in (Header(seen=64), Header(0, 1, 0, 64), Header(1001, 0, 0, 64)):
                weights.save(network, path, header=header)
                found.append(path.read_bytes())
            weights.save(network, path, cutoff=2)
            found.append(path.read_bytes())
    return tuple(found)


@cache
def written(folder: Path) -> tuple[Path, ...]:
    """The cfgs of the networks, in a folder."""
    paths = tuple(folder / f"network{number}.cfg" for number in range(len(BODIES)))
    for path, body in zip(paths, BODIES, strict=True):
        path.write_text(NET + body, encoding="utf-8")
    return paths


def make(rng: Random) -> Sample:
    """A weights file, changed; or another file."""
    data = rng.choice(seeds()) if rng.random() < 0.9 else rng.choice(OTHERS)
    if rng.random() < 0.4:
        data = _another_header(data, rng)
    if rng.random() < 0.3:
        data = _another_length(data, rng)
    if rng.random() < 0.6:
        data = changed(data, rng, (*seeds(), *OTHERS))
    return Sample(one_of(rng, SUFFIXES, (8, 2, 1, 1, 1, 1)), data)


def read(path: Path) -> None:
    """Verify, load and inspect for one of the networks: the first two have to agree."""
    number = sum(path.name.encode()) % len(BODIES)
    cfg, network = written(path.parent)[number], networks()[number]
    for partial in PARTIAL:
        promised = tried(weights.verify, network.graph, path, weights.Reading(partial=partial))
        loaded = tried(weights.load, network, path, partial=partial)
        if promised != loaded:
            raise AnswerError(f"verify says {promised}, load {loaded} (partial={partial})")
        if loaded is not None and partial != "matching" and not weights.has_keys(path):
            _compare(network, path, loaded)
    if number == 0:
        tried(inspect, path)  # this looks for a cfg that fits, which takes long
    contents = tried(inspect, path, cfg)
    if contents is not None and contents.problem is not None:
        check_message(WeightsError(contents.problem))


def _another_header(data: bytes, rng: Random) -> bytes:
    size = one_of(rng, HEADER_SIZES)
    numbers = [rng.choice(COUNTS) for _ in range(size // 4)]
    return np.array(numbers, "<i4").tobytes() + data[size:]


def _another_length(data: bytes, rng: Random) -> bytes:
    """A few values more or less."""
    count = rng.choice((-40, -5, -4, -1, 1, 4, 5, 40, 4000))
    return data[:count] if count < 0 else data + rng.randbytes(count)


def _compare(network: Network, path: Path, loaded: weights.Loaded) -> None:
    """Raise `AnswerError` where the network has other values than the file, as far as the file goes in order."""
    slots = weights.layout(network.graph)
    stored = np.fromfile(path, "<f4", loaded.values, offset=loaded.header.size)
    for slot in slots:
        plain = not (slot.blob.flipped or (slot.blob.transposed and loaded.header.transposed))
        if plain and slot.end <= loaded.values:
            mine = network.stored(slot.node.index, slot.blob).detach().numpy().ravel()
            if mine.tobytes() != stored[slot.start : slot.end].tobytes():
                raise AnswerError(f"{slot.node}, {slot.blob.role}: other values than the file has")


KIND: Final = Kind("weights", make, read)
