"""Settings of a run that are not in the cfg, and how Darknet's training commands differ."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch

from darknet_py.network.graph import Graph
from darknet_py.train.observers import Update
from darknet_py.train.sizes import CLASSIFIER as CLASSIFIER_SIZES
from darknet_py.train.sizes import DETECTOR as DETECTOR_SIZES
from darknet_py.train.sizes import Sizes

SMALL: Final = 1 << 18  # mini-batches of fewer pixels load faster in this process than in a worker


@dataclass(frozen=True)
class Manner:
    """The differences between `detector train`, `classifier train` and `yolo train`."""

    sizes: Sizes  # the sizes of random=1
    draws_sizes: Callable[[Graph], bool]  # whether the cfg asks for them
    backup_every: int  # batches between two NAME.backup
    number: Callable[[Update], int | None]  # the N if this update gets a NAME_N.weights
    final: str  # added to the name at the end
    endless: bool  # whether max_batches=0 trains without end


def _head_random(graph: Graph) -> bool:
    return graph.nodes[-1].layer.draws_sizes


def _net_random(graph: Graph) -> bool:
    return bool(graph.net.random)


def _never(_graph: Graph) -> bool:
    return False


def _by_hundreds(every: int) -> Callable[[Update], int | None]:
    """Every hundred batches up to a thousand, then less often."""
    return lambda update: (
        update.batch if update.batch % every == 0 or (update.batch < 1000 and update.batch % 100 == 0) else None
    )


def _epoch(update: Update) -> int | None:
    """The number of the epoch that ends with this update, if one does."""
    epochs = update.seen // update.listed
    return epochs if epochs > (update.seen - update.pictures) // update.listed else None


DETECTOR: Final = Manner(DETECTOR_SIZES, _head_random, 100, _by_hundreds(10000), "_final", endless=False)
CLASSIFIER: Final = Manner(CLASSIFIER_SIZES, _net_random, 1000, _epoch, "", endless=True)
YOLO: Final = Manner(DETECTOR_SIZES, _never, 100, _by_hundreds(1000), "_final", endless=False)
MANNERS: Final[Mapping[str, Manner]] = {"detector": DETECTOR, "classifier": CLASSIFIER, "yolo": YOLO}


@dataclass(frozen=True)
class TrainSettings:
    """How to train, in addition to the cfg."""

    folder: Path | None = None  # where weights go; None saves nothing
    name: str = ""  # the name of the weights; empty for the cfg's
    manner: Manner = DETECTOR
    seed: int = 0
    batches: int | None = None  # the most updates of this run; rates follow the cfg's max_batches all the same
    save_every: int | None = None  # batches between two NAME.backup, instead of the manner's
    sizes: tuple[int, int] | None = None  # the smallest and the largest size of random=1
    workers: int = 0  # processes that load pictures
    amp: torch.dtype | None = None  # autocast in this type
    compile: bool = False
    channels_last: bool = True
    deterministic: bool = False
    valid: Sequence[str] = ()  # pictures to measure on
    names: Sequence[str] = field(default=(), repr=False)
    map_every: int = 0  # batches between two measurements; 0 for none


def default_workers(device: str, values: int) -> int:
    """The default number of processes that load pictures; `values` are the pixels of a mini-batch."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if values < SMALL else min(cores, 2 if device == "cpu" else 8)
