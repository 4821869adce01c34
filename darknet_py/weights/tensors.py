"""``.safetensors``: named tensors after a header of JSON, in which the cfg and what Darknet's header says are too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from darknet_py.errors import WeightsError
from darknet_py.files import opened as opened_file
from darknet_py.weights.named import MOST, StateDict


def opened(path: Path, *, whole: bool = False) -> StateDict:
    """The tensors in a file, mapped, or with `whole` read at once; raises `WeightsError` for one that is broken."""
    with opened_file(path):  # for an error that says why
        pass
    try:
        with safe_open(path, "pt") as file:
            keys, metadata = file.keys(), file.metadata() or {}
            if len(keys) > MOST:
                raise WeightsError(f"it has {len(keys)} tensors; more than {MOST} are no network's")
            tensors = {key: file.get_tensor(key) for key in keys}
    except SafetensorError as error:
        raise WeightsError(f"this is no whole safetensors file: {error}") from error
    except (TypeError, ValueError, RuntimeError) as error:  # of torch, for sizes beyond its integers
        raise WeightsError("this is no whole safetensors file: it has a shape that cannot be") from error
    return StateDict(_in_memory(path, tensors) if whole else tensors, metadata, "safetensors")


def _in_memory(path: Path, mapped: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors; a file that is wanted whole is read faster than it is mapped page by page."""
    read = dict(mapped)
    with opened_file(path) as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        start = file.tell()
        for key, tensor in mapped.items():
            if not tensor.numel():
                continue
            file.seek(start + header[key]["data_offsets"][0])
            values = torch.from_numpy(np.fromfile(file, np.uint8, tensor.nbytes))
            read[key] = values.view(tensor.dtype).view(tensor.shape)
    return read
