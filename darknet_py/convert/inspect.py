"""Describes a file of weights: statistics of each tensor, with or without a cfg."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import torch
from torch import Tensor

from darknet_py.errors import CfgError, CfgWarning, DarknetError
from darknet_py.network.graph import Graph
from darknet_py.network.header import Header
from darknet_py.shipped import ROOT
from darknet_py.weights import CHUNK, FLOAT, Binary, Reading, StateDict, find, opened_source
from darknet_py.weights.named import name_of, outline
from darknet_py.weights.projects import COUNTER
from darknet_py.weights.slots import VALUE_SIZE, Slot, cutoff_of, layout

NOTED: Final = ("version", "seen", "layers")  # of the note in a file


@dataclass(frozen=True)
class Row:
    """One tensor; the statistics leave out NaN, and are NaN if nothing else is there."""

    layer: int | None
    type: str | None  # that of the section, with a cfg
    name: str
    shape: tuple[int, ...]
    mean: float
    std: float
    min: float
    max: float
    nans: int


@dataclass(frozen=True)
class Fit:
    """A cfg whose network, or whose first layers, a weights file fits by its size."""

    cfg: str
    layers: int
    of: int


@dataclass(frozen=True)
class Contents:
    """The description of a file."""

    file: str
    format: str
    facts: dict[str, str | int]  # version, seen, layout, ... if the file has them
    values: int
    rows: tuple[Row, ...]
    fits: tuple[Fit, ...] = ()  # cfgs that a weights file may be for, without a cfg
    problem: str | None = None  # why the file does not fit the cfg

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; NaN and infinity are text."""
        plain = asdict(self)
        for row in plain["rows"]:
            row.update({k: str(v) for k, v in row.items() if isinstance(v, float) and not math.isfinite(v)})
        return plain


def inspect(path: str | Path, cfg: str | Path | None = None, *, dialect: str | None = None) -> Contents:
    """Read a .weights, .pt, .pth or .safetensors file, recognised by its bytes, piece by piece.

    Raises `DarknetError` if the file cannot be read; one that does not fit the cfg is described all the same.
    """
    path = find(path)
    graph = None if cfg is None else Graph.read(cfg, dialect=dialect)
    with opened_source(path) as source:
        return (
            _inspect_weights(path, source, graph) if isinstance(source, Binary) else _inspect_state(path, source, graph)
        )


def _inspect_weights(path: Path, source: Binary, graph: Graph | None) -> Contents:
    header, size, file = source.header, source.size, source.file
    facts: dict[str, str | int] = {"version": f"{header.major}.{header.minor}.{header.revision}", "seen": header.seen}
    values = size // VALUE_SIZE
    if graph is None:
        whole = _row(None, None, "all values", (values,), _chunks(file, header, 0, values))
        return Contents(str(path), source.kind, facts, values, (whole,), _fits(path, size))
    slots = [slot for slot in layout(graph, cutoff=cutoff_of(path)) if slot.end <= values]
    rows = tuple(_slot_row(slot, _chunks(file, header, slot.start, slot.size)) for slot in slots)
    return Contents(str(path), source.kind, facts, values, rows, problem=_problem(source, graph))


def _problem(source: Binary | StateDict, graph: Graph) -> str | None:
    """Why a file does not fit a cfg."""
    try:
        source.verify(graph, Reading())
    except DarknetError as error:
        return str(error)
    return None


def _chunks(file: BinaryIO, header: Header, start: int, count: int) -> Iterator[Tensor]:
    file.seek(header.size + start * VALUE_SIZE)
    for at in range(0, count, CHUNK):
        values = np.fromfile(file, FLOAT, min(CHUNK, count - at))
        yield torch.from_numpy(values.astype(np.float32, copy=False))


def _slot_row(slot: Slot, chunks: Iterable[Tensor]) -> Row:
    shape = slot.blob.shape if slot.size == slot.blob.size else (slot.size,)
    return _row(slot.node.index, slot.node.layer.type, slot.blob.name, shape, chunks)


def _inspect_state(path: Path, source: StateDict, graph: Graph | None) -> Contents:
    tensors = {key: tensor for key, tensor in source.usable.items() if not key.endswith(COUNTER)}
    places: dict[str, tuple[int | None, str | None]] = {key: (_number(key), None) for key in tensors}
    facts: dict[str, str | int] = {key: name_of(source.note[key]) for key in NOTED if key in source.note}
    problem = None
    try:
        found = source.layout_for(Reading())
        facts["layout"] = found.name
        if graph is not None:
            places |= {k.foreign: (k.layer, graph.nodes[k.layer].layer.type) for k in found.keys(outline(graph))}
            problem = _problem(source, graph)
    except DarknetError as error:
        problem = str(error)
    facts["dtype"] = ", ".join(sorted({str(t.dtype).removeprefix("torch.") for t in tensors.values()}))
    rows = tuple(
        _row(*places[key], key, tuple(tensor.shape), tensor.reshape(-1).split(CHUNK))
        for key, tensor in sorted(tensors.items(), key=lambda item: _natural(item[0]))
    )
    values = sum(tensor.numel() for tensor in tensors.values())
    return Contents(str(path), source.kind, facts, values, rows, problem=problem)


def _row(layer: int | None, kind: str | None, name: str, shape: tuple[int, ...], chunks: Iterable[Tensor]) -> Row:
    """Statistics piece by piece: counts, means and sums of squares are merged as Chan, Golub and LeVeque do."""
    count, nans, mean, squares, low, high = 0, 0, 0.0, 0.0, math.inf, -math.inf
    for chunk in chunks:
        good = chunk.double()
        good = good[~good.isnan()]
        nans += chunk.numel() - good.numel()
        if not good.numel():
            continue
        total, its_mean = count + good.numel(), float(good.mean())
        apart = its_mean - mean
        squares += float((good - its_mean).square().sum()) + apart**2 * count * good.numel() / total
        mean += apart * good.numel() / total
        count, low, high = total, min(low, float(good.min())), max(high, float(good.max()))
    if not count:
        return Row(layer, kind, name, shape, math.nan, math.nan, math.nan, math.nan, nans)
    return Row(layer, kind, name, shape, mean, math.sqrt(squares / count), low, high, nans)


def _number(key: str) -> int | None:
    """The number of the layer in a key."""
    found = re.search(r"(?:^|\.)(\d{1,6})(?=\.|$)", key)
    return int(found.group(1)) if found else None


def _natural(key: str) -> list[tuple[int, str]]:
    """A sorting key in which digits count as numbers."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", key) if part]


def _fits(path: Path, size: int) -> tuple[Fit, ...]:
    """The cfgs in this folder, beside the file and in the package that fit a file of this size, whole ones first."""
    folders = dict.fromkeys(folder.resolve() for folder in (Path("cfg"), path.parent, ROOT / "cfg"))
    found = (_fit(cfg, size) for folder in folders if folder.is_dir() for cfg in sorted(folder.glob("*.cfg")))
    return tuple(sorted((fit for fit in found if fit is not None), key=lambda fit: fit.layers < fit.of))


def _fit(cfg: Path, size: int) -> Fit | None:
    values, rest = divmod(size, VALUE_SIZE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CfgWarning)
            graph = Graph.read(cfg)
    except CfgError:
        return None
    ends = {slot.node.index: slot.end for slot in layout(graph)}  # the last tensor of each layer remains
    layers = next((index + 1 for index, end in ends.items() if end == values), None)
    if layers is None or rest:
        return None
    return Fit(str(cfg), len(graph.nodes) if layers == max(ends) + 1 else layers, len(graph.nodes))
