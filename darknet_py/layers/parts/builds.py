"""The two builds of the C program, where they train differently."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias

from torch import nn

Build: TypeAlias = Literal["gpu", "cpu"]


class FollowsBuild(nn.Module):
    """A module that trains in one way as the GPU build does, and in another as the CPU build does."""

    build: Build | None = None  # the one it follows at the moment


@contextmanager
def following(build: Build, modules: Sequence[FollowsBuild]) -> Iterator[None]:
    """Let modules train as one build does, for a while."""
    before = [module.build for module in modules]
    for module in modules:
        module.build = build
    try:
        yield
    finally:
        for module, old in zip(modules, before, strict=True):
            module.build = old
