"""What data sets share: a random picture per sample, and another one if it cannot be used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from darknet_py.cfg import DataFile, find_listed
from darknet_py.cfg.keys import Complain
from darknet_py.data.labels import LabelError
from darknet_py.data.problems import Problems, warn
from darknet_py.errors import CfgError, DarknetError, ImageError, Location
from darknet_py.pictures import opening

DRAWS: Final = 50  # random tries before the list is searched
TRIES: Final = 1000


class Key(NamedTuple):
    """The index of a sample in the whole run, and the input size it is made for."""

    index: int  # type: ignore[assignment]  # hides tuple.index
    width: int
    height: int


@dataclass(frozen=True, eq=False)
class Sample:
    """A training example, and the problems of pictures that were drawn before it and could not be used."""

    image: Tensor  # (C, height, width) float32
    truth: Tensor  # (T,) float32
    problems: tuple[str, ...] = ()


class PictureData(Dataset[tuple[Tensor, Tensor]]):
    """Pictures drawn at random from a list, with replacement, as Darknet draws them.

    Everything random about a sample follows from `seed` and the index in its key, so it is the same in every process.
    A picture that cannot be used is reported once, and another is drawn.
    """

    def __init__(self, paths: Sequence[str], source: str, channels: int, seed: int, report: Complain = warn) -> None:
        """`source` is the list that holds `paths`; messages name it, and its folder is searched too."""
        if not paths:
            raise CfgError("the list is empty", Location(source))
        if channels not in {1, 3, 4}:
            raise DarknetError(f"picture files give 1, 3 or 4 channels, but the network takes {channels}")
        self.paths, self.source, self.channels, self.seed = paths, source, channels, seed
        self.reading, self.problems = opening.in_use(), Problems(report)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        """An image (C, height, width) and its truth (T,); problems are reported here."""
        sample = self.sample(key)
        self.problems.add(sample.problems)
        return sample.image, sample.truth

    def sample(self, key: Key) -> Sample:
        """The sample of a key with its problems; `DarknetError` if no picture can be used."""
        generator = generator_for(self.seed, key.index)
        problems: list[str] = []
        for number in self._numbers(generator):
            try:
                made = self.make(find_listed(self.paths[number], self.source), key, generator)
            except LabelError as error:
                problems += error.problems
            except (ImageError, CfgError) as error:
                problems.append(str(error))
            else:
                return Sample(made.image, made.truth, (*problems, *made.problems))
        raise DarknetError(f"{self.source}: none of the pictures tried can be used; the first: {problems[0]}")

    def make(self, path: str, key: Key, generator: torch.Generator) -> Sample:
        """Make a sample from a picture; raises `ImageError` or `CfgError` if it cannot be used."""
        raise NotImplementedError

    def _numbers(self, generator: torch.Generator) -> Iterator[int]:
        """The pictures to try: some at random, then a stretch of the list, or all of a short list."""
        number = 0
        for _ in range(DRAWS):
            number = int(torch.randint(len(self.paths), (), generator=generator))
            yield number
        for step in range(1, min(len(self.paths), TRIES)):
            yield (number + step) % len(self.paths)


def generator_for(seed: int, index: int) -> torch.Generator:
    """The randomness of one sample."""
    (state,) = np.random.SeedSequence((seed % 2**64, index)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state))


def train_list(data: DataFile) -> str:
    """The file that ``train=`` names."""
    path = data.path("train")
    if path is None:
        raise CfgError("there is no train=, the list of pictures to learn from", Location(data.source))
    return str(path)
