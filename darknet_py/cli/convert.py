"""`convert` and `inspect`."""

from __future__ import annotations

import json
import signal
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

from darknet_py.cli.options import (
    Verb,
    cfg_arguments,
    count,
    dialect_argument,
    fraction,
    natural,
    option,
    partial_of,
    switch,
)
from darknet_py.cli.output import complain
from darknet_py.errors import shown
from darknet_py.files.targets import BY_SUFFIX, takers

if TYPE_CHECKING:
    from darknet_py.convert.inspect import Contents, Row

NAME = 60  # width of a tensor's name in the table
HALVES = {"fp16": "float16", "bf16": "bfloat16"}
LAYOUTS = ("darknet_py", "ultralytics", "eriklindernoren", "marvis")
USAGE = """darknet-py convert CFG SOURCE OUT [options]
       darknet-py convert --inspect FILE [CFG] [--json]"""


def _arguments(parser: ArgumentParser) -> None:
    parser.usage = USAGE
    parser.add_argument(
        "files",
        metavar="CFG SOURCE OUT",
        nargs="*",
        default=[],
        help="SOURCE is .weights, .conv.N, .backup, .pt, .pth or .safetensors; the suffix of OUT says what it becomes: "
        f"{', '.join(map(_described, BY_SUFFIX))}",
    )
    switch(parser, "inspect", "say what FILE holds, as `darknet-py inspect` does")
    parser.add_argument(
        "--layout", choices=LAYOUTS, help="the project whose keys OUT gets, or SOURCE has if OUT has no keys"
    )
    parser.add_argument("--bn-eps", type=_positive, help="epsilon of that project's batch normalization (here: 1e-5)")
    parser.add_argument("--half", choices=HALVES, help="store 16 bits a value")
    parser.add_argument("--fold-bn", action="store_true", help="fold batch normalization into the weights")
    option(parser, "upto", count, None, "only the layers before this one")
    option(parser, "seen", natural, None, "set the number of pictures that the network has seen")
    switch(parser, "decode", f"return boxes and scores instead of the heads' outputs ({takers('decode')})")
    switch(parser, "nms", f"and apply non-maximum suppression ({takers('nms')})")
    option(parser, "thresh", fraction, None, "lowest score with --nms (default: 0.005)")
    option(parser, "iou", fraction, None, "overlap above which --nms drops the lower box (default: 0.45)")
    parser.add_argument(
        "--dynamic-size", action="store_true", help=f"width and height can change ({takers('dynamic_size')})"
    )
    parser.add_argument("--no-check", action="store_true", help="do not compare what was written with the source")
    switch(parser, "partial", "load the part of SOURCE that fits; the rest is random, as for training")
    switch(parser, "transfer", "load the layers that fit from a SOURCE for other classes, and name the others")
    cfg_arguments(parser)
    switch(parser, "json", "print JSON")


def _described(suffix: str) -> str:
    """A suffix, and what it is if few know that."""
    hint = BY_SUFFIX[suffix].hint
    return f"{suffix} ({hint})" if hint else suffix


def _convert(args: Namespace) -> int:
    if args.inspect:
        return _show(args)
    if len(args.files) != 3:
        complain(f"convert takes CFG SOURCE OUT, and {len(args.files)} files are given; see darknet-py convert --help")
        return 2
    import torch

    from darknet_py.convert import convert

    given = {name: getattr(args, name) for name in ("layout", "bn_eps", "thresh", "iou")}
    given = {name: value for name, value in given.items() if value is not None}
    if args.half:
        given["dtype"] = getattr(torch, HALVES[args.half])
    with _clearing_away():
        report = convert(
            *args.files,
            strict=args.strict,
            dialect=args.dialect,
            partial=partial_of(args),
            seen=args.seen,
            upto=args.upto,
            fold_bn=args.fold_bn,
            check=not args.no_check,
            decode=args.decode,
            nms=args.nms,
            dynamic_size=args.dynamic_size,
            **given,
        )
    print(json.dumps(report.as_dict()) if args.json else report)
    return 0


@contextmanager
def _clearing_away() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that no temporary file stays."""

    def stop(_number: int, _frame: object) -> NoReturn:
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _inspect_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="*", default=[], help="the file, and the cfg it belongs to")
    dialect_argument(parser)
    switch(parser, "json", "print JSON")


def _inspect(args: Namespace) -> int:
    return _show(args)


def _show(args: Namespace) -> int:
    if not 1 <= len(args.files) <= 2:
        complain("inspect takes FILE, or FILE CFG; see darknet-py inspect --help")
        return 2
    from darknet_py.convert.inspect import inspect

    contents = inspect(*args.files, dialect=args.dialect)
    print(json.dumps(contents.as_dict()) if args.json else "\n".join(_lines(contents)))
    if contents.problem is not None:
        complain(f"{contents.file}: {contents.problem}")
    return 0 if contents.problem is None else 1


def _lines(contents: Contents) -> Iterator[str]:
    facts = ", ".join(f"{name} {value}" for name, value in contents.facts.items())
    yield f"{shown(contents.file)}: {contents.format}, {facts}, {contents.values:,} values"
    yield from _table(contents.rows)
    for fit in contents.fits:
        whole = "whole" if fit.layers == fit.of else f"its first {fit.layers} of {fit.of} layers"
        yield f"fits {shown(fit.cfg)}: {whole}"


def _table(rows: Sequence[Row]) -> Iterator[str]:
    names = max((len(_name(row)) for row in rows), default=0)
    shapes = max((len(_shape(row)) for row in rows), default=0)
    numbers = "".join(f"{name:>12}" for name in ("mean", "std", "min", "max"))
    yield f"layer  {'type':<15}  {'tensor':<{names}}  {'shape':<{shapes}}{numbers}     NaN"
    for row in rows:
        place = f"{'' if row.layer is None else row.layer:>5}  {row.type or '':<15}"
        values = "".join(f"{value:12.5g}" for value in (row.mean, row.std, row.min, row.max))
        yield f"{place}  {_name(row):<{names}}  {_shape(row):<{shapes}}{values}{row.nans:8d}"


def _name(row: Row) -> str:
    return shown(row.name, NAME)


def _shape(row: Row) -> str:
    return " x ".join(map(str, row.shape))


def _positive(text: str) -> float:
    with suppress(ValueError):
        if 0 < (value := float(text)) < 1:
            return value
    raise ArgumentTypeError(f"{text!r} is no number between 0 and 1")


VERBS = {
    "convert": Verb("convert weights from one format to another, with proof", _arguments, _convert),
    "inspect": Verb("describe a file of weights, tensor by tensor", _inspect_arguments, _inspect),
}
