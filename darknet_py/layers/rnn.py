"""``[rnn]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from darknet_py.cfg.keys import flag, key
from darknet_py.layers.base import Shape, register
from darknet_py.layers.parts.activations import activation_name
from darknet_py.layers.parts.recurrent import STATE, RecurrentLayer, RowModule


@register("rnn")
@dataclass(frozen=True, kw_only=True)
class Rnn(RecurrentLayer):
    """``[rnn]``: state = input part + self part of the old state (+ the old state with shortcut); then output part."""

    activation: str = key(activation_name, "logistic", "the function applied in all three parts")
    shortcut: bool = key(flag, False, "add the old state to the new one")

    def parts(self, inputs: int) -> dict[str, int]:
        return dict(zip(STATE, (inputs, self.output, self.output), strict=True))

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return RnnModule(self.dense(inputs, self.activation), self.output, shortcut=self.shortcut)


class RnnModule(RowModule):
    """(steps * sequences, inputs) -> (steps * sequences, outputs)."""

    def __init__(self, parts: nn.ModuleDict, outputs: int, *, shortcut: bool) -> None:
        super().__init__(parts, outputs)
        self.shortcut = shortcut

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        (old,) = state
        new = self.part("input", x) + self.part("self", old)
        if self.shortcut:
            new = new + old
        return self.part("output", new), (new,)
