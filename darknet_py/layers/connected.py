"""``[connected]``."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from darknet_py.cfg.keys import flag, key, positive
from darknet_py.layers.base import Blob, Layer, Place, Reach, Shape, register
from darknet_py.layers.parts.activations import activated, activation_name
from darknet_py.layers.parts.dense import Dense, dense_blobs
from darknet_py.layers.parts.text import Lines, call, flat, helper


@register("connected", "conn")
@dataclass(frozen=True, kw_only=True)
class Connected(Layer):
    """``[connected]``: every output sees every input; the output is a picture of one pixel."""

    resizable = False
    counts = "output"

    output: int = key(positive, 1, "how many outputs")
    activation: str = key(activation_name, "logistic", "the function applied last")
    batch_normalize: bool = key(flag, False, "normalize over the batch before the activation")

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        (_,) = inputs
        return Shape(self.output, 1, 1)

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        (shape,) = inputs
        return ConnectedModule(shape.size, self.output, self.activation, batch_normalize=self.batch_normalize)

    def module_text(self, place: Place) -> str:
        return call("linear_bn" if self.batch_normalize else "linear", place.inputs[0].size, self.output)

    def text(self, place: Place, *xs: str) -> Lines:
        (x,) = xs
        return [activated(self.activation, call(place.module, flat(place, x))) + "[:, :, None, None]"]

    def reach(self) -> Reach:
        return Reach(None)

    def blobs(self, inputs: Sequence[Shape]) -> tuple[Blob, ...]:
        (shape,) = inputs
        return dense_blobs(shape.size, self.output, batch_normalize=self.batch_normalize)

    def operations(self, inputs: Sequence[Shape]) -> int:
        (shape,) = inputs
        return 2 * shape.size * self.output


class ConnectedModule(Dense):
    """A `Dense` on flattened pictures; (N, ...) -> (N, outputs, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1))[:, :, None, None]


@helper
def linear(inputs: int, outputs: int) -> nn.Sequential:
    """Matrix product with a bias."""
    return nn.Sequential(OrderedDict(linear=nn.Linear(inputs, outputs)))


@helper
def linear_bn(inputs: int, outputs: int) -> nn.Sequential:
    """Matrix product, then batch normalization with Darknet's constants."""
    layer = nn.Linear(inputs, outputs, bias=False)
    norm = nn.BatchNorm1d(outputs, eps=1e-5, momentum=0.01)
    return nn.Sequential(OrderedDict(linear=layer, bn=norm))
