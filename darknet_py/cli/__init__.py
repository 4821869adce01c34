"""The command line: Darknet's commands and arguments, and a few more."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import NoReturn, TextIO

from darknet_py import __version__
from darknet_py.cli import (
    anchors,
    classifier,
    convert,
    demo,
    detector,
    download,
    evaluate,
    inspect,
    joint,
    looks,
    precision,
    surgery,
    train,
    tree,
)
from darknet_py.cli.alexeyab import take_flags
from darknet_py.cli.caret import point
from darknet_py.cli.options import Verb
from darknet_py.cli.output import complain, one_line, plain_output
from darknet_py.errors import MESSAGE, DarknetError, DarknetWarning, memory_errors, os_reason, shown

GROUPS: dict[str, dict[str, Verb]] = {
    "pictures": {**detector.VERBS, **demo.VERBS, **classifier.VERBS},
    "training": train.VERBS,
    "evaluation": {**evaluate.VERBS, **precision.VERBS},
    "files": {**inspect.VERBS, **convert.VERBS, **download.VERBS},
    "data sets": {**anchors.VERBS, **tree.VERBS, **joint.VERBS},
    "surgery on weights": surgery.VERBS,
    "a look inside": looks.VERBS,
}
VERBS: dict[str, Verb] = {name: verb for verbs in GROUPS.values() for name, verb in verbs.items()}


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {shown(message, MESSAGE)}; see {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, or 1 after an error, or 2 for wrong arguments."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    with plain_output(), warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            try:
                return _run(arguments)
            finally:
                print(end="", flush=True)
        except SystemExit as stop:  # argparse, after its message
            return int(stop.code or 0)
        except DarknetError as error:
            complain(error)
            point(error, sys.stderr)
            return 1
        except OSError as error:
            _drop_output()
            if not isinstance(error, BrokenPipeError):  # the reader of our output is gone
                complain(f"{error.filename}: {os_reason(error)}" if error.filename else os_reason(error))
            return 1
        except MemoryError:  # not even enough to format a message
            os.write(2, b"darknet-py: there is not enough memory\n")
            return 1
        except KeyboardInterrupt:
            if os.environ.get("RANK", "0") == "0":  # only one of several processes reports it
                complain("interrupted")
            return 130


def _drop_output() -> None:
    """Discard the output for a broken stdout, which would fail again when Python ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str]) -> int:
    device, arguments = _leading_device(arguments)
    if not arguments or arguments[0] in ("-h", "--help", "-help", "help"):
        print(_usage())
        return 0
    if arguments[0] in ("--version", "-version", "version"):
        print(f"darknet-py {__version__}")
        return 0
    for words in (2, 1):
        name = " ".join(arguments[:words])
        if name in VERBS:
            return _run_verb(name, [*device, *arguments[words:]])
    return _unknown(arguments)


def _leading_device(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Split off -i N and -nogpu before the command, which the C program takes there too."""
    at = 0
    while at < len(arguments) and arguments[at].lstrip("-") in ("i", "nogpu") and arguments[at].startswith("-"):
        at += 1 if arguments[at].endswith("nogpu") else 2
    return arguments[:at], arguments[at:]


def _run_verb(name: str, arguments: list[str]) -> int:
    verb = VERBS[name]
    if any(word == "" or (word.startswith("-") and word.endswith("=")) for word in arguments):
        complain(f"{name}: an argument is empty; a variable that is not set?")
        return 2
    parser = _Parser(prog=f"darknet-py {name}", description=verb.help, allow_abbrev=False)
    verb.arguments(parser)
    if name.split(maxsplit=1)[0] not in {"tree", *GROUPS["files"]}:
        take_flags(parser)
    parser.set_defaults(command=(*name.split(), *arguments))
    args = parser.parse_intermixed_args(arguments)
    with memory_errors(f"this {name!r}"):
        return verb.run(args)


def _unknown(arguments: list[str]) -> int:
    import difflib

    below = [name for name in VERBS if name.startswith(f"{arguments[0]} ")]
    if below and (len(arguments) < 2 or arguments[1] in ("-h", "--help")):
        asked = len(arguments) > 1
        usage = f"usage: darknet-py {arguments[0]} {{{','.join(name.split()[1] for name in below)}}} ..."
        print(usage, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    near = difflib.get_close_matches(" ".join(arguments[:2]), VERBS, 1)
    near = near or difflib.get_close_matches(arguments[0], [name.split()[0] for name in VERBS], 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    complain(f"there is no command {' '.join(arguments[:2])!r}; {hint}see darknet-py --help")
    return 2


def _usage() -> str:
    lines = ["usage: darknet-py COMMAND ... [--help]", "", "Darknet in PyTorch: original cfg and .weights files."]
    width = max(map(len, VERBS))
    for title, verbs in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {name:<{width}}  {verb.help}" for name, verb in verbs.items())]
    return "\n".join(lines)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,  # noqa: ARG001
    lineno: int,  # noqa: ARG001
    file: TextIO | None = None,
    line: str | None = None,  # noqa: ARG001
) -> None:
    """Print a warning as one line, without the place in our code."""
    kind = "warning" if issubclass(category, DarknetWarning) else category.__name__
    print(f"darknet-py: {kind}: {one_line(message)}", file=file or sys.stderr)
