"""``.safetensors``: named tensors after a header of JSON, in which the cfg and what Darknet's header says are too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from darknet_py.convert.formats import Format, Options
from darknet_py.convert.named import StateDict, named, note_of, reader, runner
from darknet_py.errors import WeightsError, os_reason
from darknet_py.network import Network


def write(network: Network, path: Path, options: Options) -> None:
    """Write the tensors, and as metadata what `note_of` says."""
    try:
        save_file(named(network, options), path, metadata={"format": "pt", **note_of(network, options)})
    except SafetensorError as error:
        raise WeightsError(f"{path.name} cannot be written: {error}") from error


def opened(path: Path, *, whole: bool = False) -> StateDict:
    """The tensors in a file, mapped, or with `whole` read at once; raises `WeightsError` for one that is broken."""
    try:
        with path.open("rb"):  # for an error that says why
            pass
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return StateDict(_in_memory(path, tensors) if whole else tensors, file.metadata() or {})
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {os_reason(error)}") from error
    except SafetensorError as error:
        raise WeightsError(f"{path}: this is no whole safetensors file: {error}") from error


def _in_memory(path: Path, mapped: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors; a file that is wanted whole is read faster than it is mapped page by page."""
    read = dict(mapped)
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        start = file.tell()
        for key, tensor in mapped.items():
            if not tensor.numel():
                continue
            file.seek(start + header[key]["data_offsets"][0])
            values = torch.from_numpy(np.fromfile(file, np.uint8, tensor.nbytes))
            read[key] = values.view(tensor.dtype).view(tensor.shape)
    return read


FORMAT = Format(
    "safetensors",
    (".safetensors",),
    write,
    runner(opened),
    frozenset({"layout", "bn_eps"}),
    read=reader(opened),
    values_only=True,
)
