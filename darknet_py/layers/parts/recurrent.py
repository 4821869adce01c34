"""What ``[rnn]``, ``[gru]``, ``[lstm]`` and ``[crnn]`` share.

Their batch is time_steps times the number of sequences, with the steps outermost: row t * sequences + n is step t of
sequence n. A sequence starts from zeros; after `Network.carry_state(True)` it goes on from where the last call ended,
which is what the C program does between predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from darknet_py.cfg.keys import flag, key, positive
from darknet_py.layers.base import Blob, Layer, Shape, Update
from darknet_py.layers.parts.dense import Dense, dense_blobs

STATE = ("input", "self", "output")  # the parts of rnn and crnn, in the order of the file
PARTS_UPDATE = Update(scaled=False)  # the key learning_rate is not handed on to parts


class Recurrent(nn.Module):
    """A module whose state goes from step to step."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 1
        self.carries = False
        self.state: tuple[Tensor, ...] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(steps * sequences, ...) -> (steps * sequences, ...)."""
        sequences = x.unflatten(0, (self.steps, -1))
        state = self.state if self.carries and self.state is not None else self.start(sequences[0])
        outputs = []
        for step in sequences:
            output, state = self.step(step, state)
            outputs.append(output)
        if self.carries:
            self.state = tuple(part.detach() for part in state)
        return torch.cat(outputs)

    def start(self, x: Tensor) -> tuple[Tensor, ...]:
        """The state before the first step."""
        raise NotImplementedError

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output and the new state."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class RecurrentLayer(Layer):
    """What the three layers on rows have in common."""

    recurrent = True
    resizable = False
    update = PARTS_UPDATE

    output: int = key(positive, 1, "how many outputs, and the size of the state")
    batch_normalize: bool = key(flag, False, "normalize every product over the batch")

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        (_,) = inputs
        return Shape(self.output)

    def parts(self, inputs: int) -> dict[str, int]:
        """The dense parts in the order of the file: name and number of inputs."""
        raise NotImplementedError

    def blobs(self, inputs: Sequence[Shape]) -> tuple[Blob, ...]:
        (shape,) = inputs
        return tuple(
            blob.within(name)
            for name, size in self.parts(shape.size).items()
            for blob in dense_blobs(size, self.output, batch_normalize=self.batch_normalize)
        )

    def operations(self, inputs: Sequence[Shape]) -> int:
        (shape,) = inputs
        return sum(2 * size * self.output for size in self.parts(shape.size).values())

    def dense(self, inputs: Sequence[Shape], activation: str = "linear") -> nn.ModuleDict:
        """The parts as modules."""
        (shape,) = inputs
        return nn.ModuleDict(
            {
                name: Dense(size, self.output, activation, batch_normalize=self.batch_normalize)
                for name, size in self.parts(shape.size).items()
            }
        )


class RowModule(Recurrent):
    """A recurrent module on rows whose state is so many rows of zeros at first."""

    states = 1

    def __init__(self, parts: nn.ModuleDict, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        for name, part in parts.items():
            self.add_module(name, part)

    def start(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x.new_zeros(x.shape[0], self.outputs),) * self.states

    def part(self, name: str, x: Tensor) -> Tensor:
        """The dense part called `name`, applied."""
        out: Tensor = self.get_submodule(name)(x.flatten(1))
        return out
