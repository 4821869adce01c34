"""Darknet's surgery on weights: `partial`, `average`, `rescale`, ..."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from darknet_py.cli.network import common_arguments, network_of, takes
from darknet_py.cli.options import Verb, partial_of

if TYPE_CHECKING:
    from darknet_py.network.module import Network


def _average_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("weights", metavar="WEIGHTS", nargs="+")
    common_arguments(parser)


def _save(network: Network, path: str) -> int:
    from darknet_py import weights

    weights.save(network, path)
    return 0


def _change(name: str, args: Namespace) -> int:
    """A command that changes the values of a network."""
    from darknet_py import surgery

    changes = {"rescale": surgery.rescale, "rgbgr": surgery.rgbgr, "reset": surgery.reset}
    network = network_of(args, args.weights)
    changes[name](network)
    return _save(network, args.out)


def _rebuild(name: str, args: Namespace) -> int:
    """A command that writes another network with the same outputs, and its cfg."""
    from darknet_py import surgery
    from darknet_py.cfg import dumps
    from darknet_py.files import replacing

    rebuilds = {"denormalize": surgery.denormalize, "normalize": surgery.normalize}
    network = rebuilds[name](network_of(args, args.weights))
    _save(network, args.out)
    if args.new_cfg:
        with replacing(args.new_cfg, "w", encoding="utf-8") as file:
            file.write(dumps(network.graph.to_sections()))
    return 0


def _partial(args: Namespace) -> int:
    from darknet_py.surgery import partial as save_part

    save_part(network_of(args, args.weights), args.out, args.max)
    return 0


def _average(args: Namespace) -> int:
    from darknet_py import weights
    from darknet_py.network.module import Network
    from darknet_py.surgery import average

    first, *rest = args.weights
    network = network_of(args, first)
    other = Network(network.graph, initialize=False)

    def others() -> Iterator[Network]:
        for path in rest:
            weights.load(other, path, partial=partial_of(args))
            yield other

    average(network, others())
    return _save(network, args.out)


def _oneoff(args: Namespace) -> int:
    from darknet_py.surgery import check_classifier, oneoff

    network = network_of(args, None, lambda graph: check_classifier(graph, args.weights))
    oneoff(network, args.weights)
    return _save(network, args.out)


def _oneoff2(args: Namespace) -> int:
    from darknet_py import weights
    from darknet_py.surgery import oneoff2

    network = network_of(args, None, lambda graph: weights.verify(graph, args.weights, weights.Reading(partial=True)))
    oneoff2(network, args.weights, args.l)
    return _save(network, args.out)


OUT = takes("CFG WEIGHTS OUT")
OUT_AND_CFG = takes("CFG WEIGHTS OUT", new_cfg=True)
VERBS = {
    "partial": Verb("save the first layers of a weights file", takes("CFG WEIGHTS OUT MAX"), _partial),
    "average": Verb("average weights files", _average_arguments, _average),
    "rescale": Verb("change the expected inputs from -1 to 1 into 0 to 1", OUT, partial(_change, "rescale")),
    "rgbgr": Verb(
        "make the first convolution take BGR instead of RGB, or RGB instead of BGR", OUT, partial(_change, "rgbgr")
    ),
    "reset": Verb(
        "fold batch normalization into the weights; it stays, without effect", OUT, partial(_change, "reset")
    ),
    "denormalize": Verb(
        "fold batch normalization into the weights, for a cfg without it", OUT_AND_CFG, partial(_rebuild, "denormalize")
    ),
    "normalize": Verb(
        "add batch normalization without effect, for a cfg with it everywhere",
        OUT_AND_CFG,
        partial(_rebuild, "normalize"),
    ),
    "oneoff": Verb("make a detector from a classifier's weights", OUT, _oneoff),
    "oneoff2": Verb(
        "load a weights file from the first layer on, and again from layer L on", takes("CFG WEIGHTS OUT L"), _oneoff2
    ),
}
