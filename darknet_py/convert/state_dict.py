"""``.pt`` and ``.pth``: a state dict of plain tensors, as torch.save writes it."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor

from darknet_py.convert.formats import Format, Options
from darknet_py.convert.named import named, note_of, run
from darknet_py.errors import WeightsError
from darknet_py.files.targets import BY_NAME
from darknet_py.network.module import Network
from darknet_py.weights.pickled import NOTE
from darknet_py.weights.projects import layout_named


def write(network: Network, path: Path, options: Options) -> None:
    """Write a state dict; `Network.load_state_dict` reads it if the layout is this package's own."""
    tensors = {key: _alone(tensor) for key, tensor in named(network, options).items()}
    state = OrderedDict(tensors)
    modules = vars(network.state_dict())["_metadata"] if layout_named(options.layout).name == NOTE else {}
    vars(state)["_metadata"] = OrderedDict({**modules, NOTE: note_of(network, options)})
    try:
        with path.open("wb") as file:
            torch.save(state, file)
    except RuntimeError as error:  # from closing the archive, which hides the first error
        raise error.__context__ or WeightsError(f"{path.name} cannot be written: {error}") from None


def _alone(tensor: Tensor) -> Tensor:
    """A tensor that fills its storage, because torch.save writes storages."""
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


FORMAT = Format(BY_NAME["torch"], write, run, values_only=True)
