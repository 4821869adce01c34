"""Where values stop being finite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from darknet_py.errors import DarknetError
from darknet_py.network import Network


class _FoundError(Exception):
    """Ends a forward pass at the layer that was looked for."""

    def __init__(self, index: int) -> None:
        self.index = index


def blame_output(network: Network, images: Tensor, amp: torch.dtype | None = None) -> str:
    """Say which layer is the first whose output for these images is not finite, in the mode the network is in."""
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
    """Say which weights are not finite, if some are; gradients come from the end, so that the last layer is named."""
    bad = [index for index, module in enumerate(network.layers) if not is_finite(module)]
    if not bad:
        return None
    others = f" and of {len(bad) - 1} layers before it" if len(bad) > 1 else ""
    return f"the last update made the weights of {network.graph.nodes[bad[-1]]}{others} infinite or NaN"


def diverged(when: str, cause: str, kept: Path | None) -> DarknetError:
    """The error that ends a run; `kept` is what was saved last."""
    saved = f"{kept} is the last that was saved" if kept else "nothing was saved yet"
    return DarknetError(
        f"the loss is no longer finite {when}: {cause}; {saved}; "
        "try a lower learning_rate, a longer burn_in or clip, and check the labels"
    )


def is_finite(module: nn.Module) -> bool:
    """Whether all weights and statistics of a module are finite; one answer comes from the device."""
    values = [value for value in module.state_dict().values() if value.is_floating_point() and value.numel()]
    return not values or bool(torch.stack([value.isfinite().all() for value in values]).all())


def _raising(index: int) -> Callable[[nn.Module, Any, Tensor], None]:
    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if not output.isfinite().all():
            raise _FoundError(index)

    return hook
