"""``[yolo]``: the head of YOLOv3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from darknet_py.cfg.keys import key, list_of, natural, number
from darknet_py.layers.base import Place, Shape, register
from darknet_py.layers.heads import JOINED, GridHead
from darknet_py.layers.parts.text import Lines


@register("yolo")
@dataclass(frozen=True, kw_only=True)
class Yolo(GridHead):
    """``[yolo]``: boxes on a grid with the anchors that `mask` names; per anchor x, y, w, h, objectness, classes."""

    mask: tuple[int, ...] | None = key(list_of(natural), None, "the anchors of this layer; all if not given")
    ignore_thresh: float = key(number, 0.5, "boxes with a higher IoU with a truth learn no missing object")
    truth_thresh: float = key(number, 1.0, "boxes with a higher IoU with a truth learn that truth")

    @property
    def own_anchors(self) -> Sequence[int]:
        return super().own_anchors if self.mask is None else self.mask

    @property
    def formula(self) -> str:
        count = "num" if self.mask is None else "len(mask)"
        return f"{count}*(classes+5) = {len(self.own_anchors)}*({self.classes}+5) = {self.channels}"

    @property
    def beyond(self) -> str | None:
        if self.mask is None or max(self.mask, default=0) < self.num:
            return None
        return f"mask={','.join(map(str, self.mask))} names an anchor beyond num={self.num}; they count from 0"

    def takes_truth(self, given: int, wanted: int) -> bool:
        return given % 5 == 0  # it reads until the first row of zeros

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        return YoloModule(self)

    def text(self, place: Place, *xs: str) -> Lines:
        return [
            f"entries = {xs[0]}.unflatten(1, ({len(self.own_anchors)}, {self.entries}))",
            f"xy, wh, scores = entries.split((2, 2, {self.entries - 4}), 2)",
            "parts = (xy.sigmoid(), wh, scores.sigmoid())",
            JOINED,
        ]


class YoloModule(nn.Module):
    """(N, anchors * entries, H, W) -> the same shape: the logistic of everything but w and h."""

    def __init__(self, layer: Yolo) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        xy, wh, rest = x.reshape(b, c // self.layer.entries, self.layer.entries, h, w).split(
            (2, 2, self.layer.entries - 4), 2
        )
        return torch.cat((torch.sigmoid(xy), wh, torch.sigmoid(rest)), 2).reshape(b, c, h, w)
