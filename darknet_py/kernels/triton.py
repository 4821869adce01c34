"""Triton kernels: the first convolution of a network, and what follows the others, each in one pass over memory."""

from __future__ import annotations

from subprocess import CalledProcessError

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.errors import TritonError

from darknet_py.errors import DarknetError

# of a call, since Triton compiles then: its own errors, no C compiler or one that fails, no folder to write to
FAILURES = TritonError, RuntimeError, CalledProcessError, OSError

VALUES = 4096  # outputs of one program of `epilogue`
CHANNELS = 128  # of them side by side, at the most
TAPS = 64  # values of a patch of the input, at the most


@triton.jit
def _leaky(value, slope):  # type: ignore[no-untyped-def]
    return tl.where(value > 0, value, value * slope)


@triton.jit  # type: ignore[untyped-decorator]
def _epilogue(  # type: ignore[no-untyped-def]
    x,
    bias,
    other,
    y,
    pixels,
    channels,
    step,
    h,
    w,
    slope,
    other_slope,
    pools: tl.constexpr,
    adds: tl.constexpr,
    rows: tl.constexpr,
    columns: tl.constexpr,
):
    """Pixels of `step` values in `x`, of which the first `channels` count, to pixels of `channels` values in `y`."""
    pixel = tl.program_id(0).to(tl.int64) * rows + tl.arange(0, rows)
    channel = tl.program_id(1) * columns + tl.arange(0, columns)
    inside = (pixel < pixels)[:, None] & (channel < channels)[None, :]
    if pools:
        wide, high = (w + 1) // 2, (h + 1) // 2
        top, left = pixel // wide % high * 2, pixel % wide * 2
        first = (pixel // (wide * high) * h + top) * w + left
        at = first[:, None] * step + channel[None, :]
        right = tl.where(left + 1 < w, step, 0)[:, None]
        below = tl.where(top + 1 < h, w * step, 0)[:, None]
        upper = tl.maximum(tl.load(x + at, inside), tl.load(x + at + right, inside))
        lower = tl.maximum(tl.load(x + at + below, inside), tl.load(x + at + below + right, inside))
        value = tl.maximum(upper, lower)  # leaky keeps the order
    else:
        value = tl.load(x + (pixel[:, None] * step + channel[None, :]), inside)
    value = value.to(tl.float32) + tl.load(bias + channel, channel < channels).to(tl.float32)[None, :]
    value = _leaky(value, slope)
    to = pixel[:, None] * channels + channel[None, :]
    if adds:
        value = _leaky(value + tl.load(other + to, inside).to(tl.float32), other_slope)
    tl.store(y + to, value.to(y.dtype.element_ty), inside)


def epilogue(
    x: Tensor, bias: Tensor, slope: float, other: Tensor | None = None, other_slope: float = 1.0, *, pool: bool = False
) -> Tensor:
    """leaky(x + bias) -> (N, K, H, W), plus `other` and leaky again, or the largest of each 2 x 2.

    `x` (N, K or more, H, W) is channels last, and may be used for the output. Slopes are not negative.
    """
    n, step, h, w = x.shape
    k, shrink = len(bias), pool + 1
    high, wide = (h + pool) // shrink, (w + pool) // shrink
    _check(x, x.is_contiguous(memory_format=torch.channels_last), bias, bias.is_contiguous() and k <= step)
    if other is not None:
        _check(x, not pool, other, other.shape == (n, k, h, w))
    y = x
    if pool or k != step:
        y = torch.empty((n, k, high, wide), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    if other is not None:
        other = other.contiguous(memory_format=torch.channels_last)
    pixels, columns = n * high * wide, min(triton.next_power_of_2(k), CHANNELS)
    rows = VALUES // columns
    grid = triton.cdiv(pixels, rows), triton.cdiv(k, columns)
    with torch.cuda.device_of(x):
        _epilogue[grid](
            x,
            bias,
            y if other is None else other,
            y,
            pixels,
            k,
            step,
            h,
            w,
            slope,
            other_slope,
            pools=pool,
            adds=other is not None,
            rows=rows,
            columns=columns,
        )
    return y


@triton.jit  # type: ignore[untyped-decorator]
def _stem(  # type: ignore[no-untyped-def]
    x,
    weight,
    bias,
    y,
    channels,
    h,
    w,
    by_picture,
    by_channel,
    by_row,
    by_column,
    k,
    high,
    wide,
    slope,
    shrink: tl.constexpr,
    columns: tl.constexpr,
    taps: tl.constexpr,
    filters: tl.constexpr,
    precision: tl.constexpr,
):
    """A stretch of one row of outputs, each of a patch of the input whose side is `shrink` + 2."""
    n, row = tl.program_id(2).to(tl.int64), tl.program_id(1)
    column, tap, filter = tl.program_id(0) * columns + tl.arange(0, columns), tl.arange(0, taps), tl.arange(0, filters)  # noqa: A001
    side: tl.constexpr = shrink + 2
    area: tl.constexpr = side * side
    at_y, at_x = row * shrink + tap % area // side - 1, (column * shrink)[None, :] + (tap % side - 1)[:, None]
    there = ((tap < area * channels) & (at_y >= 0) & (at_y < h))[:, None] & (at_x >= 0) & (at_x < w)
    place = (tap // area * by_channel + at_y * by_row)[:, None] + at_x * by_column
    patches = tl.trans(tl.load(x + n * by_picture + place, there, 0).to(weight.dtype.element_ty))
    best = tl.full((columns, filters), float("-inf"), tl.float32)
    for part in tl.static_range(shrink * shrink):
        matrix = tl.load(weight + part * taps * filters + (tap[:, None] * filters + filter[None, :]))
        sums = tl.dot(patches, matrix, input_precision=precision)
        inside = (row * shrink + part // shrink < h) & (column * shrink + part % shrink < w)
        best = tl.maximum(best, tl.where(inside[:, None], sums, float("-inf")))
    value = _leaky(best + tl.load(bias + filter, filter < k).to(tl.float32)[None, :], slope)
    to = y + ((n * high + row) * wide * k) + (column[:, None] * k + filter[None, :])
    tl.store(to, value.to(y.dtype.element_ty), (column < wide)[:, None] & (filter < k)[None, :])


def stem(x: Tensor, weight: Tensor, bias: Tensor, slope: float, *, pool: bool = False) -> Tensor:
    """leaky(conv(x) + bias) -> (N, K, H, W) channels last of the weights' type, or the largest of each 2 x 2.

    The convolution is 3 x 3 of stride 1 and padding 1. `x` (N, C, H, W) has any layout and type of floats, `weight` is
    by `stem_weight` with the same `pool`.
    """
    n, c, h, w = x.shape
    k, shrink = len(bias), pool + 1
    high, wide = (h + pool) // shrink, (w + pool) // shrink
    room = weight.ndim == 3 and weight.shape[1] >= c * (shrink + 2) ** 2 and weight.shape[2] >= k
    _check(x, room and len(weight) == shrink**2, weight, weight.is_contiguous())
    _check(x, x.is_floating_point(), bias, bias.is_contiguous())
    y = torch.empty((n, k, high, wide), dtype=weight.dtype, device=x.device, memory_format=torch.channels_last)
    precision = "tf32" if torch.backends.cudnn.allow_tf32 else "ieee"
    columns, warps = (128, 4) if pool else (64, 1)  # of one program; the fastest on an H200
    with torch.cuda.device_of(x):
        _stem[triton.cdiv(wide, columns), high, n](
            x,
            weight,
            bias,
            y,
            c,
            h,
            w,
            *x.stride(),
            k,
            high,
            wide,
            slope,
            shrink=shrink,
            columns=columns,
            taps=weight.shape[1],
            filters=weight.shape[2],
            precision=precision,
            num_warps=warps,
        )
    return y


def _check(x: Tensor, holds: bool, other: Tensor, fits: bool) -> None:
    """Raise `DarknetError` for tensors that a kernel would read outside of."""
    if not (holds and fits and other.is_floating_point() and other.device == x.device):
        shapes = ", ".join(f"{tuple(one.shape)} {one.dtype} on {one.device}" for one in (x, other))
        raise DarknetError(f"a GPU kernel does not take these together: {shapes}")


def stem_weight(weight: Tensor, *, pool: bool = False) -> Tensor | None:
    """Weights (K, C, 3, 3) as `stem` wants them, or None for more than it can.

    These are [outputs][taps][filters]: for each of the outputs that are pooled, what the values of a patch count.
    """
    (k, c), shrink = weight.shape[:2], pool + 1
    taps = c * (shrink + 2) ** 2
    if taps > TAPS or k > CHANNELS:
        return None
    patches = weight.new_zeros(shrink, shrink, k, c, shrink + 2, shrink + 2)
    for i in range(shrink):
        for j in range(shrink):
            patches[i, j, :, :, i : i + 3, j : j + 3] = weight
    least = 16  # of a side of what tensor cores multiply
    wide, high = (max(triton.next_power_of_2(side), least) for side in (k, taps))
    padded = weight.new_zeros(shrink**2, high, wide)
    padded[:, :taps, :k] = patches.view(shrink**2, k, taps).mT
    return padded
