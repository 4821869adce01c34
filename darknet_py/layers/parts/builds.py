"""The CPU and GPU builds of the C program, which train differently."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias

from torch import nn

Build: TypeAlias = Literal["gpu", "cpu"]


class FollowsBuild(nn.Module):
    """A module whose training differs between the builds."""

    build: Build | None = None  # the build that it follows at the moment


@contextmanager
def following(build: Build, modules: Sequence[FollowsBuild]) -> Iterator[None]:
    """Make modules train as one build does inside the block."""
    before = [module.build for module in modules]
    for module in modules:
        module.build = build
    try:
        yield
    finally:
        for module, old in zip(modules, before, strict=True):
            module.build = old
