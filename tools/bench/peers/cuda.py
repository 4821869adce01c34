"""Other runtimes on a CUDA device: torch.compile, and TensorRT through torch_tensorrt."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from darknet_py.network import Network
from tools.bench.contest.cases import DTYPES, Case, Task
from tools.bench.contest.patience import Patience
from tools.bench.peers.runner import REDUCED, Build, Runner, needed


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
    call = torch.inference_mode()(partial(network.heads, x))
    COMPILING.wait(call)
    return Runner(call, tolerance=tolerance(case))


def tensorrt(case: Case) -> Runner:
    """TensorRT for one fixed shape."""
    package = needed("torch_tensorrt")
    network, x = there(case, case.task.dtype)
    options = {"ir": "dynamo", "inputs": [x], "enabled_precisions": {x.dtype}, "min_block_size": 1}
    with torch.inference_mode():
        module = BUILDING.wait(partial(package.compile, network, **options))

    def call() -> tuple[Any, ...]:
        found = module(x)
        return found if isinstance(found, tuple) else (found,)

    return Runner(torch.inference_mode()(call), tolerance=tolerance(case))


def peak(task: Task) -> float | None:
    """TFLOPS of the task's card in its type, where the card is in `PEAKS`."""
    if task.kind != "cuda":
        return None
    name = torch.cuda.get_device_name(task.device)
    peaks = next((peaks for start, peaks in PEAKS.items() if name.startswith(start)), None)
    exact = task.dtype == "fp32" and not torch.backends.cudnn.allow_tf32
    return None if peaks is None else peaks["exact" if exact else task.dtype]


COMPILING, BUILDING = Patience(60), Patience(60)  # seconds
PEAKS: Mapping[str, Mapping[str, float]] = {
    "NVIDIA A100": {"exact": 19.5, "fp32": 156, "fp16": 312, "bf16": 312},
    "NVIDIA H100 80GB HBM3": {"exact": 66.9, "fp32": 494.7, "fp16": 989.4, "bf16": 989.4},
    "NVIDIA H200": {"exact": 66.9, "fp32": 494.7, "fp16": 989.4, "bf16": 989.4},
}  # TFLOPS of dense products by the maker's data sheets; fp32 is TF32, which torch uses unless told otherwise
PEERS: Mapping[str, Build] = {"compile": compiled, "tensorrt": tensorrt}
