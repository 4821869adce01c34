"""``.safetensors``: named tensors after a header of JSON, which also holds the cfg and Darknet's header."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file

from darknet_py.convert.formats import Format, Options
from darknet_py.convert.named import named, note_of, run
from darknet_py.errors import WeightsError
from darknet_py.files.targets import BY_NAME
from darknet_py.network.module import Network


def write(network: Network, path: Path, options: Options) -> None:
    """Write the tensors, and the note of `note_of` as metadata."""
    try:
        save_file(named(network, options), path, metadata={"format": "pt", **note_of(network, options)})
    except SafetensorError as error:
        raise WeightsError(f"{path.name} cannot be written: {error}") from error


FORMAT = Format(BY_NAME["safetensors"], write, run, values_only=True)
