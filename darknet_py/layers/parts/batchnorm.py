"""The batch normalization inside layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from darknet_py.errors import DarknetError
from darknet_py.layers.base import Blob, Role

EPS, MOMENTUM = 1e-5, 0.01  # of the GPU builds; blas.c of the CPU build divides by sqrt(variance) + 1e-6


def norm_blobs(channels: int, name: str) -> tuple[Blob, ...]:
    """Scales, means and variances of the batch normalization called `name`; its bias is stored by its layer."""
    parts: dict[str, Role] = {"weight": "scale", "running_mean": "mean", "running_var": "variance"}
    return tuple(Blob(f"{name}.{part}", (channels,), role) for part, role in parts.items())


def batch_norm_2d(channels: int) -> nn.BatchNorm2d:
    """Normalization over pictures with Darknet's constants."""
    return nn.BatchNorm2d(channels, eps=EPS, momentum=MOMENTUM, dtype=torch.float32)


def batch_norm_1d(channels: int) -> nn.BatchNorm1d:
    """Normalization over rows with Darknet's constants."""
    return nn.BatchNorm1d(channels, eps=EPS, momentum=MOMENTUM, dtype=torch.float32)


def normalize(bn: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor) -> Tensor:
    """`bn(x)` for an x that nothing else needs: at inference it is changed in place, which saves its memory."""
    if bn.training and x.numel() == x.shape[1]:
        raise DarknetError("batch normalization needs more than one value a channel: train with larger mini-batches")
    if bn.training or torch.is_grad_enabled():
        y: Tensor = bn(x)
        return y
    mean, variance = bn.get_buffer("running_mean"), bn.get_buffer("running_var")
    scale = bn.weight * torch.rsqrt(variance + bn.eps)
    shift = bn.bias - mean * scale
    sides = (-1,) + (1,) * (x.ndim - 2)
    return x.mul_(scale.view(sides)).add_(shift.view(sides))
