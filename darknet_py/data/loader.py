"""Mini-batches of a data set, prepared ahead by worker processes."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Generator, Iterable, Sequence
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from darknet_py.data.base import Key, PictureData, Sample
from darknet_py.errors import DarknetError
from darknet_py.pictures import opening
from darknet_py.pictures.opening import Reading

Batch: TypeAlias = "tuple[Tensor, Tensor, tuple[str, ...]]"


def batches(
    data: PictureData, keys: Iterable[Sequence[Key]], workers: int = 0, *, pin_memory: bool = False
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """Make one mini-batch per sequence of keys, in order: images (N, C, h, w) and truth (N, T).

    The keys of one sequence have one size; workers that become free take the next ones ahead of time. With 0 workers
    each batch is made in this process when it is needed. The batches do not depend on the number of workers. Problems
    are reported here. Closing the iterator ends the workers.
    """
    with warnings.catch_warnings():  # the caller may want more workers than processors
        warnings.simplefilter("ignore", UserWarning)
        loader = DataLoader(
            _Samples(data),
            batch_sampler=map(list, keys),
            num_workers=workers,
            collate_fn=_together,
            worker_init_fn=partial(_start, data.reading),
            pin_memory=pin_memory,
            generator=torch.Generator(),  # the common one stays as it is
        )
        iterator = iter(loader)
    del loader
    try:
        for batch in iterator:
            if isinstance(batch, DarknetError):
                raise batch
            images, truth, problems = batch
            data.problems.add(problems)
            yield images, truth
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        reason = "a worker that loads pictures died, perhaps of too little (shared) memory: use fewer, or none"
        raise DarknetError(reason) from error.with_traceback(None)
    finally:
        del iterator  # ends the workers, even if a traceback keeps this frame alive


class _Samples(Dataset["Sample | DarknetError"]):
    """Samples with their problems; errors are values too, to pass between processes unchanged."""

    def __init__(self, data: PictureData) -> None:
        self.data = data

    def __getitem__(self, key: Key) -> Sample | DarknetError:
        try:
            return self.data.sample(key)
        except DarknetError as error:
            return error.with_traceback(None)


def _together(samples: Sequence[Sample | DarknetError]) -> Batch | DarknetError:
    good: list[Sample] = []
    for sample in samples:
        if isinstance(sample, DarknetError):
            return sample
        good.append(sample)
    images, truth = (default_collate([getattr(sample, name) for sample in good]) for name in ("image", "truth"))
    return images, truth, tuple(problem for sample in good for problem in sample.problems)


def _start(reading: Reading, _worker: int) -> None:
    """Set up a worker: it reads pictures as the parent does, uses one thread and leaves Ctrl-C to the parent."""
    opening.use(reading)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
