"""Numbers about a tree as tensors that go where their module goes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def keep(module: nn.Module, **tables: Sequence[int]) -> None:
    """Give a module tables as buffers int64: they move with it, and no file has them.

    Autograd may use them, even where the module was made in inference mode.
    """
    with torch.inference_mode(mode=False):
        for name, table in tables.items():
            module.register_buffer(name, torch.tensor(table, dtype=torch.int64, device="cpu"), persistent=False)


def inverse(order: Sequence[int]) -> list[int]:
    """Where each of a permutation of numbers from 0 is in it."""
    place = [0] * len(order)
    for position, node in enumerate(order):
        place[node] = position
    return place
