"""``[spot]``: how its output becomes boxes, when they are picked and inside a graph."""

from __future__ import annotations

from torch import Tensor

from darknet_py.convert.boxes import DENSE, Dense, Side, grid_boxes
from darknet_py.pictures.opening import Size
from darknet_py.predict.candidates import Candidates
from darknet_py.predict.decode import DECODERS, Settings, boxes_at, scored
from darknet_py.tree.walk import TreeWalk
from tests.support.toys.spot import Spot


@DECODERS.row(Spot)
def decode(layer: Spot, output: Tensor, network: Size, settings: Settings, _walk: TreeWalk | None) -> Candidates:
    """Boxes of outputs (N, anchors * entries, H, W)."""
    n, _, h, w = output.shape
    cells = output.view(n, layer.num, layer.entries, h, w).movedim(2, 4)  # (N, A, H, W, entries)
    found = picture, anchor, row, column = (cells[..., 4] > settings.thresh).nonzero(as_tuple=True)
    rows = cells[found]
    boxes = boxes_at(layer.coder, layer.anchor_boxes, rows, (anchor, row, column), (w, h), network)
    return scored(boxes, rows[:, 4], picture, n, rows[:, 5:], settings.thresh)


@DENSE.row(Spot)
def dense(layer: Spot, output: Tensor, size: tuple[Side, Side], _walk: TreeWalk | None) -> Dense:
    """All boxes of outputs (N, anchors * entries, H, W), in the same order."""
    entries = output.unflatten(1, (layer.num, layer.entries))
    boxes = grid_boxes(layer, entries, size).permute(0, 1, 3, 4, 2).flatten(1, 3)
    rows = entries[:, :, 4:].permute(0, 1, 3, 4, 2).flatten(1, 3)
    return Dense(boxes, rows[..., :1] * rows[..., 1:])
