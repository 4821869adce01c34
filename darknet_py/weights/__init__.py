"""Loads and saves a network's values: Darknet's files, and named tensors of PyTorch and safetensors.

A file is recognised by its bytes, not by its name.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import torch

from darknet_py.errors import DarknetError, DarknetWarning, WeightsError, os_reason
from darknet_py.files import opened
from darknet_py.files.signatures import HEAD, is_archive, is_safetensors
from darknet_py.network.graph import Graph
from darknet_py.network.header import Header
from darknet_py.network.module import Network
from darknet_py.weights.binary import CHUNK, FLOAT, Binary, save
from darknet_py.weights.fit import left_out
from darknet_py.weights.named import StateDict
from darknet_py.weights.names import find, hint
from darknet_py.weights.reading import Loaded, Partial, Reading
from darknet_py.weights.slots import expected_bytes, layout

__all__ = [
    "CHUNK", "FLOAT", "Binary", "Header", "Loaded", "Partial", "Reading", "StateDict", "expected_bytes", "find",
    "has_keys", "layout", "load", "made", "not_finite", "opened_source", "read", "save", "verify",
]  # fmt: skip


def load(
    network: Network, path: str | Path, *, start: int = 0, cutoff: int | None = None, partial: Partial = False
) -> Loaded:
    """Load a file into a network on any device, including its `seen`.

    The file is a .weights file, a state dict that torch.save wrote (of this package or of the projects that `convert`
    knows) or safetensors. It must hold exactly the layers from `start` to before `cutoff` (load_weights_upto); one
    named `.conv.N`, as Darknet's pretrained beginnings are, exactly the first N.

    `partial` loads whole tensors from the front as far as the file goes, and ignores the rest of a longer file.
    `partial="matching"` is for weights of other classes: it loads the layers that fit, a `DarknetWarning` names the
    others, and `seen` becomes 0. Layers that get nothing keep their values. Raises `WeightsError` before anything is
    changed.
    """
    return read(network, path, Reading(start, cutoff, partial))


def read(network: Network, path: str | Path, reading: Reading | None = None) -> Loaded:
    """`load` with the options of a `Reading`."""
    reading = reading or Reading()
    with opened_source(path, whole=reading.assign) as source:
        loaded = source.load(network, reading)
    if loaded.left:
        warnings.warn(DarknetWarning(f"{path}: {left_out(network.graph, loaded.left)}"), stacklevel=3)
    return loaded


def made(
    graph: Graph, path: str | Path, reading: Reading | None = None, *, generator: torch.Generator | None = None
) -> tuple[Network, Loaded]:
    """The network of a graph with the values of a file; values that the file does not hold are drawn.

    The file is checked before memory is allocated.
    """
    whole = verify(graph, path, reading).whole
    network = Network(graph, initialize=not whole, generator=generator)
    return network, read(network, path, reading)


def verify(graph: Graph, path: str | Path, reading: Reading | None = None) -> Loaded:
    """What `read` would do, without reading values; raises the same `WeightsError`."""
    with opened_source(path) as source:
        return source.verify(graph, reading or Reading())


def not_finite(graph: Graph, path: str | Path) -> list[tuple[str, int]]:
    """The name and layer of each tensor with NaN or infinity in a file that fits."""
    with opened_source(path) as source:
        return source.not_finite(graph)


def has_keys(path: str | Path) -> bool:
    """Whether a file has names for its tensors; raises `WeightsError` if it cannot be read."""
    with opened_source(path) as source:
        return not isinstance(source, Binary)


@contextmanager
def opened_source(path: str | Path, *, whole: bool = False) -> Iterator[Binary | StateDict]:
    """Open a file of values, recognised by its first bytes; with `whole` all of it will be needed.

    Raises `WeightsError` if it holds no values; errors inside the block get the name of the file.
    """
    path = find(path)
    try:
        with opened(path) as file:
            head = file.read(HEAD)
            reader = "tensors" if is_safetensors(head) else "pickled" if is_archive(head) else None
            if reader is None:
                yield Binary(path, file)
                return
        yield import_module(f"darknet_py.weights.{reader}").opened(path, whole=whole)
    except OSError as error:
        what_then = hint(path) if isinstance(error, FileNotFoundError) else ""
        raise WeightsError(f"{path}: cannot be read: {os_reason(error)}{what_then}") from error
    except DarknetError as error:
        raise WeightsError(f"{path}: {error}") from error
