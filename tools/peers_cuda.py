"""What else computes on a CUDA device: torch.compile, and TensorRT through torch_tensorrt."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from inference_cases import DTYPES, Case
from peers import REDUCED, Build, Runner, needed

from darknet_py.network import Network


def there(case: Case, dtype: str) -> tuple[Network, torch.Tensor]:
    """The network and the pictures on the case's device in a type; a copy where they are not."""
    if case.task.kind == "cpu" and dtype == "fp32":
        return case.network, case.x
    place: Any = {"device": case.task.device, "dtype": DTYPES[dtype], "memory_format": torch.channels_last}
    network = copy.deepcopy(case.network).to(**place)
    return network, case.x.to(**place)


def tolerance(case: Case) -> float:
    """How far outputs may be off: on a card even float32 is not computed in full by default."""
    return Runner.tolerance if case.task.is_plain else REDUCED


def compiled(case: Case) -> Runner:
    """torch.compile, which tries what is fastest, with CUDA graphs."""
    network, x = there(case, case.task.dtype)
    network = copy.deepcopy(network)  # the others go on with one that is not compiled
    network.compile(mode="max-autotune", dynamic=False)
    return Runner(torch.inference_mode()(partial(network.heads, x)), tolerance=tolerance(case))


def tensorrt(case: Case) -> Runner:
    """TensorRT for one fixed shape."""
    package = needed("torch_tensorrt")
    network, x = there(case, case.task.dtype)
    options = {"ir": "dynamo", "inputs": [x], "enabled_precisions": {x.dtype}, "min_block_size": 1}
    with torch.inference_mode():
        module = package.compile(network, **options)

    def call() -> tuple[Any, ...]:
        found = module(x)
        return found if isinstance(found, tuple) else (found,)

    return Runner(torch.inference_mode()(call), tolerance=tolerance(case))


PEERS: Mapping[str, Build] = {"compile": compiled, "tensorrt": tensorrt}
