"""``[gru]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from darknet_py.cfg.keys import flag, key
from darknet_py.layers.base import Shape, register
from darknet_py.layers.parts.recurrent import RecurrentLayer, RowModule


@register("gru")
@dataclass(frozen=True, kw_only=True)
class Gru(RecurrentLayer):
    """``[gru]``: w parts take the state, u parts the input; z keeps the old state, r forgets it."""

    tanh: bool = key(flag, False, "tanh for the new content; otherwise a logistic")

    def parts(self, inputs: int) -> dict[str, int]:
        return {**dict.fromkeys(("wz", "wr", "wh"), self.output), **dict.fromkeys(("uz", "ur", "uh"), inputs)}

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return GruModule(self.dense(inputs), self.output, tanh=self.tanh)


class GruModule(RowModule):
    """(steps * sequences, inputs) -> (steps * sequences, outputs)."""

    def __init__(self, parts: nn.ModuleDict, outputs: int, *, tanh: bool) -> None:
        super().__init__(parts, outputs)
        self.activate = torch.tanh if tanh else torch.sigmoid

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        (h,) = state
        z = torch.sigmoid(self.part("uz", x) + self.part("wz", h))
        r = torch.sigmoid(self.part("ur", x) + self.part("wr", h))
        content = self.activate(self.part("uh", x) + self.part("wh", r * h))
        h = z * h + (1 - z) * content
        return h, (h,)
