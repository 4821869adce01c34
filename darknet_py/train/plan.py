"""Plans a run: its samples and sizes, and when to save and to measure."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

from darknet_py.data import Key
from darknet_py.errors import CfgError
from darknet_py.network.graph import Graph
from darknet_py.train.distributed import Share
from darknet_py.train.observers import Update
from darknet_py.train.settings import TrainSettings
from darknet_py.train.sizes import Sizes, size_at


@dataclass(frozen=True)
class Plan:
    """The plan of a run: its end, its input sizes, when it saves and measures."""

    settings: TrainSettings
    start: int  # updates done before
    end: int  # updates after which this run ends
    max_batches: int  # updates in all; a very large number if there is no end
    own_size: tuple[int, int]  # width and height of the cfg
    sizes: Sizes | None  # the sizes to draw from

    @classmethod
    def of(cls, settings: TrainSettings, graph: Graph, start: int, *, resumed: bool = False) -> Plan:
        """Plan a run from `start` on; raises `CfgError` if there is nothing to do or a size is impossible.

        A `resumed` run may have nothing left to do but save its final weights.
        """
        net = graph.net
        most = net.max_batches or (sys.maxsize if settings.manner.endless else 0)
        if not most:
            raise CfgError("[net] max_batches is 0 or missing: say how many batches to train", net.where)
        if start >= most and not resumed:
            raise CfgError(
                f"[net] max_batches={most}, and the weights have seen {start} already: "
                "raise max_batches, or start from 0 with -clear",
                net.where,
            )
        end = most if settings.batches is None else min(most, start + settings.batches)
        plan = cls(settings, start, end, most, (net.width, net.height), _sizes(settings, graph))
        if plan.sizes:
            for side in (plan.sizes.low, plan.sizes.high):
                graph.resized(side, side)
        return plan

    @property
    def last(self) -> int | None:
        """The update that this run ends with; None if it has no end."""
        return None if self.end == sys.maxsize else self.end

    def size(self, batch: int) -> tuple[int, int]:
        """Width and height of the input after `batch` updates."""
        if self.sizes is None:
            return self.own_size
        side = size_at(self.settings.seed, batch, self.max_batches, self.sizes)
        return side, side

    def resizes(self, batch: int) -> bool:
        """Whether a size is drawn after `batch` updates."""
        return self.sizes is not None and (batch == self.start or batch % self.sizes.every == 0)

    def keys(self, share: Share, rows: int, seen: int) -> Iterator[list[Key]]:
        """The samples of all mini-batches of a process; an update takes `rows`, and `seen` came before."""
        for batch in range(self.start, self.end):
            for place in range(share.count):
                yield self.mini_batch(batch, share, place, seen + (batch - self.start) * rows)

    def mini_batch(self, batch: int, share: Share, place: int, seen: int) -> list[Key]:
        """The samples of one mini-batch of a process, in the update that starts with sample `seen`."""
        first = seen + (share.first + place) * share.rows
        width, height = self.size(batch)
        return [Key(first + row, width, height) for row in range(share.rows)]

    def measures(self, batch: int) -> bool:
        """Whether to measure after this many updates."""
        every = self.settings.map_every
        return bool(every and self.settings.valid) and (batch % every == 0 or batch == self.end)

    def backs_up(self, batch: int) -> bool:
        """Whether to save NAME.backup after this many updates."""
        return batch % (self.settings.save_every or self.settings.manner.backup_every) == 0 or batch == self.end

    def number(self, update: Update) -> int | None:
        """The N of the NAME_N.weights to save after an update."""
        return self.settings.manner.number(update)


def _sizes(settings: TrainSettings, graph: Graph) -> Sizes | None:
    """The sizes to draw from, if the cfg asks for it."""
    manner = settings.manner
    if not manner.draws_sizes(graph):
        if settings.sizes is not None:
            raise CfgError("sizes can be chosen for random=1, and this cfg does not have it", graph.net.where)
        return None
    if settings.sizes is None:
        return manner.sizes
    low, high = settings.sizes
    return replace(manner.sizes, low=low, high=high)
