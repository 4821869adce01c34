"""Tables of a tree as buffers, which move with their module."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def keep(module: nn.Module, **tables: Sequence[int]) -> None:
    """Register tables as int64 buffers of a module, which move with it but are not saved.

    Autograd may use them even if the module was made in inference mode.
    """
    with torch.inference_mode(mode=False):
        for name, table in tables.items():
            module.register_buffer(name, torch.tensor(table, dtype=torch.int64, device="cpu"), persistent=False)


def inverse(order: Sequence[int]) -> list[int]:
    """The inverse of a permutation of the numbers from 0 on."""
    place = [0] * len(order)
    for position, node in enumerate(order):
        place[node] = position
    return place
