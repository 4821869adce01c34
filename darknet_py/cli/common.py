"""What the verbs share: how they are declared, the options of the device, and where pictures come from.

Nothing here imports torch at the top, so that --help and mistakes in the arguments answer at once.
"""

from __future__ import annotations

import gc
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

from darknet_py.cli.output import bar
from darknet_py.errors import MESSAGE, CfgError, Location, shown

if TYPE_CHECKING:
    from darknet_py.model import Model

T = TypeVar("T")
SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".psd", ".tga", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class Verb:
    """A command: its line of help, its arguments and what it does; `run` gives the exit code."""

    help: str
    arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]


def option(
    parser: ArgumentParser, name: str, kind: Callable[[str], object], default: object, text: str, *others: str
) -> None:  # fmt: skip
    """An option with a value, under Darknet's `-name` and under `--name`, and under other names the same way."""
    parser.add_argument(
        *_spelled(name, *others), type=kind, default=default, metavar=name.upper(), dest=name, help=text
    )  # fmt: skip


def switch(parser: ArgumentParser, name: str, text: str, *others: str) -> None:
    """An option without a value, under `-name` and under `--name`, and under other names the same way."""
    parser.add_argument(*_spelled(name, *others), action="store_true", dest=name.replace("-", "_"), help=text)


def _spelled(*names: str) -> list[str]:
    return [f"{dashes}{name}" for name in names for dashes in ("-", "--")]


def image_arguments(parser: ArgumentParser) -> None:
    """The pictures, any number of them."""
    text = "pictures, folders or .txt lists of them; without, asks for paths"
    parser.add_argument("images", metavar="IMAGE", nargs="*", default=[], help=text)


def device_arguments(parser: ArgumentParser) -> None:
    """The options -i, -nogpu, --strict and --partial."""
    option(parser, "i", int, None, "the GPU to use, counted from 0 (default: the first, if there is one)")
    switch(parser, "nogpu", "use the CPU")
    switch(parser, "strict", "unknown and repeated keys in the cfg are errors")
    switch(parser, "partial", "take a weights file that ends early or goes on")


def engine_argument(parser: ArgumentParser) -> None:
    """The options --engine and --half."""
    option(parser, "engine", str, None, "how to compute: plain, fused, winograd, cuda (default: the fastest there is)")
    switch(parser, "half", "compute with 16 bits where that is faster; scores differ in the third digit")


def load_model(args: Namespace, names: Sequence[str]) -> Model:
    """The network that the arguments name, on the device that they name."""
    _import_torch()
    from darknet_py.model import load

    return load(
        args.cfg, args.weights, names=names, device=device_of(args), strict=args.strict, partial=args.partial,
        engine=args.engine, half=args.half,
    )  # fmt: skip


def _import_torch() -> None:
    """Import torch and what is used with it, without looking for garbage: all of it stays, and looking takes longer."""
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
    """The device that the options name; None is the default."""
    if args.nogpu or (args.i is not None and args.i < 0):
        return "cpu"
    return None if args.i is None else f"cuda:{args.i}"


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


def image_paths(args: Namespace) -> list[str] | None:
    """The pictures that the arguments name, or None where they are to be asked for."""
    return expand(args.images) if args.images else None


def sources(paths: list[str] | None, *, as_json: bool) -> Iterable[str]:
    """The paths, or those that are typed in."""
    return asked_paths(sys.stderr if as_json else sys.stdout) if paths is None else paths


def progress(results: Iterable[T], paths: list[str] | None, *, quiet: bool) -> Iterator[T]:
    """The results, one a path, with a progress bar where stderr is a terminal."""
    if quiet or paths is None or len(paths) < 2:
        yield from results
        return
    yield from bar(results, total=len(paths), unit="picture", disable=None)


def asked_paths(prompt: TextIO) -> Iterator[str]:
    """Paths typed in, or piped in, one a line, asked for as Darknet asks."""
    while True:
        print("Enter Image Path: ", end="", flush=True, file=prompt)
        line = sys.stdin.readline()
        if not line:
            print(file=prompt)
            return
        if path := line.rstrip("\r\n"):
            yield path


def expand(paths: list[str]) -> list[str]:
    """Pictures behind paths: a picture stands for itself, a directory for its pictures, a .txt list for its lines."""
    from darknet_py.cfg import read_list

    found: list[str] = []
    for path in paths:
        if Path(path).is_dir():
            inside = sorted(str(p) for p in Path(path).iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
            if not inside:
                raise CfgError("there are no pictures in this folder", Location(path))
            found += inside
        elif path.lower().endswith(".txt"):
            found += read_list(path)
        else:
            found.append(path)
    return found


def complain(message: object) -> None:
    """A line on stderr about one of several things that went wrong."""
    print(f"darknet-py: {one_line(message)}", file=sys.stderr)


def one_line(message: object) -> str:
    """A message on one line, whatever the names of files in it hold."""
    return shown(" ".join(str(message).split("\n")), MESSAGE)
