"""What the verbs on weights share: their arguments, and the network on the CPU that they work on."""

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
    """What declares the arguments called `names`, in this order, and the options of all."""
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
    """Options of all; -i and -nogpu are taken, as by the C program, and without effect on the CPU."""
    cfg_arguments(parser)
    if loads:
        weights_arguments(parser)
    parser.add_argument("-i", type=int, help=SUPPRESS)
    parser.add_argument("-nogpu", action="store_true", help=SUPPRESS)


def network_of(args: Namespace, path: str | None, check: Callable[[Graph], object] | None = None) -> Network:
    """The network in eval mode on the CPU; what a file does not hold is drawn, the same every time.

    `check` looks at the graph before there is a network.
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
