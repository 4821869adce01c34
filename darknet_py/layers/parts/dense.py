"""The dense layer inside [connected] and the recurrent layers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from darknet_py.layers.base import Blob
from darknet_py.layers.parts.activations import Activate
from darknet_py.layers.parts.batchnorm import batch_norm_1d, norm_blobs, normalize
from darknet_py.layers.parts.builds import FollowsBuild
from darknet_py.layers.parts.uninitialized import Linear

GRADIENT_LIMIT = 1.0  # backward_connected_layer_gpu


def dense_blobs(inputs: int, outputs: int, *, batch_normalize: bool) -> tuple[Blob, ...]:
    """The tensors of a `Dense` in a file: bias, weights, and then scales, means and variances."""
    return (
        Blob("bn.bias" if batch_normalize else "linear.bias", (outputs,), "bias"),
        Blob("linear.weight", (outputs, inputs), "weight", transposed=True),
        *(norm_blobs(outputs, "bn") if batch_normalize else ()),
    )


class Limited(torch.autograd.Function):
    """The identity for any shape, with gradients clipped to plus or minus `limit`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, limit: float) -> Tensor:
        """`x` of any shape."""
        ctx.limit = limit
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """The clipped gradient, of any shape."""
        return grad.clamp(-ctx.limit, ctx.limit), None


class Dense(FollowsBuild):
    """Matrix product, batch normalization or bias, activation; rows (N, inputs) -> (N, outputs).

    The GPU build of the C program clips the gradient of every output to plus or minus 1 (connected_layer.c).
    """

    def __init__(self, inputs: int, outputs: int, activation: str, *, batch_normalize: bool) -> None:
        super().__init__()
        self.linear = Linear(inputs, outputs, bias=not batch_normalize, dtype=torch.float32)
        self.bn = batch_norm_1d(outputs) if batch_normalize else None
        self.activate = Activate(activation)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        if self.bn is not None:
            x = normalize(self.bn, x)
        x = self.activate(x)
        if self.training and self.build == "gpu":
            x = Limited.apply(x, GRADIENT_LIMIT)  # type: ignore[no-untyped-call]
        return x

    def initialize(self, generator: torch.Generator | None) -> None:
        """Draw the weights as Darknet does: evenly within the root of 2 / inputs."""
        with torch.no_grad():
            bound = math.sqrt(2 / self.linear.in_features)
            self.linear.weight.uniform_(-bound, bound, generator=generator)
            if self.linear.bias is not None:
                self.linear.bias.zero_()
