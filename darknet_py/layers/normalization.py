"""``[normalization]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from darknet_py.cfg.keys import key, number, positive
from darknet_py.layers.base import Layer, Place, Shape, register
from darknet_py.layers.parts.text import Lines, call, helper


@register("normalization", "lrn")
@dataclass(frozen=True, kw_only=True)
class Normalization(Layer):
    """``[normalization]``: local response normalization across channels, as in AlexNet."""

    alpha: float = key(number, 0.0001, "factor of the squares")
    beta: float = key(number, 0.75, "power of the norm")
    kappa: float = key(number, 1.0, "what is added to the norm")
    size: int = key(positive, 5, "how many channels are summed")

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        return self.image(inputs)

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return NormalizationModule(self)

    def text(self, place: Place, *xs: str) -> Lines:
        return [call("normalize_channels", *xs, self.size, self.alpha, self.beta, self.kappa)]


class NormalizationModule(nn.Module):
    """(N, C, H, W) -> the same shape.

    normalization_layer.c keeps a running sum over channels that never adds channel size/2 but subtracts it later, so
    every norm lacks that channel once. Its gradient treats the norms as constants.
    """

    def __init__(self, layer: Normalization) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        size = self.layer.size
        squares = x.detach().square()
        before, after = (size - 1) // 2, size // 2
        missed = squares[:, after : after + 1]
        most = x.shape[1] - 1  # what a window has beyond all channels is zeros
        before, after = min(before, most), min(after, most)
        padded = F.pad(squares.flatten(2), (0, 0, before, after))  # (N, C + before + after, H * W)
        window = F.avg_pool2d(padded, (before + 1 + after, 1), stride=1, divisor_override=1).view_as(x)
        norms = self.layer.kappa + self.layer.alpha * (window - (missed if missed.shape[1] else 0))
        return x * norms.pow(-self.layer.beta)


@helper
def normalize_channels(
    x: Tensor,
    size: int,
    alpha: float,
    beta: float,
    kappa: float,
) -> Tensor:
    """Normalize (N, C, H, W) over channels; one is not in the sums, as in Darknet."""
    before, after = (size - 1) // 2, size // 2
    squares = x.square()
    padded = F.pad(squares.flatten(2), (0, 0, before, after))
    sums = F.avg_pool2d(padded, (size, 1), stride=1, divisor_override=1)
    missing = squares[:, after : after + 1].sum(1, keepdim=True)
    return x * (kappa + alpha * (sums.reshape(x.shape) - missing)).pow(-beta)
