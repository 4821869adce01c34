"""Updates the weights: runs mini-batches, adds up gradients and takes the optimizer's step."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from darknet_py.devices import after_fork
from darknet_py.errors import DarknetError
from darknet_py.layers.crop import CropModule
from darknet_py.layers.parts.builds import Build, FollowsBuild, following
from darknet_py.loss.base import Loss
from darknet_py.loss.criterion import Criterion, Losses
from darknet_py.network.module import Network
from darknet_py.train.distributed import ALONE, RunningStatistics, World, share_of
from darknet_py.train.memory import arrange, release
from darknet_py.train.optimizer import cpu_optimizer_of, optimizer_of
from darknet_py.train.schedule import rate_at

DRAWING = (nn.Dropout, CropModule)  # layers that draw random numbers while training
OPTIMIZERS = {"gpu": optimizer_of, "cpu": cpu_optimizer_of}


class Stepper:
    """Trains a network batch by batch on its device.

    For every update `accumulate` is called for each of the `share.count` mini-batches, then `update`. `amp` is the
    type of autocast. What layers draw follows from `seed` and the number of pictures seen, so that a resumed run
    draws what it would have. With `build="cpu"` it trains as that build of the C program does, which most recordings
    are from: without adam, clip and smooth, and without the GPU build's limit on gradients of dense layers.

    On the CPU the layers keep the memory of their outputs for the next step, until `close`.
    """

    def __init__(
        self,
        network: Network,
        *,
        amp: torch.dtype | None = None,
        compile: bool = False,  # noqa: A002
        channels_last: bool = True,
        world: World = ALONE,
        seed: int = 0,
        build: Build = "gpu",
    ) -> None:
        """Raise `DarknetError` if the cfg has nothing to train, or a batch that cannot be shared."""
        after_fork()
        self.network, self.world, self.amp, self.seed = network, world, amp, seed
        if compile:
            network.compile()
        self.share = share_of(network.graph.net, world)
        self.criterion = Criterion(network)
        self.channels_last = channels_last and network.input_shape.is_image
        if self.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            if network.device.type == "cpu" and amp is None and not compile:
                arrange(network, self.share.rows)
        self.optimizer = OPTIMIZERS[build](network)
        self.build = build
        self._follow = [module for module in network.modules() if isinstance(module, FollowsBuild)]
        self._statistics = RunningStatistics(network, world)
        self._draws = any(map(_draws, self.criterion.modules()))
        self._run = _parallel(self.criterion, world)
        self._done = 0  # mini-batches since the last update
        self.rate = self.rate_at(self.batch)

    @property
    def batch(self) -> int:
        """The updates so far, from the pictures seen (get_current_batch)."""
        return self.network.seen // self._total

    @property
    def _total(self) -> int:
        """Rows of an update over all processes."""
        return self.share.count * self.share.rows * self.world.size

    def rate_at(self, batch: int) -> float:
        """The learning rate after `batch` updates; policy random draws the same for the same batch."""
        generator = torch.Generator().manual_seed(_number(self.seed, batch))
        return rate_at(self.network.graph.net, batch, generator)

    def accumulate(self, images: Tensor, truth: Tensor) -> Losses:
        """Run images (N, C, H, W) and truth (N, T) forward and backward; gradients add up until `update`."""
        device, last = self.network.device, self._done + 1 == self.share.count
        images, truth = images.to(device, non_blocking=True), truth.to(device, non_blocking=True)
        if self.channels_last and images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        if not self._done:
            self.network.train()
            self._statistics.remember()
        self.network.seen += len(images)
        seen = self.network.seen + self.share.first * len(images)
        with self._alone() if not last else nullcontext():
            autocast = torch.autocast(device.type, self.amp, enabled=self.amp is not None)
            with self._drawing(seen), autocast, following(self.build, self._follow):
                losses: Losses = self._run(images, truth, seen)
            if not self._done:  # only now: the new gradients reuse the memory of the old ones
                self.network.zero_grad(set_to_none=True)
            losses.objective.backward()
        self._done += 1
        return losses

    def update(self) -> None:
        """Change the weights by the sum of the gradients, at the rate of this batch, and start a new sum."""
        if self.world.size > 1:
            self._statistics.combine()
            self.network.seen += self._done * self.share.rows * (self.world.size - 1)
            grads = [weight.grad for weight in self.network.parameters() if weight.grad is not None]
            torch._foreach_mul_(grads, self.world.size)  # DistributedDataParallel gave their mean
        self._done = 0
        self.rate = self.rate_at(self.batch)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        self.optimizer.step()

    def close(self) -> None:
        """Free the memory that layers keep between steps; training can go on, only slower."""
        release(self.network)

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed run needs besides the network's own, as plain tensors and numbers."""
        recurrent = [module.state for module in self.network.recurrent()]
        return {"optimizer": self.optimizer.state_dict(), "seen": self.network.seen, "recurrent": recurrent}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a `state_dict` of the same cfg; raises `DarknetError` if it does not fit."""
        try:
            self.optimizer.load_state_dict(state["optimizer"])
            self.network.seen = int(state["seen"])
            for module, value in zip(self.network.recurrent(), state["recurrent"], strict=True):
                module.state = value
        except (KeyError, TypeError, ValueError) as error:
            raise DarknetError(f"this state is not of a run of {self.network.graph.source}: {error}") from error
        self.rate = self.rate_at(self.batch)

    def _alone(self) -> AbstractContextManager[None]:
        """Keep processes from exchanging the gradients of this mini-batch."""
        return self._run.no_sync() if isinstance(self._run, DistributedDataParallel) else nullcontext()

    @contextmanager
    def _drawing(self, seen: int) -> Iterator[None]:
        """Random numbers that depend only on the seed and `seen`; other generators keep their state."""
        if not self._draws:
            yield
            return
        device = self.network.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(_number(self.seed, seen))
            yield


def _draws(module: nn.Module) -> bool:
    """Whether a module draws random numbers while training."""
    return isinstance(module, DRAWING) or (isinstance(module, Loss) and module.draws)


def _parallel(criterion: Criterion, world: World) -> nn.Module:
    if world.size == 1:
        return criterion
    unused = _has_unused(criterion.network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch 2.13 renames broadcast_buffers
        return DistributedDataParallel(criterion, broadcast_buffers=False, find_unused_parameters=unused)


def _has_unused(network: Network) -> bool:
    """Whether some parameters may get no gradient."""
    graph = network.graph
    computed = graph.needed([node.index for node in graph.nodes if node.layer.is_head] or graph.outputs)
    idle = (node.index <= graph.last_frozen or node.index not in computed for node in graph.nodes if node.blobs)
    return any(idle) or any(node.layer.onlyforward or node.layer.truth for node in graph.nodes)


def _number(seed: int, count: int) -> int:
    """A seed for torch, made from two numbers."""
    return int(np.random.SeedSequence((seed, count)).generate_state(1)[0])
