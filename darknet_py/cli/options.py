"""Shared by the commands: how they are declared, and the options of devices and pictures.

Nothing here imports torch at the top, so that --help and wrong arguments answer at once.
"""

from __future__ import annotations

import gc
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from darknet_py.errors import DarknetError

if TYPE_CHECKING:
    from darknet_py.cfg import DataFile
    from darknet_py.model import Model
    from darknet_py.weights import Partial


@dataclass(frozen=True)
class Verb:
    """A command: its line of help, its arguments and its function; `run` returns the exit code."""

    help: str
    arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]


def option(
    parser: ArgumentParser, name: str, kind: Callable[[str], object], default: object, text: str, *others: str
) -> None:
    """Add an option with a value, as Darknet's `-name` and as `--name`, and likewise under other names."""
    flags, dest = _spelled(name, *others), name.replace("-", "_")
    parser.add_argument(*flags, type=kind, default=default, metavar=name.upper(), dest=dest, help=text)


def switch(parser: ArgumentParser, name: str, text: str, *others: str) -> None:
    """Add an option without a value, as `-name` and as `--name`, and likewise under other names."""
    parser.add_argument(*_spelled(name, *others), action="store_true", dest=name.replace("-", "_"), help=text)


def _spelled(*names: str) -> list[str]:
    return [f"{dashes}{name}" for name in names for dashes in ("-", "--")]


def image_arguments(parser: ArgumentParser) -> None:
    """Add the pictures, any number of them."""
    text = "pictures, folders or .txt lists of pictures; without any, asks for paths"
    parser.add_argument("images", metavar="IMAGE", nargs="*", default=[], help=text)


def cfg_arguments(parser: ArgumentParser, strict: str = "unknown and repeated keys in the cfg are errors") -> None:
    """The options --strict and --dialect: how the cfg is read."""
    switch(parser, "strict", strict)
    dialect_argument(parser)


def dialect_argument(parser: ArgumentParser) -> None:
    """The option --dialect."""
    text = "the dialect of the cfg: darknet reads one that is for AlexeyAB's as the original would (default: refuse it)"
    parser.add_argument("--dialect", type=_dialect, metavar="DIALECT", help=text)


def decoding_arguments(parser: ArgumentParser, *, nms: float) -> None:
    """The options --nms and --hier of decoding."""
    text = f"overlap above which the less sure box goes; 0 keeps all (default: {nms})"
    option(parser, "nms", fraction, nms, text)
    option(parser, "hier", fraction, 0.5, "the probability that a finer class of a tree needs (default: 0.5)")


def thresh_argument(parser: ArgumentParser, thresh: float) -> None:
    """The option --thresh of detections."""
    option(parser, "thresh", fraction, thresh, f"least score (default: {thresh})")


def device_arguments(parser: ArgumentParser) -> None:
    """The options -i, -nogpu, --strict, --dialect, --partial and --transfer."""
    option(parser, "i", int, None, "the GPU to use, counted from 0 (default: the first, if there is one)")
    switch(parser, "nogpu", "use the CPU")
    cfg_arguments(parser)
    weights_arguments(parser)


def weights_arguments(parser: ArgumentParser) -> None:
    """The options --partial and --transfer."""
    switch(parser, "partial", "accept a weights file that is too short or too long")
    switch(parser, "transfer", "load the layers that fit from weights for other classes, and name the others")


def partial_of(args: Namespace) -> Partial:
    """The value of `partial` from the options."""
    return "matching" if args.transfer else bool(args.partial)


def data_arguments(parser: ArgumentParser) -> None:
    """The options --names-anyway, --max-pixels and --exif."""
    switch(parser, "names-anyway", "accept more or fewer names than the network has classes")
    option(parser, "max-pixels", count, 512_000_000, "the largest picture that is read (default: 512000000)")
    switch(parser, "exif", "turn pictures upright by their EXIF orientation, which Darknet ignores")


def engine_argument(parser: ArgumentParser) -> None:
    """The options --engine and --half."""
    option(parser, "engine", str, None, "how to compute: plain, winograd, fused, cuda (default: the fastest there is)")
    switch(parser, "half", "compute with 16 bits where that is faster; scores differ in the third digit")


def load_model(args: Namespace, names: Sequence[str] | DataFile, *, some: bool = False) -> Model:
    """The network of the arguments, on their device; `names` may be those of `some` of the classes."""
    _import_torch()
    from darknet_py.cfg import DataFile
    from darknet_py.model import load

    use_reading(args)
    named: Any = {"data": names} if isinstance(names, DataFile) else {"names": names}
    return load(
        args.cfg,
        args.weights,
        **named,
        device=device_of(args),
        strict=args.strict,
        partial=partial_of(args),
        engine=args.engine,
        half=args.half,
        dialect=args.dialect,
        names_anyway=args.names_anyway or some,
    )


def use_reading(args: Namespace) -> None:
    """Apply the options for reading pictures."""
    from darknet_py.pictures.opening import Reading, use

    use(Reading(args.max_pixels, args.exif))


def _import_torch() -> None:
    """Import torch with the garbage collector paused: what it allocates is never freed."""
    if "torch" in sys.modules:
        return
    before = gc.isenabled()
    gc.disable()
    try:
        import_module("darknet_py.model")
    finally:
        gc.freeze()
        if before:
            gc.enable()


def device_of(args: Namespace) -> str | None:
    """The device of the options; None for the default."""
    if args.nogpu or (args.i is not None and args.i < 0):
        return "cpu"
    return None if args.i is None else f"cuda:{args.i}"


def _dialect(text: str) -> str:
    from darknet_py.cfg.dialects import named

    try:
        named(text)
    except DarknetError as error:
        raise ArgumentTypeError(str(error)) from None
    return text


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    with suppress(ValueError):
        if 0 <= (value := float(text)) <= 1:
            return value
    raise ArgumentTypeError(f"{text!r} is no number from 0 to 1")


def count(text: str) -> int:
    """A number from 1."""
    with suppress(ValueError):
        if (value := int(text)) >= 1:
            return value
    raise ArgumentTypeError(f"{text!r} is no whole number from 1")


def natural(text: str) -> int:
    """A number from 0."""
    with suppress(ValueError):
        if (value := int(text)) >= 0:
            return value
    raise ArgumentTypeError(f"{text!r} is no whole number from 0")
