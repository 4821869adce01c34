"""``[crnn]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from darknet_py.cfg.keys import flag, key, positive
from darknet_py.layers.base import Blob, Layer, Shape, register
from darknet_py.layers.convolutional import Convolutional
from darknet_py.layers.parts.activations import activation_name
from darknet_py.layers.parts.recurrent import PARTS_UPDATE, STATE, Recurrent


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
