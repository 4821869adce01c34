"""``.pt`` and ``.pth``: a state dict of plain tensors, as torch.save writes it. Code in files is never run."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from darknet_py.convert.formats import Format, Options
from darknet_py.convert.layouts import layout_named
from darknet_py.convert.named import StateDict, named, note_of, reader, runner
from darknet_py.errors import WeightsError, os_reason
from darknet_py.network import Network

NOTE: Final = "darknet_py"  # the entry of `_metadata`, which every state dict has, that holds the note
INSIDE: Final = ("state_dict", "model_state_dict", "model", "ema", "net")  # where checkpoints have the state dict


def write(network: Network, path: Path, options: Options) -> None:
    """Write a state dict; of this package's own layout, `Network.load_state_dict` takes it as it is."""
    tensors = {key: _alone(tensor) for key, tensor in named(network, options).items()}
    state = OrderedDict(tensors)
    modules = vars(network.state_dict())["_metadata"] if layout_named(options.layout).name == NOTE else {}
    vars(state)["_metadata"] = OrderedDict({**modules, NOTE: note_of(network, options)})
    try:
        with path.open("wb") as file:
            torch.save(state, file)
    except RuntimeError as error:  # of closing the archive, which hides what stopped the writing
        raise error.__context__ or WeightsError(f"{path.name} cannot be written: {error}") from None


def opened(path: Path, *, whole: bool = False) -> StateDict:
    """The state dict in a file, alone or in a checkpoint; raises `WeightsError` where there is none.

    The tensors are mapped where the file allows it, or with `whole` read at once.
    """
    loaded = _loaded(path, whole=whole)
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"{path}: it holds no state dict but a {type(loaded).__name__}")
    inside = next((loaded[name] for name in INSIDE if isinstance(loaded.get(name), Mapping)), loaded)
    tensors = {
        key: value.detach()
        for key, value in inside.items()
        if isinstance(key, str) and isinstance(value, Tensor) and value.layout is torch.strided and not value.is_meta
    }
    if not tensors and inside:
        raise WeightsError(f"{path}: there is no state dict in it")
    large = next((key for key, t in tensors.items() if t.nbytes > t.untyped_storage().nbytes()), None)
    if large is not None:
        raise WeightsError(f"{path}: {large} has {tensors[large].numel()} values, but the file does not hold as many")
    metadata = getattr(inside, "_metadata", None)
    note = metadata.get(NOTE) if isinstance(metadata, Mapping) else None
    told = note.items() if isinstance(note, Mapping) else ()
    return StateDict(tensors, {k: v for k, v in told if isinstance(k, str) and isinstance(v, str)})


def _alone(tensor: Tensor) -> Tensor:
    """A tensor that is all of its storage, because torch.save writes storages."""
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def _loaded(path: Path, *, whole: bool) -> Any:
    try:
        with path.open("rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"
        if zipped:
            _check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old files torch says that they are old
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped and not whole)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {os_reason(error)}") from error
    except Exception as error:  # torch lets through whatever a broken or hostile pickle makes it do
        raise WeightsError(f"{path}: {_reason(error)}") from error


def _check_archive(path: Path) -> None:
    """Raise `WeightsError` for what torch.save never writes: compressed records may be any size when unpacked."""
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
    if any("/code/" in record.filename for record in records):
        raise WeightsError("it is TorchScript, a program, and not a state dict")
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise WeightsError("its records are compressed, which torch.save does not do")


def _reason(error: Exception) -> str:
    """An error of reading in one line."""
    if isinstance(error, WeightsError):
        return str(error)
    foreign = re.search(r"GLOBAL ([\w.]+)", str(error))
    if foreign or isinstance(error, pickle.UnpicklingError):
        what = foreign.group(1) if foreign else "something"
        return (
            f"it holds {what}, not only tensors, and code in files is never run: "
            "save model.state_dict() in the program it is from"
        )
    return "it is cut short or broken, or was not written by torch.save"


FORMAT = Format(
    "PyTorch state dict",
    (".pt", ".pth"),
    write,
    runner(opened),
    frozenset({"layout", "bn_eps"}),
    read=reader(opened),
    values_only=True,
)
