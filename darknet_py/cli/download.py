"""`download`."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from darknet_py.cli.options import Verb, natural, switch
from darknet_py.cli.output import raw


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "names", metavar="NAME", nargs="*", default=[], help="yolov2, yolo9000, ...; without, lists all"
    )
    parser.add_argument("--folder", "-o", help="where to (default: the cache folder)")
    parser.add_argument("--mirror", help="another address that has the files")
    text = "the fewest bytes per second over a minute; slower downloads are tried again (default: 1024; 0 waits)"
    parser.add_argument("--slowest", type=natural, default=1024, metavar="N", help=text)
    switch(parser, "force", "fetch again what is already there")
    switch(parser, "json", "print where the files are as JSON")


def _run(args: Namespace) -> int:
    import json
    from contextlib import ExitStack
    from dataclasses import asdict
    from pathlib import Path

    from darknet_py.download import MODELS, download
    from darknet_py.download.progress import bars_of

    if not args.names:
        print(json.dumps(sorted(MODELS)) if args.json else "\n".join(sorted(MODELS)))
        return 0
    for name in args.names:
        with ExitStack() as stack:
            files = asdict(
                download(
                    name,
                    args.folder and Path(args.folder),
                    mirror=args.mirror,
                    force=args.force,
                    progress=not args.json and bars_of(stack, raw(sys.stderr)),
                    expected_bytes=_expected_bytes,
                    slowest=args.slowest,
                )
            )
        if args.json:
            print(json.dumps({"name": name, **files}, default=str))
        else:
            print("\n".join(str(path) for path in files.values() if isinstance(path, Path)))
    return 0


def _expected_bytes(cfg: object) -> tuple[int, ...]:
    from darknet_py.network.graph import Graph
    from darknet_py.weights import expected_bytes

    return expected_bytes(Graph.read(str(cfg)))


VERBS = {"download": Verb("fetch official weights with their cfg and names", _arguments, _run)}
