"""Where the pictures of a verb come from: arguments, lists, folders, or lines that are typed in."""

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
    """Pictures behind paths: a picture stands for itself, a directory for its pictures, a list for its lines."""
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
