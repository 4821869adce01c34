"""Shared by the commands on weights: their arguments, and the network on the CPU."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from darknet_py.cli.options import cfg_arguments, count, natural, partial_of, switch, weights_arguments

if TYPE_CHECKING:
    from darknet_py.network.graph import Graph
    from darknet_py.network.module import Network

NUMBERS = {
    "MAX": (count, "the layers before this one are written"),
    "L": (natural, "the layer where the file is loaded a second time"),
    "N": (natural, "the layer"),
}


def takes(names: str, *, as_json: bool = False, new_cfg: bool = False) -> Callable[[ArgumentParser], None]:
    """A function that declares the arguments `names`, in this order, and the common options."""
    return partial(_declare, names=names.split(), as_json=as_json, new_cfg=new_cfg)


def _declare(parser: ArgumentParser, names: list[str], *, as_json: bool, new_cfg: bool) -> None:
    for name in names:
        kind, text = NUMBERS.get(name, (str, None))
        parser.add_argument(name.lower(), metavar=name, type=kind, help=text)
    if new_cfg:
        parser.add_argument("--new-cfg", metavar="FILE", help="where to write the cfg that OUT fits")
    common_arguments(parser, loads="WEIGHTS" in names)
    if as_json:
        switch(parser, "json", "print JSON")


def common_arguments(parser: ArgumentParser, *, loads: bool = True) -> None:
    """Common options; -i and -nogpu are accepted, as by the C program, but have no effect."""
    cfg_arguments(parser)
    if loads:
        weights_arguments(parser)
    parser.add_argument("-i", type=int, help=SUPPRESS)
    parser.add_argument("-nogpu", action="store_true", help=SUPPRESS)


def network_of(args: Namespace, path: str | None, check: Callable[[Graph], object] | None = None) -> Network:
    """The network in eval mode on the CPU; values that a file lacks are drawn from a fixed seed.

    `check` is called with the graph before the network is built.
    """
    import torch

    from darknet_py import weights
    from darknet_py.network.graph import Graph
    from darknet_py.network.module import Network

    graph, generator = Graph.read(args.cfg, strict=args.strict, dialect=args.dialect), torch.Generator().manual_seed(0)
    if check is not None:
        check(graph)
    if path is None:
        return Network(graph, generator=generator).eval()
    network, _ = weights.made(graph, path, weights.Reading(partial=partial_of(args)), generator=generator)
    return network.eval()
