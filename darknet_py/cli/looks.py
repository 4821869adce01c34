"""Darknet's looks into networks and weights: `statistics`, `print`, `visualize`, `ops` and `speed`."""

from __future__ import annotations

import dataclasses
import json
import math
from argparse import ArgumentParser, Namespace

from darknet_py.cli.network import common_arguments, network_of, takes
from darknet_py.cli.options import Verb, device_arguments, device_of, engine_argument, natural, option, switch

TICS = 1000
FILTERS = "filters.png"


def _visualize_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument(
        "weights",
        metavar="WEIGHTS",
        nargs="?",
        help="the weights; without, filters are random, as at the start of training",
    )
    option(parser, "out", str, FILTERS, f"the picture (default: {FILTERS})")
    option(parser, "layer", natural, None, "the convolution (default: the first)")
    common_arguments(parser)


def _speed_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument(
        "tics", metavar="TICS", nargs="?", type=natural, default=TICS, help=f"evaluations (default: {TICS})"
    )
    device_arguments(parser)
    engine_argument(parser)
    switch(parser, "json", "print JSON")


def _statistics(args: Namespace) -> int:
    from darknet_py.surgery import statistics

    found = list(statistics(network_of(args, args.weights)))
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
    """A number, or None for NaN and infinity, which JSON lacks."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print(args: Namespace) -> int:
    from darknet_py.surgery import matrices

    found = matrices(network_of(args, args.weights), args.n)
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

    save(filters_picture(network_of(args, args.weights), args.layer), args.out)
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


VERBS = {
    "statistics": Verb(
        "print mean and variance of every stored tensor", takes("CFG WEIGHTS", as_json=True), _statistics
    ),
    "print": Verb("print the weights of a layer, one row per filter", takes("CFG WEIGHTS N", as_json=True), _print),
    "visualize": Verb("draw the filters of a convolution", _visualize_arguments, _visualize),
    "ops": Verb("count the floating point operations of a network", takes("CFG", as_json=True), _ops),
    "speed": Verb("time a network", _speed_arguments, _speed),
}
