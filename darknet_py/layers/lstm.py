"""``[lstm]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from darknet_py.layers.base import Shape, register
from darknet_py.layers.parts.recurrent import RecurrentLayer, RowModule


@register("lstm")
@dataclass(frozen=True, kw_only=True)
class Lstm(RecurrentLayer):
    """``[lstm]``: w parts take the last output, u parts the input; i lets in, f keeps, o lets out, g is content."""

    def parts(self, inputs: int) -> dict[str, int]:
        return {
            **dict.fromkeys(("wi", "wf", "wo", "wg"), self.output),
            **dict.fromkeys(("ui", "uf", "uo", "ug"), inputs),
        }

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return LstmModule(self.dense(inputs), self.output)


class LstmModule(RowModule):
    """(steps * sequences, inputs) -> (steps * sequences, outputs)."""

    states = 2

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        h, c = state
        i, f, o, g = (self.part(f"w{gate}", h) + self.part(f"u{gate}", x) for gate in "ifog")
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, (h, c)
