"""The self-check of a conversion: the network and the written file get the same random input.

Also the steps around it: preparing the network, and moving the checked file to its place.
"""

from __future__ import annotations

import copy
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import torch
from torch import Tensor

from darknet_py.convert.fold import resized
from darknet_py.convert.formats import Format, Options, heads
from darknet_py.errors import CfgError, DarknetError, WeightsError, os_reason
from darknet_py.files import permissions, replacing
from darknet_py.network.modes import looking
from darknet_py.network.module import Network

BATCH: Final = 2
TOLERANCES: Final = {
    torch.float32: 1e-4,
    torch.float16: 1e-2,
    torch.bfloat16: 1e-1,
}  # as a fraction of the output's scale; about ten times the rounding error of 16 bits


@dataclass(frozen=True)
class Proof:
    """The largest difference between outputs, for the output where it is the largest fraction of the scale."""

    difference: float  # the largest difference
    scale: float  # the largest absolute value of that output
    tolerance: float  # the limit of `share`

    @property
    def share(self) -> float:
        """The difference relative to the scale."""
        return self.difference / self.scale if self.scale else self.difference

    @property
    def holds(self) -> bool:
        return self.share <= self.tolerance

    def __str__(self) -> str:
        return (
            f"largest difference {self.difference:.3g} in outputs up to {self.scale:.3g}: "
            f"{self.share:.1e} of the scale, {self.tolerance:.0e} allowed"
        )


def prove(form: Format, path: Path, network: Network, options: Options, source: Network | None = None) -> Proof:
    """Compare a network with the file it was written to, on random input from a fixed seed.

    `source` is the network to compare with if the written one was made from another.
    """
    source = source or network
    if form.values_only:
        network, source = small(network), small(source)
    network.require_memory(BATCH)
    steps = network.graph.net.time_steps if network.graph.recurrent else 1
    shape = (BATCH * steps, *network.input_shape.dims)
    inputs = [torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32)]
    (expected,) = form.expect(source, inputs, options) if form.expect else heads(source, inputs)
    (found,) = form.run(path, network, inputs, options)
    if [tensor.shape for tensor in expected] != [tensor.shape for tensor in found]:
        shapes = [[tuple(tensor.shape) for tensor in outputs] for outputs in (expected, found)]
        raise DarknetError(f"{form.target.title}: outputs are {shapes[0]}, and what was written gives {shapes[1]}")
    tolerance = TOLERANCES.get(options.dtype, TOLERANCES[torch.float32])
    proofs = [_compare(*pair, tolerance) for pair in zip(expected, found, strict=True)]
    return max(proofs, key=lambda proof: proof.share)


def small(network: Network) -> Network:
    """The network for a smaller picture, if it takes one; that uses all weights, too."""
    graph = network.graph
    side = max(3 * graph.stride, 32)
    if not graph.resizable or side >= min(graph.net.width, graph.net.height):
        return network
    try:
        return resized(network, side, side)
    except CfgError:  # too small for one of its layers
        return network


@contextmanager
def ready(network: Network) -> Iterator[Network]:
    """A network on the CPU, in float32, in eval mode and without state: itself if possible, otherwise a copy."""
    network.check_values()
    if (
        network.device.type != "cpu"
        or network.recurrent()
        or any(p.dtype != torch.float32 for p in network.parameters())
    ):
        twin = copy.deepcopy(network).to("cpu", torch.float32).eval()
        twin.carry_state(False)
        yield twin
        return
    with looking(network):
        yield network


@contextmanager
def placing(target: Path) -> Iterator[Path]:
    """A path in a new folder beside the target; the files there are moved over if the block ends without an error.

    After an error the old file stays as it is, and nothing of the new one remains. A target that is not a regular file
    (a pipe, a device) is written directly.
    """
    try:
        if target.exists() and not target.is_file():
            with TemporaryDirectory() as folder:
                path = Path(folder, target.name)
                yield path
                with path.open("rb") as written, replacing(target) as out:
                    shutil.copyfileobj(written, out)
            return
        target = target.resolve()  # a link stays a link
        with TemporaryDirectory(prefix=f".{target.name[:32]}.", dir=target.parent) as folder:
            path = Path(folder, target.name)
            yield path
            path.chmod(permissions(target))
            for file in sorted(Path(folder).iterdir(), key=path.__eq__):  # the target comes last
                file.replace(target.parent / file.name)
    except OSError as error:
        raise WeightsError(f"{target}: cannot be written: {os_reason(error)}") from error


def _compare(expected: Tensor, found: Tensor, tolerance: float) -> Proof:
    expected, found = expected.double(), found.double()
    same = (expected == found) | (expected.isnan() & found.isnan())
    apart = torch.where(same, 0.0, (expected - found).abs()).nan_to_num(math.inf, math.inf)
    finite = expected[expected.isfinite()].abs()
    largest, scale = (float(values.max()) if values.numel() else 0.0 for values in (apart, finite))
    return Proof(largest, scale, tolerance)
