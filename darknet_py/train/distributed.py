"""Several processes that train one network: who does what, and what they add up."""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
import torch.distributed as dist
from torch import Tensor, nn

from darknet_py.errors import DarknetError
from darknet_py.layers.parts.batchnorm import MOMENTUM
from darknet_py.network.module import Network
from darknet_py.network.net import Net

VARIABLES: Final = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")  # torchrun sets them


@dataclass(frozen=True)
class World:
    """This process among those that train together."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - it cannot be changed

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """The sum of a tensor of any shape over the processes, in each of them."""
        if self.size > 1:
            values = values.to(self.device, copy=True)
            dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Go on when every process has come here."""
        if self.size > 1:
            dist.barrier()


ALONE: Final = World()


@contextmanager
def joined(device: str | torch.device | None = None) -> Iterator[World]:
    """The processes that torchrun started, or this one alone on `device`; they part at the end.

    Each has the GPU of its local rank where there are enough, and NCCL between them; or the CPU, and gloo. Raises
    `DarknetError` for a device that only one of them can have.
    """
    if not all(name in os.environ for name in VARIABLES):
        yield World(device=torch.device(device or "cpu"))
        return
    rank, size, *local = (_number(name) for name in VARIABLES)
    chosen = _device(torch.device(device) if device else None, *local)
    on_gpu = chosen.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(chosen)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo", rank=rank, world_size=size, device_id=chosen if on_gpu else None
    )
    try:
        yield World(rank, size, chosen)
        dist.barrier()  # nobody leaves while another still talks to it
    finally:
        gc.collect()  # what uses the group goes before it
        dist.destroy_process_group()


def _number(name: str) -> int:
    text = os.environ[name]
    if not text.isdecimal():
        raise DarknetError(f"the environment says {name}={text[:20]!r}, which is no number: start it with torchrun")
    return int(text)


def _device(asked: torch.device | None, rank: int, size: int) -> torch.device:
    """The device of process `rank` of the `size` on this machine."""
    gpus = torch.cuda.device_count()
    if asked is None:
        return torch.device("cuda", rank) if size <= gpus else torch.device("cpu")
    if asked.type != "cuda":
        return asked
    if asked.index is not None or size > gpus:
        raise DarknetError(f"device {asked}: each of {size} processes needs a GPU of its own, and there are {gpus}")
    return torch.device("cuda", rank)


@dataclass(frozen=True)
class Share:
    """The mini-batches of every update that one process does: `count` of `rows` rows from the `first` on."""

    count: int
    rows: int
    first: int = 0


def share_of(net: Net, world: World = ALONE) -> Share:
    """What a process does of the batch, which is that of the cfg however many there are.

    The mini-batches go to the processes in order; where there are too few, or they do not come out even, they are
    split into as few more as do. Raises `DarknetError` where the batch cannot be split so.
    """
    total = net.batch // net.subdivisions * net.subdivisions
    parts = math.lcm(net.subdivisions, world.size)
    if not total or total % parts:
        what = f"{net.where}: batch={net.batch} subdivisions={net.subdivisions}"
        if not total:
            raise DarknetError(f"{what}: no picture is left in a mini-batch")
        raise DarknetError(f"{what}: {world.size} processes cannot share that; batch has to be a multiple of {parts}")
    count = parts // world.size
    return Share(count, total // parts * net.time_steps, world.rank * count)


class RunningStatistics:
    """Running means and variances of several processes, put together as if one had done all mini-batches in order."""

    def __init__(self, network: Network, world: World) -> None:
        self.world = world
        kinds = (nn.BatchNorm1d, nn.BatchNorm2d)
        self.modules = [module for module in network.modules() if isinstance(module, kinds)] if world.size > 1 else []
        self.remember()

    def remember(self) -> None:
        """Take the values as they are now, in all processes, for those to start from."""
        self.values, self.counts = self._values(), self._counts()

    def _values(self) -> Tensor:
        """All running values in a row."""
        values = [value for bn in self.modules for value in (bn.running_mean, bn.running_var)]
        parts = [value.detach() for value in values if value is not None]
        return torch.cat(parts) if parts else torch.empty(0, dtype=torch.float32)

    def _counts(self) -> Tensor:
        """How many batches each running value is made of."""
        parts = [
            bn.num_batches_tracked.expand(2 * bn.num_features)
            for bn in self.modules
            if bn.num_batches_tracked is not None
        ]
        return torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)

    @torch.no_grad()
    def combine(self) -> None:
        """Take in what all processes measured since `remember`.

        k batches turn a running value r into a r + c with a = (1 - momentum)^k, so that the values after all
        processes, one after the other, are a^n r + the sum of a^(n - 1 - rank) c.
        """
        if not self.modules:
            return
        keep = (1 - MOMENTUM) ** (self._counts() - self.counts).to(torch.float64)
        before = self.values.to(torch.float64)
        added = (self._values() - keep * before) * keep ** (self.world.size - 1 - self.world.rank)
        dist.all_reduce(added)
        merged = (keep**self.world.size * before + added).to(self.values.dtype)
        sizes = [bn.num_features for bn in self.modules for _ in range(2)]
        for bn, mean, variance in zip(self.modules, merged.split(sizes)[::2], merged.split(sizes)[1::2], strict=True):
            if bn.running_mean is not None and bn.running_var is not None:
                bn.running_mean.copy_(mean)
                bn.running_var.copy_(variance)
