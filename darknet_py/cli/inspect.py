"""`summary` and `check`."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace

from darknet_py.cli.options import Verb, cfg_arguments, switch


def _summary_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("cfg", metavar="CFG")
    cfg_arguments(parser)
    switch(parser, "json", "print JSON")


def _summary(args: Namespace) -> int:
    from darknet_py.network.graph import Graph
    from darknet_py.network.summary import as_dict, table

    graph = Graph.read(args.cfg, strict=args.strict, dialect=args.dialect)
    print(json.dumps(as_dict(graph)) if args.json else table(graph))
    return 0


def _check_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument(
        "files", metavar="WEIGHTS|DATA", nargs="*", default=[], help="a weights file and a .data file to check with it"
    )
    cfg_arguments(parser, "warnings are errors")
    switch(parser, "json", "print JSON")


def _check(args: Namespace) -> int:
    from darknet_py.check import check
    from darknet_py.cli.evaluate import progress_bar

    data = [path for path in args.files if path.endswith((".data", ".dataset"))]
    weights = [path for path in args.files if path not in data]
    files = weights[0] if weights else None, data[0] if data else None
    with progress_bar(args) as progress:
        problems = check(args.cfg, *files, dialect=args.dialect, progress=progress)
    failed = any(problem.is_error or args.strict for problem in problems)
    if args.json:
        print(json.dumps({"ok": not failed, "problems": [problem.as_dict() for problem in problems]}))
    else:
        print("\n".join([*map(str, problems), f"{args.cfg}: {'has errors' if failed else 'ok'}"]))
    return 1 if failed else 0


VERBS = {
    "summary": Verb("print the layers of a cfg: shapes, parameters, operations", _summary_arguments, _summary),
    "check": Verb("find all mistakes in a cfg, its weights and its data", _check_arguments, _check),
}
