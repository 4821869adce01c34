"""docs/commands.md: every command with its arguments and options, from the parsers of the command line."""

from __future__ import annotations

from argparse import SUPPRESS, Action, ArgumentParser
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

from darknet_py.cli import GROUPS, VERBS
from darknet_py.cli.options import Verb
from tools.docs.layers import row

SHARED: Final = "Options of several groups"
INTRODUCTION: Final = """\
# Commands

<!-- Written by python -m tools.docs from the parsers in darknet_py/cli/; do not edit. -->

Commands, arguments and options are those of the C program, and a few more. Options take one dash or two and may stand
anywhere after the command. The exit code is 0, or 1 after an error, or 2 if the arguments are wrong. `darknet-py
COMMAND --help` prints what this page says; [recipes](usage.md) show the commands at work, and commands written for
AlexeyAB's Darknet [run as they are](usage.md#flags-of-alexeyabs-darknet).

An option that several commands of a group share is described at the start of the group, one that several groups share
[at the end](#options-of-several-groups).
"""


class Option(NamedTuple):
    """An option as the document describes it."""

    spelling: str
    text: str

    @property
    def name(self) -> str:
        """The option without the name of its value."""
        return self.spelling.split()[0]

    @classmethod
    def of(cls, action: Action) -> Option:
        """The first name of an option, its value, and its line of help."""
        name = action.option_strings[0].lstrip("-")
        name = f"--{name}" if len(name) > 1 and f"--{name}" in action.option_strings else f"-{name}"
        return cls(" ".join((name, *values(action))), (action.help or "").replace("%%", "%"))


def document() -> str:
    """The text of docs/commands.md."""
    parsers = {name: parser_of(name, verb) for name, verb in VERBS.items()}
    groups = {title: shared_of([options_of(parsers[name]) for name in verbs]) for title, verbs in GROUPS.items()}
    everywhere = shared_of(list(groups.values()))
    parts = [INTRODUCTION, *contents()]
    for title, verbs in GROUPS.items():
        parts += [f"## {title.capitalize()}\n", *table(sorted(set(groups[title]) - set(everywhere)))]
        for name, verb in verbs.items():
            parts += command(name, verb, parsers[name], {*groups[title], *everywhere})
    parts += [f"## {SHARED}\n", *table(sorted(everywhere))]
    return "\n".join(parts)


def shared_of(lists: Sequence[Sequence[Option]]) -> list[Option]:
    """The options that more than one of the lists has; of those with one name the most frequent."""
    count = Counter(option for options in lists for option in options)
    by_name: dict[str, Option] = {}
    for option, times in count.most_common():
        if times > 1:
            by_name.setdefault(option.name, option)
    return list(by_name.values())


def table(options: Sequence[Option]) -> Iterator[str]:
    """The options as rows."""
    if options:
        yield "\n".join(("| | |\n|---|---|", *(row(f"`{name}`", text) for name, text in options), ""))


def parser_of(name: str, verb: Verb) -> ArgumentParser:
    """The parser of a command without the flags of AlexeyAB's program, which have a table of their own."""
    parser = ArgumentParser(prog=f"darknet-py {name}", add_help=False)
    verb.arguments(parser)
    return parser


def actions_of(parser: ArgumentParser) -> Iterator[Action]:
    """The arguments that --help shows."""
    return (action for action in parser._actions if action.help != SUPPRESS)  # noqa: SLF001 - argparse has no other way


def options_of(parser: ArgumentParser) -> list[Option]:
    """The options of a command, without its positional arguments."""
    return [Option.of(action) for action in actions_of(parser) if action.option_strings]


def contents() -> Iterator[str]:
    """A table of the commands, one row per group."""
    yield "| | |\n|---|---|"
    for title, verbs in GROUPS.items():
        links = ", ".join(f"[`{name}`](#{name.replace(' ', '-')})" for name in verbs)
        yield row(title, links)
    yield ""


def command(name: str, verb: Verb, parser: ArgumentParser, shared: Collection[Option]) -> Iterator[str]:
    """A heading, the line of help, how the command is called, and its arguments and options."""
    positional = [action for action in actions_of(parser) if not action.option_strings]
    options = options_of(parser)
    yield f"### {name}\n"
    yield f"{verb.help[:1].upper()}{verb.help[1:]}.\n"
    yield f"```text\n{' '.join((parser.prog, *(word for action in positional for word in values(action))))}\n```\n"
    described = [Option(str(action.metavar), action.help) for action in positional if action.help]
    yield from table([*described, *(option for option in options if option not in shared)])
    if names := [f"`{option.name}`" for option in sorted(options) if option in shared]:
        yield f"Also {', '.join(names)}.\n"


def values(action: Action) -> list[str]:
    """What an argument takes, as a usage line writes it."""
    name = str(action.metavar or action.dest.upper())
    if action.choices is not None and action.metavar is None:
        name = f"{{{','.join(map(str, action.choices))}}}"
    forms = {None: [name], 0: [], "?": [f"[{name}]"], "*": [f"[{name} ...]"], "+": [name, "..."]}
    return forms[action.nargs]
