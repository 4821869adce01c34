"""Memory that layers reuse in every step of training on the CPU, where fresh memory costs more than arithmetic.

The functions here compute what torch's do. Their results stay in a `Workspace`, and gradients overwrite what the
backward pass no longer needs. So backward can run only once, before the next forward; otherwise torch raises.
"""

from __future__ import annotations

from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from darknet_py.layers.parts.activations import Activate
from darknet_py.layers.parts.batchnorm import MOMENTUM, normalize

PARTS: Final = [False, True, True]  # which gradients of batch normalization to compute: those of scales and biases


class Workspace:
    """The memory of one module, for its last shapes; a copy of the module starts without."""

    def __init__(self) -> None:
        self._parts: dict[str, Tensor] = {}

    def __reduce__(self) -> tuple[type[Workspace], tuple[()]]:
        return Workspace, ()

    def take(self, name: str, like: Tensor) -> Tensor:
        """A CPU tensor like `like`, of any shape, in the memory of the last one of this name."""
        old = self._parts.get(name)
        if old is None or (old.shape, old.stride(), old.dtype) != (like.shape, like.stride(), like.dtype):
            self._parts[name] = old = torch.empty_like(like, device="cpu")
        return old.detach()  # which still shares its version counter with `old`

    @staticmethod
    def serves(x: Tensor) -> bool:
        """Whether `x`, of any shape, needs gradients and is float32 on the CPU outside torch.compile."""
        wanted = torch.is_grad_enabled() and x.requires_grad and not torch.compiler.is_compiling()
        return wanted and x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


class KeepsMemory(nn.Module):
    """A module that can reuse the memory of its results while it trains on the CPU."""

    workspace: Workspace | None = None

    def keep(self, on: bool) -> None:
        """Start reusing memory, or free it."""
        self.workspace = Workspace() if on else None


def norm_activate(x: Tensor, bn: nn.BatchNorm2d, activate: nn.Module, space: Workspace | None) -> Tensor:
    """`activate(bn(x))` for an (N, C, H, W) that nothing else needs, in `space` if there is one that can serve."""
    slope = activate.slope if isinstance(activate, Activate) else None
    several = x.numel() > x.shape[1]
    if space is None or slope is None or not (bn.training and several and space.serves(x)):
        return activate(normalize(bn, x))
    y: Tensor = NormActivate.apply(x, bn.weight, bn.bias, bn, slope, space)  # type: ignore[no-untyped-call]
    return y


class NormActivate(torch.autograd.Function):
    """Batch normalization while training, then x or slope * x below 0, for an (N, C, H, W) that nothing else needs."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scales: Tensor, biases: Tensor, bn: nn.BatchNorm2d, slope: float, space: Workspace
    ) -> Tensor:
        """`bn` with its weight and bias, then the activation with that slope below 0."""
        out, mean, inverse = space.take("out", x), torch.empty_like(scales), torch.empty_like(scales)
        bn.get_buffer("num_batches_tracked").add_(1)
        torch.native_batch_norm(
            x, scales, biases, bn.running_mean, bn.running_var, True, MOMENTUM, bn.eps, out=(out, mean, inverse)
        )
        if slope != 1:
            F.leaky_relu_(out, slope)
        ctx.save_for_backward(x, out, scales, mean, inverse)
        ctx.slope, ctx.eps = slope, bn.eps
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Write the gradient before the activation over the output, and that before the normalization over `x`."""
        x, out, scales, mean, inverse = ctx.saved_tensors
        if ctx.slope != 1:
            grad = torch.ops.aten.leaky_relu_backward(grad, out, ctx.slope, True, grad_input=out)
        _, by_scales, by_biases = torch.ops.aten.native_batch_norm_backward(
            grad, x, scales, None, None, mean, inverse, True, ctx.eps, PARTS
        )
        count, sides = x.numel() // len(scales), (-1, 1, 1)
        factor = scales * inverse
        slant = -factor * inverse * by_scales / count
        shift = -factor * by_biases / count - slant * mean
        torch.addcmul(shift.view(sides), x, slant.view(sides), out=x)
        return x.addcmul_(grad, factor.view(sides)), by_scales, by_biases, None, None, None


class MaxPooled(torch.autograd.Function):
    """torch's maximum over windows, of an (N, C, H, W)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: tuple[int, int, int, bool], space: Workspace) -> Tensor:
        """The window is its size, stride, padding and ceil_mode."""
        size, stride, padding, ceil_mode = window
        ctx.window = (size, size), (stride, stride), (padding, padding), (1, 1), ceil_mode
        shapes = torch.ops.aten.max_pool2d_with_indices(torch.empty_like(x, device="meta"), *ctx.window)
        out, place = space.take("out", shapes[0]), space.take("place", shapes[1])
        torch.ops.aten.max_pool2d_with_indices(x, *ctx.window, out=out, indices=place)
        ctx.save_for_backward(place)
        ctx.gradient = space.take("gradient", x)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """The gradient goes to the pixel that was the maximum."""
        (place,) = ctx.saved_tensors
        found: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
            grad, ctx.gradient, *ctx.window, place, grad_input=ctx.gradient
        )
        return found, None, None
