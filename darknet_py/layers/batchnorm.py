"""``[batchnorm]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from darknet_py.layers.base import Blob, Layer, Place, Shape, Update, register
from darknet_py.layers.parts.batchnorm import batch_norm_2d, norm_blobs
from darknet_py.layers.parts.text import Lines, call


@register("batchnorm")
@dataclass(frozen=True, kw_only=True)
class BatchNorm(Layer):
    """``[batchnorm]``: batch normalization as a layer of its own. Training does not change its scales and biases."""

    update = Update(trained=False)  # no update function in the C program

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        return self.image(inputs)

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return batch_norm_2d(self.image(inputs).c)

    def module_text(self, place: Place) -> str:
        return call("nn.BatchNorm2d", place.shape.c, eps="1e-5", momentum="0.01")

    def text(self, place: Place, *xs: str) -> Lines:
        return [call(place.module, *xs)]

    def blobs(self, inputs: Sequence[Shape]) -> tuple[Blob, ...]:
        return tuple(blob._replace(name=blob.name.removeprefix(".")) for blob in norm_blobs(self.image(inputs).c, ""))
