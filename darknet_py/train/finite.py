"""Finds the layer where NaN or infinity begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from darknet_py.errors import DarknetError
from darknet_py.network.module import Network


class _FoundError(Exception):
    """Ends a forward pass at the first layer whose output is not finite."""

    def __init__(self, index: int) -> None:
        self.index = index


def blame_output(network: Network, images: Tensor, amp: torch.dtype | None = None) -> str:
    """Name the first layer whose output for images (N, C, H, W) is not finite, in the network's current mode."""
    hooks = [module.register_forward_hook(_raising(index)) for index, module in enumerate(network.layers)]
    device = network.device
    try:
        with torch.no_grad(), torch.autocast(device.type, amp, enabled=amp is not None):
            network.tap(images.to(device), range(len(network.layers)))
    except _FoundError as found:
        return f"first in the output of {network.graph.nodes[found.index]}"
    finally:
        for hook in hooks:
            hook.remove()
    return "all layers' outputs are finite, so that it is a loss that is not"


def blame_weights(network: Network) -> str | None:
    """Name the weights that are not finite, if any; gradients flow from the end, so the last such layer is named."""
    bad = _layers(network)
    return bad and f"the last update made the weights of {bad} infinite or NaN"


def check_start(network: Network) -> None:
    """Raise `DarknetError` if weights are not finite before the first update."""
    if (bad := _layers(network)) is not None:
        raise DarknetError(
            f"the weights of {bad} are infinite or NaN before the first update: the file they come from is damaged, "
            "or was saved after a training went wrong"
        )


def _layers(network: Network) -> str | None:
    """The last layer with weights that are not finite, and how many there are before it."""
    bad = network.not_finite()
    if not bad:
        return None
    return f"{bad[-1]} and of {len(bad) - 1} layers before it" if len(bad) > 1 else str(bad[-1])


def diverged(when: str, cause: str, kept: Path | None) -> DarknetError:
    """The error that ends a run; `kept` is the file that was saved last."""
    saved = f"{kept} is the last that was saved" if kept else "nothing was saved yet"
    return DarknetError(
        f"the loss is no longer finite {when}: {cause}; {saved}; "
        "try a lower learning_rate, a longer burn_in or clip, and check the labels"
    )


def _raising(index: int) -> Callable[[nn.Module, Any, Tensor], None]:
    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if not output.isfinite().all():
            raise _FoundError(index)

    return hook
