"""Fuzzing of .pt, .safetensors and .resume files: bytes, the header of JSON, records of the zip archive, pickles."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

import torch
from safetensors.torch import save

from darknet_py import convert, weights
from darknet_py.convert.inspect import inspect
from darknet_py.convert.named import named
from darknet_py.errors import DarknetError, WeightsError
from darknet_py.network.header import Header
from darknet_py.train.checkpoint import FORMAT, Checkpoint
from darknet_py.weights.pickled import INSIDE
from darknet_py.weights.projects import LAYOUTS
from tools.fuzz.changes import INTEGERS, changed, one_of
from tools.fuzz.judge import AnswerError, Kind, Sample, check_message, tried
from tools.fuzz.weights import OTHERS, PARTIAL, networks, written

NAMES: Final = ("layers.0.conv.weight", "module.module.layers.0.conv.bias", "\x1b[31mred", "a" * 3000, "", "total_ops")
DTYPES: Final = ("F16", "BF16", "F32", "F64", "I8", "I64", "BOOL", "F8_E4M3", "X", "")
Made = tuple[str, bytes]


@cache
def states() -> tuple[dict[str, Any], ...]:
    """State dicts of small networks with the keys of every project that has names for them, and checkpoints."""
    found: list[dict[str, Any]] = []
    for network in networks()[:3]:
        for layout in LAYOUTS:
            try:
                found.append(OrderedDict(named(network, convert.Options(layout=layout))))
            except DarknetError:  # that project has no such layer
                continue
    first = found[0]
    found += [{name: first, "epoch": 3, "best": 0.5} for name in INSIDE]
    found += [{f"module.{key}": tensor.half() for key, tensor in first.items()}]
    odd = torch.arange(24, dtype=torch.float32)
    found += [{"layers.0.conv.weight": odd.view(2, 3, 4).transpose(0, 2), "n": odd.to(torch.int64), "e": odd[:0]}]
    return tuple(found)


@cache
def seeds() -> tuple[Made, ...]:
    """Whole files: what their names end with, and their bytes."""
    found: list[Made] = []
    for state in states():
        found += [(".pt", _saved(state)), (".pth", _saved(state, _use_new_zipfile_serialization=False))]
        plain = {key: value.contiguous() for key, value in state.items() if isinstance(value, torch.Tensor)}
        if plain:
            found += [(".safetensors", save(plain, {"format": "pt", "layers": "2", "seen": "64", "version": "0.2.0"}))]
    resume = {
        "format": FORMAT, "seed": 1, "average": 0.5, "backups": ["ab"], "network": dict(networks()[0].state_dict()),
        "stepper": {"moments": [torch.zeros(3)]}, "history": {"losses": [1.0, 2.0]},
    }  # fmt: skip
    return (*found, *((".resume", _saved(resume)),) * 6)


def make(rng: Random) -> Sample:
    """A file of tensors, changed."""
    suffix, data = rng.choice(seeds())
    if rng.random() < 0.7:
        if suffix == ".safetensors":
            data = _another_header(data, rng)
        elif data.startswith(b"PK"):
            data = _another_archive(data, rng)
    if rng.random() < 0.5:
        data = changed(data, rng, [*(other for _, other in seeds()), *OTHERS])
    if rng.random() < 0.03:
        suffix = one_of(rng, (".pt", ".pth", ".safetensors", ".resume"))
    return Sample(suffix, data)


def read(path: Path) -> None:
    """Load into a network, look into it, go on with it."""
    number = sum(path.name.encode()) % 3
    cfg, network = written(path.parent)[number], networks()[number]
    if path.suffix == ".resume":
        checkpoint = tried(Checkpoint.read, path)
        if checkpoint is not None:
            tried(checkpoint.restore, network)
        return
    for partial in PARTIAL:
        promised = tried(weights.verify, network.graph, path, weights.Reading(partial=partial))
        network.header = Header()  # which stays where a file does not say
        loaded = tried(weights.load, network, path, partial=partial)
        if promised != loaded:
            raise AnswerError(f"verify says {promised}, load {loaded} (partial={partial})")
    tried(weights.not_finite, network.graph, path)
    for given in (None, cfg):
        contents = tried(inspect, path, given)
        if contents is not None and contents.problem is not None:
            check_message(WeightsError(contents.problem))
    target = path.with_suffix(".converted.weights")  # of this input alone
    if tried(convert.convert, cfg, path, target, check=False) is not None:
        target.unlink()


def _saved(state: object, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(state, file, **options)
    return file.getvalue()


def _another_header(data: bytes, rng: Random) -> bytes:
    """A safetensors file whose JSON says something else."""
    size = int.from_bytes(data[:8], "little")
    header, rest = json.loads(data[8 : 8 + size]), data[8 + size :]
    for _ in range(rng.randint(1, 3)):
        key = rng.choice(list(header))
        if key == "__metadata__":
            header[key][one_of(rng, ("seen", "version", "layers", "x"))] = rng.choice(
                ("-1", "9" * 99, "0.2", "\x1b]", "")
            )
        else:
            _change_entry(header, key, rng)
    text = json.dumps(header).encode()
    if rng.random() < 0.2:
        text = changed(text, rng)
    length = len(text) if rng.random() < 0.9 else rng.choice(INTEGERS) % 2**64
    return struct.pack("<Q", length) + text + rest


def _change_entry(header: dict[str, Any], key: str, rng: Random) -> None:
    entry = header[key]
    what = rng.randrange(5)
    if what == 0:
        entry["dtype"] = rng.choice(DTYPES)
    elif what == 1:
        entry["shape"] = [rng.choice(INTEGERS) for _ in range(one_of(rng, (0, 1, 2, 4, 70)))]
    elif what == 2:
        entry["data_offsets"] = sorted(rng.choice(INTEGERS) for _ in range(2))
    elif what == 3:
        header[rng.choice(NAMES)] = header.pop(key)
    else:
        header[rng.choice(NAMES)] = {**entry}


def _another_archive(data: bytes, rng: Random) -> bytes:
    """An archive whose records are other ones; their checksums are right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = [(info.filename, archive.read(info)) for info in archive.infolist()]
    packing = zipfile.ZIP_STORED
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(records))
        name, content = records[place]
        what = rng.randrange(6)
        if what == 0:
            records[place] = (name, changed(content, rng))
        elif what == 1:
            records[place] = (changed(name.encode(), rng, most=1).decode("latin-1")[:200].replace("\0", "0"), content)
        elif what == 2 and len(records) > 1:
            del records[place]
        elif what == 3:
            packing = zipfile.ZIP_DEFLATED
        else:
            records = [(n, _another_pickle(c, rng) if n.endswith("data.pkl") else c) for n, c in records]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive:
        for name, content in records:
            archive.writestr(zipfile.ZipInfo(name or "x"), content, packing)
    return file.getvalue()


def _another_pickle(content: bytes, rng: Random) -> bytes:
    """Other integers in a pickle: shapes, strides, offsets and numbers of values are among them."""
    places = [at for at in range(1, len(content) - 2) if content[at : at + 1] in (b"K", b"M", b"J")]
    if not places or rng.random() < 0.2:
        return changed(content, rng, most=2)
    at = rng.choice(places)
    length = {b"K": 2, b"M": 3, b"J": 5}[content[at : at + 1]]
    integer = pickle.dumps(rng.choice((*INTEGERS, -1, -(2**31))), 2)[2:-1]
    return content[:at] + integer + content[at + length :]


KIND: Final = Kind("tensors", make, read)
