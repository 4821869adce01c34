"""What a file of weights holds: the values of each tensor in numbers, against a cfg or without one."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import torch
from torch import Tensor

from darknet_py.convert import darknet, safetensors, state_dict
from darknet_py.convert.formats import format_of
from darknet_py.convert.layouts import COUNTER, detect, mismatch
from darknet_py.convert.named import StateDict, usable
from darknet_py.errors import CfgError, CfgWarning, DarknetError, WeightsError, os_reason
from darknet_py.graph import Graph
from darknet_py.layout import HEADER_SIZES, VALUE_SIZE, Header, Slot, check_size, cutoff_of, layout
from darknet_py.network import Network
from darknet_py.shipped import ROOT
from darknet_py.weights import CHUNK, FLOAT, find

OPENED: Final = {
    state_dict.FORMAT.name: state_dict.opened,
    safetensors.FORMAT.name: safetensors.opened,
}


@dataclass(frozen=True)
class Row:
    """One tensor; mean and the others leave NaN out, and are NaN where nothing is left."""

    layer: int | None
    type: str | None  # the section's, where a cfg is given
    name: str
    shape: tuple[int, ...]
    mean: float
    std: float
    min: float
    max: float
    nans: int


@dataclass(frozen=True)
class Fit:
    """A cfg that a weights file fits by its size: whole, or with its first layers."""

    cfg: str
    layers: int
    of: int


@dataclass(frozen=True)
class Contents:
    """A file."""

    file: str
    format: str
    facts: dict[str, str | int]  # version, seen, layout, ... as far as the file says
    values: int
    rows: tuple[Row, ...]
    fits: tuple[Fit, ...] = ()  # of a weights file without a cfg
    problem: str | None = None  # why it does not fit the cfg

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; numbers that JSON has no name for are text."""
        plain = asdict(self)
        for row in plain["rows"]:
            row.update({k: str(v) for k, v in row.items() if isinstance(v, float) and not math.isfinite(v)})
        return plain


def inspect(path: str | Path, cfg: str | Path | None = None) -> Contents:
    """Read a .weights, .pt, .pth or .safetensors file, a piece at a time.

    Raises `DarknetError` for a file that cannot be read; one that does not fit the cfg is described all the same.
    """
    path = find(path)
    form = format_of(path)
    graph = None if cfg is None else Graph.read(cfg)
    if form is darknet.FORMAT:
        return _inspect_weights(path, graph)
    if form.name not in OPENED:
        raise DarknetError(f"{path}: {form.name} files cannot be looked into; .weights, .pt and .safetensors can")
    return _inspect_state(path, form.name, OPENED[form.name](path), graph)


def _inspect_weights(path: Path, graph: Graph | None) -> Contents:
    try:
        with path.open("rb") as file:
            header = Header.unpack(file.read(HEADER_SIZES[0]))
            size = path.stat().st_size - header.size
            facts: dict[str, str | int] = {
                "version": f"{header.major}.{header.minor}.{header.revision}",
                "seen": header.seen,
            }
            values = size // VALUE_SIZE
            if graph is None:
                whole = _row(None, None, "all values", (values,), _chunks(file, header, 0, values))
                return Contents(str(path), "Darknet", facts, values, (whole,), _fits(path, size))
            slots = layout(graph, cutoff=cutoff_of(path))
            held = [slot for slot in slots if slot.end <= values]
            rows = tuple(_slot_row(slot, _chunks(file, header, slot.start, slot.size)) for slot in held)
            return Contents(str(path), "Darknet", facts, values, rows, problem=_size_problem(path, slots, size, graph))
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {os_reason(error)}") from error
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def _size_problem(path: Path, slots: Sequence[Slot], size: int, graph: Graph) -> str | None:
    try:
        check_size(slots, size, graph, ended=cutoff_of(path) is not None)
    except WeightsError as error:
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


def _inspect_state(path: Path, name: str, state: StateDict, graph: Graph | None) -> Contents:
    tensors = {key: tensor for key, tensor in usable(state).items() if not key.endswith(COUNTER)}
    places: dict[str, tuple[int | None, str | None]] = {key: (_number(key), None) for key in tensors}
    problem = None
    facts: dict[str, str | int] = {key: state.note[key] for key in ("version", "seen", "layers") if key in state.note}
    try:
        found = detect(tensors)
        facts["layout"] = found.name
        if graph is not None:
            network = Network(graph, initialize=False)
            keys = found.keys(network, state.layers(len(network.layers)))
            extras = found.extra_tensors(graph)
            problem = mismatch(keys, {key: tuple(t.shape) for key, t in tensors.items() if key not in extras}) or None
            places |= {key.foreign: (key.layer, graph.nodes[key.layer].layer.type) for key in keys}
    except DarknetError as error:
        problem = str(error)
    facts["dtype"] = ", ".join(sorted({str(t.dtype).removeprefix("torch.") for t in tensors.values()}))
    rows = tuple(
        _row(*places[key], key, tuple(tensor.shape), tensor.reshape(-1).split(CHUNK))
        for key, tensor in sorted(tensors.items(), key=lambda item: _natural(item[0]))
    )
    values = sum(tensor.numel() for tensor in tensors.values())
    return Contents(str(path), name, facts, values, rows, problem=problem)


def _row(
    layer: int | None, kind: str | None, name: str, shape: tuple[int, ...], chunks: Iterable[Tensor]
) -> Row:  # fmt: skip
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
    """Sorts numbers in keys as numbers."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", key) if part]


def _fits(path: Path, size: int) -> tuple[Fit, ...]:
    """The cfgs here, beside the file and in the package that fit a file of this size, whole ones first."""
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
    ends = {slot.node.index: slot.end for slot in layout(graph)}  # of a layer's tensors the last one stays
    layers = next((index + 1 for index, end in ends.items() if end == values), None)
    if layers is None or rest:
        return None
    return Fit(str(cfg), len(graph.nodes) if layers == max(ends) + 1 else layers, len(graph.nodes))
