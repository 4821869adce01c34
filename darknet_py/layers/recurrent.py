"""``[rnn]``, ``[gru]``, ``[lstm]`` and ``[crnn]``.

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
from darknet_py.layers.base import Blob, Layer, Shape, Update, register
from darknet_py.layers.convolutional import Convolutional
from darknet_py.layers.parts.activations import activation_name
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


@register("crnn")
@dataclass(frozen=True, kw_only=True)
class Crnn(Layer):
    """``[crnn]``: an rnn whose parts are 3 x 3 convolutions."""

    recurrent = True
    update = PARTS_UPDATE

    output_filters: int = key(positive, 1, "output channels")
    hidden_filters: int = key(positive, 1, "channels of the state")
    activation: str = key(activation_name, "logistic", "the function applied in all three parts")
    batch_normalize: bool = key(flag, False, "normalize every convolution over the batch")
    shortcut: bool = key(flag, False, "add the old state to the new one")

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        return self.image(inputs)._replace(c=self.output_filters)

    def parts(self, inputs: Sequence[Shape]) -> dict[str, tuple[Convolutional, Shape]]:
        """The convolutions in the order of the file, each with the shape of its input."""
        x = self.image(inputs)
        state = x._replace(c=self.hidden_filters)
        hidden, output = (
            Convolutional(
                where=self.where,
                filters=filters,
                size=3,
                pad=True,
                activation=self.activation,
                batch_normalize=self.batch_normalize,
            )
            for filters in (self.hidden_filters, self.output_filters)
        )
        return dict(zip(STATE, ((hidden, x), (hidden, state), (output, state)), strict=True))

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return CrnnModule(self, inputs)

    def blobs(self, inputs: Sequence[Shape]) -> tuple[Blob, ...]:
        parts = self.parts(inputs).items()
        return tuple(blob.within(name) for name, (conv, shape) in parts for blob in conv.blobs([shape]))

    def workspace(self, inputs: Sequence[Shape]) -> int:
        return self.image(inputs)._replace(c=3 * self.hidden_filters).size  # the old state, the new one, a part of it

    def operations(self, inputs: Sequence[Shape]) -> int:
        return sum(conv.operations([shape]) for conv, shape in self.parts(inputs).values())


class CrnnModule(Recurrent):
    """(steps * sequences, C, H, W) -> (steps * sequences, output_filters, H, W)."""

    def __init__(self, layer: Crnn, inputs: Sequence[Shape]) -> None:
        super().__init__()
        self.hidden, self.shortcut = layer.hidden_filters, layer.shortcut
        for name, (conv, shape) in layer.parts(inputs).items():
            self.add_module(name, conv.build([shape]))

    def start(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x.new_zeros(x.shape[0], self.hidden, *x.shape[2:]),)

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        (old,) = state
        new = self.get_submodule("input")(x) + self.get_submodule("self")(old)
        if self.shortcut:
            new = new + old
        return self.get_submodule("output")(new), (new,)
