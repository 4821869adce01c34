"""Darknet's two optimizers (update_*_layer_gpu and adam_update_gpu)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.sgd import sgd

from darknet_py.errors import CfgError
from darknet_py.layers.base import Role
from darknet_py.network.graph import Node
from darknet_py.network.module import Network


class DarknetSGD(torch.optim.Optimizer):
    """Momentum: v = momentum v - gradient - decay batch w, then w += rate / batch v.

    Gradients are sums over the `batch` rows of an update. A parameter without a gradient still moves: decay and
    momentum act on it, as in the C program on layers that `stopbackward` cuts off.
    """

    def __init__(self, network: Network) -> None:
        """The parameters of a network, grouped by how they are updated."""
        net = network.graph.net
        defaults = {
            "lr": net.learning_rate, "momentum": net.momentum, "decay": net.decay, "clip": net.clip,
            "batch": net.network_batch * net.subdivisions,
        }  # fmt: skip
        super().__init__([_group(kind, members) for kind, members in _kinds(network).items()], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all parameters; a closure is called first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._update(group)
            if group["clips"] and group["clip"]:
                torch._foreach_clamp_min_(group["params"], -group["clip"])
                torch._foreach_clamp_max_(group["params"], group["clip"])
        return loss

    def _update(self, group: dict[str, Any]) -> None:
        self._momentum(group, group["decay"] if group["decays"] else 0.0)

    def _momentum(self, group: dict[str, Any], decay: float) -> None:
        weights, batch, rate = group["params"], group["batch"], group["lr"] * group["scale"] / group["batch"]
        velocity = self._buffers(group, "velocity")
        if _fits_one_pass(weights, group["momentum"]):
            sgd(
                weights,
                [weight.grad for weight in weights],
                list(velocity),
                fused=True,
                maximize=True,
                lr=-rate,
                momentum=group["momentum"],
                weight_decay=-decay * batch,
                dampening=0.0,
                nesterov=False,
            )
            return
        torch._foreach_mul_(velocity, group["momentum"])
        _subtract_gradients(velocity, weights)
        if decay:
            torch._foreach_add_(velocity, weights, alpha=-decay * batch)
        torch._foreach_add_(weights, velocity, alpha=rate)

    def _buffers(self, group: dict[str, Any], name: str) -> list[Tensor]:
        """One tensor per parameter, zeros at first."""
        states = [self.state[weight] for weight in group["params"]]
        for state, weight in zip(states, group["params"], strict=True):
            if name not in state:
                state[name] = torch.zeros_like(weight)
            elif not _alike(state[name], weight):  # from a run with another memory format of the weights
                state[name] = torch.empty_like(weight).copy_(state[name])
        return [state[name] for state in states]


class DarknetAdam(DarknetSGD):
    """Adam on the summed gradients, with decay inside them, on biases and scales too."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        net = network.graph.net
        for name, value in (("B1", net.beta1), ("B2", net.beta2)):
            if not 0 <= value < 1:
                raise CfgError(f"[net] {name}={value:g}: Adam needs 0 or more, and less than 1", net.where)
        for group in self.param_groups:
            group.update(beta1=net.beta1, beta2=net.beta2, eps=net.eps, updates=0)

    def _update(self, group: dict[str, Any]) -> None:
        if not group["adam"]:
            super()._update(group)
            return
        group["updates"] += 1
        first, second, weights = self._buffers(group, "first"), self._buffers(group, "second"), group["params"]
        beta1, beta2, count = group["beta1"], group["beta2"], group["updates"]
        delta = [torch.zeros_like(weight) for weight in weights]
        _subtract_gradients(delta, weights)
        torch._foreach_add_(delta, weights, alpha=-group["decay"] * group["batch"])
        torch._foreach_mul_(first, beta1)
        torch._foreach_add_(first, delta, alpha=1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, delta, delta, 1 - beta2)
        roots = [(square / (1 - beta2**count)).sqrt_() for square in second]
        torch._foreach_add_(roots, group["eps"])
        torch._foreach_addcdiv_(weights, first, roots, group["lr"] * group["scale"] / (1 - beta1**count))


def optimizer_of(network: Network) -> DarknetSGD:
    """The optimizer that the cfg asks for."""
    return DarknetAdam(network) if network.graph.net.adam else DarknetSGD(network)


def cpu_optimizer_of(network: Network) -> DarknetSGD:
    """The optimizer of the CPU build, which has neither adam nor clip."""
    optimizer = DarknetSGD(network)
    for group in optimizer.param_groups:
        group["clip"] = 0.0
    return optimizer


@dataclass(frozen=True)
class _Kind:
    """How a group of parameters is updated."""

    scale: float  # factor of the learning rate
    decays: bool
    clips: bool
    adam: bool


def _kinds(network: Network) -> dict[_Kind, list[Tensor]]:
    kinds: dict[_Kind, list[Tensor]] = {}
    for kind, weight in _parameters(network):
        kinds.setdefault(kind, []).append(weight)
    return kinds


def _parameters(network: Network) -> Iterator[tuple[_Kind, Tensor]]:
    """All trained parameters, in the order of the layers."""
    for node in network.graph.nodes:
        if node.layer.update.trained:
            for blob in node.blobs:
                if blob.learned:
                    yield _kind(node, blob.role), network.stored(node.index, blob)


def _kind(node: Node, role: Role) -> _Kind:
    update, is_weight = node.layer.update, role == "weight"
    return _Kind(
        scale=node.layer.learning_rate if update.scaled else 1.0,
        decays=is_weight,
        clips=is_weight and update.clipped,
        adam=update.adam,
    )


def _group(kind: _Kind, members: list[Tensor]) -> dict[str, Any]:
    return {
        "params": members, "scale": kind.scale, "decays": kind.decays, "clips": kind.clips, "adam": kind.adam
    }  # fmt: skip


def _fits_one_pass(weights: Sequence[Tensor], momentum: float) -> bool:
    """Whether torch's fused SGD can do an update: it needs one memory order, and keeps no state without momentum."""
    if not momentum or any(weight.device.type != "cpu" for weight in weights):
        return False
    return all(weight.grad is not None and _alike(weight.grad, weight) for weight in weights)


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one shape have the same order in memory."""
    sides = zip(one.shape, one.stride(), other.stride(), strict=True)
    return all(mine == theirs for size, mine, theirs in sides if size > 1)


def _subtract_gradients(sums: list[Tensor], weights: list[Tensor]) -> None:
    pairs = [(total, weight.grad) for total, weight in zip(sums, weights, strict=True) if weight.grad is not None]
    if pairs:
        torch._foreach_sub_([total for total, _ in pairs], [grad for _, grad in pairs])
