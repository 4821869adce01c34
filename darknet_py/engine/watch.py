"""Notices changes of modules without reading all their weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import attrgetter, is_
from typing import Any

import torch
from torch import Tensor, nn

SAMPLED = 16  # modules whose biases are compared value by value
TRAINING = attrgetter("training")


class Watch:
    """Modules with float32 tensors, and the state of these now.

    It notices other tensors, moved tensors and changes in place. Changes that torch does not count (through `.data`,
    numpy or fused optimizers, or in inference mode) are noticed if they reach the biases of one of some layers, as
    training and loading do; but not on a GPU, which would have to be waited for.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        parts = [part for module in modules for part in module.modules()]
        self._hooks = [hooks for part in parts for hooks in (part._forward_hooks, part._forward_pre_hooks)]  # noqa: SLF001
        self._norms = [part for part in parts if isinstance(part, nn.modules.batchnorm._BatchNorm)]  # noqa: SLF001
        self._tables: list[dict[str, Any]] = [
            table for part in parts for table in (part._parameters, part._buffers, part._modules) if table  # noqa: SLF001
        ]  # fmt: skip
        self._entries = self._listed()
        self._tensors = [entry for entry in self._entries if isinstance(entry, Tensor)]
        self._kept = [tensor.detach() for tensor in self._tensors]  # keeps their memory from being reused
        self._places = [tensor.data_ptr() for tensor in self._tensors]
        self._counted = [tensor for tensor in self._tensors if not tensor.is_inference()]
        self._versions = [tensor._version for tensor in self._counted]  # noqa: SLF001
        self._sampled = _sample(modules)
        self._sample = self._values()

    @property
    def usable(self) -> bool:
        """Whether the modules compute what their weights say: none trains, and none has hooks."""
        return not any(self._hooks) and not any(map(TRAINING, self._norms))

    def unchanged(self) -> bool:
        """Whether the modules have the same tensors with the same values."""
        entries = self._listed()
        return (
            len(entries) == len(self._entries)
            and all(map(is_, entries, self._entries))
            and [tensor._version for tensor in self._counted] == self._versions  # noqa: SLF001
            and [tensor.data_ptr() for tensor in self._tensors] == self._places
            and torch.equal(self._values(), self._sample)
        )

    def _listed(self) -> list[Any]:
        return list(chain.from_iterable([table.values() for table in self._tables]))

    def _values(self) -> Tensor:
        return torch.cat(self._sampled) if self._sampled else torch.empty(0, dtype=torch.int32)


def _sample(modules: Sequence[nn.Module]) -> list[Tensor]:
    """Biases of some modules, as integers so that NaN equals itself; all vectors if torch does not count changes."""
    named = [pair for module in modules for pair in (*module.named_parameters(), *module.named_buffers())]
    vectors = [(name, tensor.detach()) for name, tensor in named if tensor.ndim == 1 and tensor.device.type == "cpu"]
    if any(tensor.is_inference() for _, tensor in named):
        return [vector.view(torch.int32) for _, vector in vectors]
    biases = [vector.view(torch.int32) for name, vector in vectors if name.endswith("bias")]
    return biases[:: -(-(-len(biases) // SAMPLED) or 1)]  # including the last one, which fine-tuning changes
