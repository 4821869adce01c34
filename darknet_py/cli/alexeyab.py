"""Flags of AlexeyAB's Darknet, as in commands from the web: ignored, or refused with an alternative.

Commands declare those with an effect themselves; docs/usage.md has a table of all.
"""

from __future__ import annotations

from argparse import SUPPRESS, Action, ArgumentError, ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

NETWORK: Final = "nothing is served or sent; --json prints the results, -out writes them, and training draws chart.png"
DEMO: Final = "that is for detector demo"


@dataclass(frozen=True)
class Flag:
    """A flag of that program that a command here does not have."""

    values: int = 0  # number of values
    advice: str = ""  # why it is refused and what to use instead; without, it is ignored


FLAGS: Final = {
    # windows, which only -show opens, and what is always so here
    "dont_show": Flag(),
    "show": Flag(),
    "show_imgs": Flag(),
    "letter_box": Flag(),
    "benchmark": Flag(),
    # settings of other commands, which that program reads everywhere
    "i": Flag(1),
    "nogpu": Flag(),
    "thresh": Flag(1),
    "hier": Flag(1),
    "points": Flag(1),
    "map": Flag(),
    "mAP_epochs": Flag(1),
    "clear": Flag(),
    "ext_output": Flag(),
    "dontdraw_bbox": Flag(),
    "avgframes": Flag(1),
    "time_limit_sec": Flag(1),
    "c": Flag(1),
    "s": Flag(1),
    # settings that would change results or write files
    "iou_thresh": Flag(1, "that is for detector map; a training measures with an overlap of 0.5"),
    "save_labels": Flag(0, "that is for detector test"),
    "out": Flag(1, "that is for detector test, demo and valid"),
    "out_filename": Flag(1, DEMO),
    "prefix": Flag(1, DEMO),
    "chart": Flag(1, "that is for detector train"),
    "num_of_clusters": Flag(1, "that is for detector calc_anchors"),
    "width": Flag(1, "that is for detector calc_anchors; the size of the network is in its cfg"),
    "height": Flag(1, "that is for detector calc_anchors; the size of the network is in its cfg"),
    "mjpeg_port": Flag(1, NETWORK),
    "json_port": Flag(1, NETWORK),
    "http_post_host": Flag(1, NETWORK),
    "json_file_output": Flag(1, "use --json > FILE"),
    "benchmark_layers": Flag(0, "layers are not timed; darknet-py speed CFG times the network"),
}


class _Taken(Action):
    def __call__(self, parser: ArgumentParser, args: Namespace, values: object, option: str | None = None) -> None:
        """Do nothing."""


class _Refused(Action):
    def __call__(self, parser: ArgumentParser, args: Namespace, values: object, option: str | None = None) -> None:
        """Exit with the advice."""
        parser.error(f"{option}: {self.metavar}")


class _OneGpu(Action):
    def __call__(
        self, parser: ArgumentParser, args: Namespace, values: str | Sequence[Any] | None, option: str | None = None
    ) -> None:
        """Take -gpus N as -i N."""
        text = str(values)
        if not text.removeprefix("-").isdecimal():
            parser.error(f"{option}: {text!r} is no number of a GPU; this runs on one, which -i chooses")
        args.i = int(text)


def take_flags(parser: ArgumentParser) -> None:
    """Add the flags that a command does not declare itself, to be ignored or refused."""
    _add(parser, "gpus", _OneGpu)
    for name, flag in FLAGS.items():
        if flag.advice:  # with its value or without
            _add(parser, name, _Refused, metavar=flag.advice, nargs="?" if flag.values else 0)
        else:
            _add(parser, name, _Taken, nargs=flag.values)


def _add(parser: ArgumentParser, name: str, action: type[Action], **options: Any) -> None:
    for spelled in (f"-{name}", f"--{name}"):
        with suppress(ArgumentError):  # the command has it
            parser.add_argument(spelled, action=action, dest=SUPPRESS, default=SUPPRESS, help=SUPPRESS, **options)
