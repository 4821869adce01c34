"""Reads state dicts of torch.save, alone or in a checkpoint, without running code from the file."""

from __future__ import annotations

import math
import mmap
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from darknet_py.errors import WeightsError
from darknet_py.files import opened as opened_file
from darknet_py.weights import archive
from darknet_py.weights.named import StateDict, name_of
from darknet_py.weights.projects import looks_like, unwrapped

NOTE: Final = "darknet_py"  # the entry of `_metadata`, which every state dict has, with the note
INSIDE: Final = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "ema",
    "ema_state_dict",
    "model_ema",
    "net",
    "network",
    "weights",
    "params",
    "module",
    "student",
)  # entries of checkpoints with the state dict; others are tried after these
DEPTH: Final = 5  # depth of nested dicts
DICTS: Final = 10_000  # dicts that are searched
OLD: Final = 5  # pickles at the start of a file as torch wrote them before 2020
SPARE: Final = 2  # how often the file's size its tensors may take together, because some are views of others


def opened(path: Path, *, whole: bool = False) -> StateDict:
    """The state dict in a file, alone or in a checkpoint; raises `WeightsError` if there is none.

    The tensors are mapped if the file allows it, or with `whole` read at once.
    """
    loaded = load(path, whole=whole)
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"it holds no state dict but a {type(loaded).__name__}")
    inside = _state_dict_in(loaded)
    tensors = _tensors_in(inside)
    if not tensors and loaded:
        raise WeightsError("there is no state dict in it")
    _check_sizes(path, tensors)
    metadata = getattr(inside, "_metadata", None)
    note = metadata.get(NOTE) if isinstance(metadata, Mapping) else None
    told = note.items() if isinstance(note, Mapping) else ()
    return StateDict(tensors, {k: v for k, v in told if isinstance(k, str) and isinstance(v, str)})


def load(path: Path, *, whole: bool) -> Any:
    """The object that torch.save wrote, on the CPU; raises `WeightsError` for a file that is not safe to load."""
    try:
        with opened_file(path) as file:
            zipped = file.read(2) == b"PK"
        if zipped:
            archive.check(path)
            _check_pickle(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of old files and of odd texts
            if not zipped:
                _check_old(path)
            if path.suffix == ".safetensors":  # of a path torch believes that
                with opened_file(path) as file:
                    return torch.load(file, map_location="cpu", weights_only=True)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped and not whole)
    except (OSError, WeightsError):
        raise
    except Exception as error:  # torch passes on any error that a broken or hostile pickle causes
        raise WeightsError(_reason(error)) from error


def _check_pickle(path: Path) -> None:
    """Raise `WeightsError` for a pickle that makes a bytearray of any size: no tensor needs one."""
    with zipfile.ZipFile(path) as archived:
        names = [name for name in archived.namelist() if name.endswith("/data.pkl")]
        if any(b"\nbytearray\n" in archived.read(name) for name in names):
            raise WeightsError("it holds builtins.bytearray, not only tensors")


def _check_old(path: Path) -> None:
    """Raise for an old file that claims longer texts or storages than it has bytes: torch would allocate them."""
    with opened_file(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        stream: Any = data  # reads stop at its end
        for _ in range(OLD):
            count = 0  # the last number; before BINPERSID the values of a storage
            for opcode, argument, _ in pickletools.genops(stream) if data.tell() < len(data) else ():
                if isinstance(argument, int) and opcode.name.startswith(("INT", "BININT", "LONG")):
                    count = argument
                elif opcode.name == "BINPERSID" and count > len(data):
                    raise WeightsError(f"a storage has {count} values, but the file does not hold as many")


def _state_dict_in(loaded: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The nested dict with the most keys of a layout, or else the first with tensors."""
    found = [dict_ for dict_ in _dicts(loaded) if any(isinstance(value, Tensor) for value in dict_.values())]
    return max(found, key=_count_known, default=loaded)


def _count_known(tensors: Mapping[Any, Any]) -> int:
    return sum(looks_like(key) for key in unwrapped(_tensors_in(tensors)))


def _dicts(outer: Mapping[Any, Any]) -> Iterator[Mapping[Any, Any]]:
    """The dict and those nested in it, level by level, each once, without an optimizer's."""
    level, seen = [outer], {id(outer)}
    for _ in range(DEPTH):
        deeper = []
        for dict_ in level:
            yield dict_
            for name in sorted(dict_, key=_rank):
                value = dict_[name]
                if isinstance(value, Mapping) and id(value) not in seen and "optim" not in str(name)[:100].lower():
                    seen.add(id(value))
                    deeper.append(value)
        level = deeper[:DICTS]


def _rank(name: object) -> int:
    """A sorting key that puts known names first."""
    return INSIDE.index(name) if isinstance(name, str) and name in INSIDE else len(INSIDE)


def _tensors_in(inside: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {
        key: value.detach()
        for key, value in inside.items()
        if isinstance(key, str) and isinstance(value, Tensor) and value.layout is torch.strided and not value.is_meta
    }


def _check_sizes(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise `WeightsError` for tensors of more values than the file holds, because sizes and strides can lie.

    Computed in Python's integers, because torch's overflow.
    """
    total = 0
    for key, tensor in tensors.items():
        size = math.prod(tensor.shape) * tensor.element_size()
        if size > tensor.untyped_storage().nbytes():
            count = math.prod(tensor.shape)
            raise WeightsError(f"{name_of(key)} has {count} values, but the file does not hold as many")
        total += size
    if total > SPARE * path.stat().st_size:
        raise WeightsError(f"its tensors have {total} bytes together, but the file does not hold as many")


def _reason(error: Exception) -> str:
    """A reading error as one line."""
    foreign = re.search(r"GLOBAL ([\w.]+)", str(error))
    if foreign or isinstance(error, pickle.UnpicklingError):
        what = foreign.group(1) if foreign else "something"
        return (
            f"it holds {what}, not only tensors, and code in files is never run: "
            "save model.state_dict() in the program it is from"
        )
    return archive.BROKEN
