"""Darknet's surgery on weights: `partial`, `average`, `rescale`, ...; and `ops` and `speed`."""

from __future__ import annotations

import dataclasses
import json
import math
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from darknet_py.cli.options import (
    Verb,
    cfg_arguments,
    count,
    device_arguments,
    device_of,
    engine_argument,
    option,
    partial_of,
    switch,
    weights_arguments,
)

if TYPE_CHECKING:
    from darknet_py.network.graph import Graph
    from darknet_py.network.module import Network

TICS = 1000
FILTERS = "filters.png"


def _natural(text: str) -> int:
    with suppress(ValueError):
        if (value := int(text)) >= 0:
            return value
    raise ArgumentTypeError(f"{text!r} is no whole number from 0")


NUMBERS = {
    "MAX": (count, "the layers before this one are written"),
    "L": (_natural, "the layer where the file is loaded a second time"),
    "N": (_natural, "the layer"),
}


def _arguments(parser: ArgumentParser, names: str, *, as_json: bool = False, new_cfg: bool = False) -> None:
    """The arguments called `names`, in this order."""
    for name in names.split():
        kind, text = NUMBERS.get(name, (str, None))
        parser.add_argument(name.lower(), metavar=name, type=kind, help=text)
    if new_cfg:
        parser.add_argument("--new-cfg", metavar="FILE", help="where to write the cfg that OUT fits")
    _common(parser, loads="WEIGHTS" in names.split(), as_json=as_json)


def _common(parser: ArgumentParser, *, loads: bool = True, as_json: bool = False) -> None:
    """Options of all; -i and -nogpu are taken, as by the C program, and without effect on the CPU."""
    cfg_arguments(parser)
    if loads:
        weights_arguments(parser)
    parser.add_argument("-i", type=int, help=SUPPRESS)
    parser.add_argument("-nogpu", action="store_true", help=SUPPRESS)
    if as_json:
        switch(parser, "json", "print JSON")


def _average_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("weights", metavar="WEIGHTS", nargs="+")
    _common(parser)


def _visualize_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument(
        "weights", metavar="WEIGHTS", nargs="?", help="without, filters are those that training starts with"
    )
    option(parser, "out", str, FILTERS, f"the picture (default: {FILTERS})")
    option(parser, "layer", _natural, None, "the convolution (default: the first)")
    _common(parser)


def _ops_arguments(parser: ArgumentParser) -> None:
    _arguments(parser, "CFG", as_json=True)


def _speed_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument(
        "tics", metavar="TICS", nargs="?", type=_natural, default=TICS, help=f"evaluations (default: {TICS})"
    )
    device_arguments(parser)
    engine_argument(parser)
    switch(parser, "json", "print JSON")


def _load(args: Namespace, path: str | None, check: Callable[[Graph], object] | None = None) -> Network:
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


def _save(network: Network, path: str) -> int:
    from darknet_py import weights

    weights.save(network, path)
    return 0


def _rewrite(name: str, args: Namespace) -> int:
    """Load, call the function of surgery called `name`, save."""
    from darknet_py import surgery
    from darknet_py.cfg import dumps
    from darknet_py.files import replacing

    network = _load(args, args.weights)
    network = getattr(surgery, name)(network) or network
    _save(network, args.out)
    if getattr(args, "new_cfg", None):
        with replacing(args.new_cfg, "w", encoding="utf-8") as file:
            file.write(dumps(network.graph.to_sections()))
    return 0


def _partial(args: Namespace) -> int:
    from darknet_py.surgery import partial as save_part

    save_part(_load(args, args.weights), args.out, args.max)
    return 0


def _average(args: Namespace) -> int:
    from darknet_py import weights
    from darknet_py.network.module import Network
    from darknet_py.surgery import average

    first, *rest = args.weights
    network = _load(args, first)
    other = Network(network.graph, initialize=False)

    def others() -> Iterator[Network]:
        for path in rest:
            weights.load(other, path, partial=partial_of(args))
            yield other

    average(network, others())
    return _save(network, args.out)


def _oneoff(args: Namespace) -> int:
    from darknet_py.surgery import check_classifier, oneoff

    network = _load(args, None, lambda graph: check_classifier(graph, args.weights))
    oneoff(network, args.weights)
    return _save(network, args.out)


def _oneoff2(args: Namespace) -> int:
    from darknet_py import weights
    from darknet_py.surgery import oneoff2

    network = _load(args, None, lambda graph: weights.verify(graph, args.weights, weights.Reading(partial=True)))
    oneoff2(network, args.weights, args.l)
    return _save(network, args.out)


def _statistics(args: Namespace) -> int:
    from darknet_py.surgery import statistics

    found = list(statistics(_load(args, args.weights)))
    if args.json:
        print(json.dumps([{name: _finite(value) for name, value in dataclasses.asdict(row).items()} for row in found]))
        return 0
    layer = None
    for row in found:
        if row.layer != layer:
            print(f"{'' if layer is None else chr(10)}{row.type.capitalize()} Layer {row.layer}")
            layer = row.layer
        numbers = f"MSE: {row.root_mean_square:.6f}, Mean: {row.mean:.6f}, Variance: {row.variance:.6f}"
        print(f"{row.tensor:<22} {numbers}")
    return 0


def _finite(value: object) -> object:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print(args: Namespace) -> int:
    from darknet_py.surgery import matrices

    found = matrices(_load(args, args.weights), args.n)
    if args.json:
        rows = [[[_finite(value) for value in row] for row in matrix.tolist()] for matrix in found]
        print(json.dumps({"layer": args.n, "weights": rows}))
        return 0
    for row in (row for matrix in found for row in matrix):
        print("".join(f"{value:g} " for value in row.tolist()))
    return 0


def _visualize(args: Namespace) -> int:
    from darknet_py.pictures.files import save
    from darknet_py.surgery import filters_picture

    save(filters_picture(_load(args, args.weights), args.layer), args.out)
    print(args.out)
    return 0


def _ops(args: Namespace) -> int:
    from darknet_py.network.graph import Graph
    from darknet_py.surgery import operations

    total = operations(Graph.read(args.cfg, strict=args.strict, dialect=args.dialect))
    if args.json:
        print(json.dumps({"operations": total}))
    else:
        print(f"Floating Point Operations: {total}\nFloating Point Operations: {total / 1e9:.2f} Bn")
    return 0


def _speed(args: Namespace) -> int:
    from darknet_py.model import load
    from darknet_py.surgery import speed

    model = load(
        args.cfg, device=device_of(args), strict=args.strict, dialect=args.dialect, engine=args.engine, half=args.half
    )
    found = speed(model.network, args.tics or TICS, model.engine)
    device = str(model.network.device)
    rates = {"seconds_each": found.seconds_each, "per_second": found.per_second, "flops": found.flops}
    if args.json:
        print(json.dumps({**dataclasses.asdict(found), **rates, "device": device, "engine": model.engine.name}))
        return 0
    print(f"\n{found.evaluations} evals, {found.seconds:f} Seconds")
    print(f"Floating Point Operations: {found.operations / 1e9:.2f} Bn")
    print(f"FLOPS: {found.flops / 1e9:.2f} Bn")
    print(f"Speed: {found.seconds_each:f} sec/eval\nSpeed: {found.per_second:f} Hz")
    return 0


def _takes(names: str, *, as_json: bool = False, new_cfg: bool = False) -> partial[None]:
    return partial(_arguments, names=names, as_json=as_json, new_cfg=new_cfg)


OUT = _takes("CFG WEIGHTS OUT")
OUT_AND_CFG = _takes("CFG WEIGHTS OUT", new_cfg=True)
VERBS = {
    "partial": Verb("the first layers of a weights file", _takes("CFG WEIGHTS OUT MAX"), _partial),
    "average": Verb("the mean of weights files", _average_arguments, _average),
    "rescale": Verb("inputs from -1 to 1 become inputs from 0 to 1", OUT, partial(_rewrite, "rescale")),
    "rgbgr": Verb("the first convolution takes BGR for RGB, or RGB for BGR", OUT, partial(_rewrite, "rgbgr")),
    "reset": Verb("batch normalization into the weights; it stays, without effect", OUT, partial(_rewrite, "reset")),
    "denormalize": Verb(
        "batch normalization into the weights; a cfg without it", OUT_AND_CFG, partial(_rewrite, "denormalize")
    ),
    "normalize": Verb(
        "batch normalization without effect, for a cfg with it everywhere", OUT_AND_CFG, partial(_rewrite, "normalize")
    ),
    "oneoff": Verb("a detector out of a classifier's weights", OUT, _oneoff),
    "oneoff2": Verb(
        "a weights file from the first layer on, and again from layer L on", _takes("CFG WEIGHTS OUT L"), _oneoff2
    ),
}
LOOKS = {
    "statistics": Verb("mean and variance of every stored tensor", _takes("CFG WEIGHTS", as_json=True), _statistics),
    "print": Verb("the weights of a layer, a row a filter", _takes("CFG WEIGHTS N", as_json=True), _print),
    "visualize": Verb("the filters of a convolution as a picture", _visualize_arguments, _visualize),
    "ops": Verb("floating point operations of a network", _ops_arguments, _ops),
    "speed": Verb("how fast a network is", _speed_arguments, _speed),
}
