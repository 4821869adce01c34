"""The pictures of a command, from arguments, lists, folders or typed lines."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO, TypeVar

from darknet_py.cli.output import bar
from darknet_py.errors import CfgError, Location

T = TypeVar("T")
LISTS = (".txt", ".list", ".lst")  # suffixes of lists of pictures
SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tga", ".tif", ".tiff", ".webp"}


def image_paths(args: Namespace) -> list[str] | None:
    """The paths of the arguments, or None if the user is to be asked."""
    return expand(args.images) if args.images else None


def sources(paths: list[str] | None, *, as_json: bool) -> Iterable[str]:
    """The paths, or the typed ones."""
    return asked_paths(sys.stderr if as_json else sys.stdout) if paths is None else paths


def progress(results: Iterable[T], paths: list[str] | None, *, quiet: bool) -> Iterator[T]:
    """The results, one per path, with a progress bar if stderr is a terminal."""
    if quiet or paths is None or len(paths) < 2:
        yield from results
        return
    yield from bar(results, total=len(paths), unit="picture", disable=None)


def asked_paths(prompt: TextIO) -> Iterator[str]:
    """Typed or piped paths, one per line, with Darknet's prompt."""
    while True:
        print("Enter Image Path: ", end="", flush=True, file=prompt)
        line = sys.stdin.readline()
        if not line:
            print(file=prompt)
            return
        if path := line.rstrip("\r\n"):
            yield path


def expand(paths: list[str]) -> list[str]:
    """The pictures of paths: a picture itself, the pictures of a folder, or the lines of a list."""
    from darknet_py.cfg import read_pictures

    found: list[str] = []
    for path in paths:
        if Path(path).is_dir():
            inside = sorted(str(p) for p in Path(path).iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
            if not inside:
                raise CfgError("there are no pictures in this folder", Location(path))
            found += inside
        elif path.lower().endswith(LISTS):
            found += read_pictures(path)
        else:
            found.append(path)
    return found
