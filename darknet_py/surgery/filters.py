"""Draws the filters of a convolution."""

from __future__ import annotations

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_py.errors import DarknetError
from darknet_py.layers.convolutional import ConvolutionalModule
from darknet_py.network.module import Network

SIDE: Final = 1024  # pixels that small filters are enlarged to
MOST: Final = 1 << 26  # values of a picture


@torch.no_grad()
def filters_picture(network: Network, layer: int | None = None) -> Tensor:
    """The filters of a convolution, each scaled from its smallest to its largest value: (3, H, W) or (1, H, W), 0 to 1.

    Filters of three channels are in colour; other filters take one row each, with their channels side by side, as in
    visualize of darknet.c. `layer` None is the first convolution. Raises `DarknetError` if there is none.
    """
    filters = _filters(network, layer)  # (n, c, k, k)
    low, high = (bound[:, None, None, None] for bound in filters.flatten(1).aminmax(dim=1))
    spread = high - low
    filters = torch.where(spread < 1e-9, filters, (filters - low) / spread).nan_to_num(0).clamp(0, 1)
    n, c, size, _ = filters.shape
    if c != 3:
        filters, columns = filters.reshape(n * c, 1, size, size), c
    else:
        columns = math.ceil(math.sqrt(n))
    return _grid(filters, columns)


def _filters(network: Network, layer: int | None) -> Tensor:
    convolutions = [index for index, module in enumerate(network.layers) if isinstance(module, ConvolutionalModule)]
    if layer is None and not convolutions:
        raise DarknetError(f"{network.graph.source} has no [convolutional] layer")
    chosen = convolutions[0] if layer is None else layer
    if chosen not in convolutions:
        raise DarknetError(f"layer {chosen} is no convolution; those are {', '.join(map(str, convolutions))}")
    weight = network.layers[chosen].get_parameter("conv.weight").float().cpu()
    n, c, size, _ = weight.shape
    if n * c * (size + 1) ** 2 > MOST:
        raise DarknetError(f"layer {chosen} has {n} filters of {c} channels, which is too much for a picture")
    return weight


def _grid(tiles: Tensor, columns: int) -> Tensor:
    """Tiles (n, c, k, k) in rows with black lines between them, enlarged if they are small."""
    n, c, size, _ = tiles.shape
    rows = math.ceil(n / columns)
    tiles = F.pad(tiles, (0, 1, 0, 1, 0, 0, 0, rows * columns - n))
    tiles = tiles.reshape(rows, columns, c, size + 1, size + 1).permute(2, 0, 3, 1, 4)
    picture = tiles.reshape(c, rows * (size + 1), columns * (size + 1))[:, :-1, :-1]
    factor = max(1, SIDE // max(picture.shape[1:]))
    return picture.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
