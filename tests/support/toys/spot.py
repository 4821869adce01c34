"""``[spot]``, a head with a box coder of its own: what the layer is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from darknet_py.boxes.coder import FOUR_SQUARES, BoxCoder
from darknet_py.cfg.keys import key, number
from darknet_py.layers.base import Place, Shape, register
from darknet_py.layers.heads import GridHead
from darknet_py.layers.parts.text import Lines


@register("spot")
@dataclass(frozen=True, kw_only=True)
class Spot(GridHead):
    """``[spot]``: boxes on a grid; x, y, w, h, objectness and classes of an anchor are all between 0 and 1."""

    box_scale: float = key(number, 1.0, "weight of the box loss")

    @property
    def coder(self) -> BoxCoder:
        return BoxCoder(FOUR_SQUARES, unit="cells", scale_x_y=1.2)

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return nn.Sigmoid()

    def text(self, place: Place, *xs: str) -> Lines:
        return [f"{xs[0]}.sigmoid()"]
