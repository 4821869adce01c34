"""One parser for all benches: the options that each of them has, and their own."""

from __future__ import annotations

import inspect
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tools.bench.harness import Bench
from tools.bench.measuring import BenchError

ABOUT = """Measure what darknet_py costs, alone and beside others.

What is compared takes turns, round after round; ratios are those of each round. A row gives the median and the
quartiles. Other work on the machine spoils the numbers, so its load is stated too.
"""


class UsageError(BenchError):
    """Options that do not go together."""


def parse(benches: Sequence[Bench], argv: Sequence[str] | None) -> Namespace:
    """The arguments; `bench` is the bench that they are for."""
    parser = ArgumentParser(
        prog="python -m tools.bench", description=ABOUT, formatter_class=RawDescriptionHelpFormatter
    )
    chosen = parser.add_subparsers(title="benches", metavar="BENCH", required=True)
    own = {bench: _add(chosen.add_parser, bench) for bench in benches}
    args = parser.parse_args(argv)
    try:
        args.bench.complete(args)
    except UsageError as error:
        own[args.bench].error(str(error))
    return args


def _add(add_parser: Callable[..., ArgumentParser], bench: Bench) -> ArgumentParser:
    title, about = inspect.getdoc(bench), sys.modules[type(bench).__module__].__doc__
    parser = add_parser(bench.name, help=title, description=about, formatter_class=RawDescriptionHelpFormatter)
    parser.set_defaults(bench=bench)
    bench.add_options(parser)
    option = parser.add_argument
    rounds, threads = bench.rounds or "as many as there is time for", bench.threads or "torch's own choice"
    option("--rounds", type=positive, default=bench.rounds, metavar="N", help=f"rounds (default: {rounds})")
    option("--threads", type=positive, default=bench.threads, metavar="N", help=f"of everybody (default: {threads})")
    option("--json", nargs="?", const="-", metavar="FILE", help="print JSON, or write it beside the table")
    option("--check", action="store_true", help="exit with 1 where a limit does not hold")
    return parser


def add_darknet(parser: ArgumentParser) -> None:
    """--darknet."""
    parser.add_argument("--darknet", type=Path, metavar="DIR", help="a checkout of Darknet, for its cfg/ and data/")


def add_only(parser: ArgumentParser, choices: Iterable[str]) -> None:
    """--only, of some parts."""
    names = list(choices)
    parser.add_argument("--only", choices=names, nargs="+", default=names, help="what to measure (default: all)")


def positive(text: str) -> int:
    """A number that starts at 1."""
    return at_least(1, text)


def natural(text: str) -> int:
    """A number that starts at 0."""
    return at_least(0, text)


def at_least(least: int, text: str) -> int:
    """A whole number that is not below another."""
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise ArgumentTypeError(f"a number of {least} or more was expected, not {text!r}")
    return number
