"""``[iseg]``: instance segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from darknet_py.cfg.keys import key, natural
from darknet_py.layers.base import Place, Shape, register
from darknet_py.layers.heads import Head
from darknet_py.layers.parts.text import Lines


@register("iseg")
@dataclass(frozen=True, kw_only=True)
class Iseg(Head):
    """``[iseg]``: for every pixel the logistic of each class, and `ids` values that distinguish instances."""

    has_loss = False  # only here; the C program can train it
    gives_boxes = False

    ids: int = key(natural, 32, "values of the embedding")

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        shape = self.image(inputs)
        if shape.c != self.classes + self.ids:
            raise self.error(
                f"needs classes+ids = {self.classes + self.ids} channels, but the layer before it gives {shape.c}"
            )
        return shape

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return IsegModule(self.classes)

    def text(self, place: Place, *xs: str) -> Lines:
        (x,), c = xs, self.classes
        return [f"torch.cat((torch.sigmoid({x}[:, :{c}]), {x}[:, {c}:]), 1)"]

    @property
    def meaning(self) -> str:
        return f"For each pixel {self.classes} classes and {self.ids} values that tell instances apart."


class IsegModule(nn.Module):
    """(N, classes + ids, H, W) -> the same shape."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((torch.sigmoid(x[:, : self.classes]), x[:, self.classes :]), 1)
