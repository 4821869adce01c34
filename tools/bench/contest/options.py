"""The options of the inference bench."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path

import torch

from darknet_py.engine import BACKENDS, ENGINES, PLAIN
from tools.bench.contest.cases import DTYPES, halves
from tools.bench.options import UsageError, add_darknet, positive
from tools.bench.peers import cpu, cuda
from tools.bench.peers.runner import Build

SIZES, TABLE_SIZES = ((416, 416),), ((320, 320), (416, 416), (608, 608), (544, 320))
BATCHES, TABLE_BATCHES, CUDA_BATCHES = (1, 8), (1, 4, 8), (1, 8, 64)
PEERS: Mapping[str, Mapping[str, Build]] = {"cpu": cpu.PEERS, "cuda": cuda.PEERS}


def kind(args: Namespace) -> str:
    """The kind of device."""
    return torch.device(args.device).type


def size(text: str) -> tuple[int, int]:
    """A width and height: 416 or 544x320."""
    width, _, height = text.partition("x")
    sides = int(width), int(height or width)
    if min(sides) < 1:
        raise ValueError(text)
    return sides


def add_options(parser: ArgumentParser) -> None:
    """All options of its own."""
    add_darknet(parser)
    option = parser.add_argument
    option("--cfg", type=Path, nargs="+", metavar="FILE", help="networks (default: yolov2.cfg yolov3.cfg)")
    option("--weights", type=Path, nargs="+", default=[], metavar="FILE", help="of each cfg (default: random ones)")
    option("--size", type=size, nargs="+", metavar="SIZE", help="416 or 544x320 (default: 416)")
    option("--batch", type=positive, nargs="+", metavar="N", help="pictures at a time (default: 1 8; CUDA: 1 8 64)")
    option("--engines", choices=ENGINES, nargs="+", help="ours (default: all of the device)")
    option("--peers", nargs="*", metavar="NAME", help="who else: " + "; ".join(map(", ".join, PEERS.values())))
    option("--seconds", type=float, default=180, help="how long the cases may take together (default: 180)")
    option("--patience", type=float, default=60, metavar="S", help="how long one that compiles may take (default: 60)")
    option("--device", metavar="DEVICE", help="cpu or cuda (default: cuda where there is one)")
    option("--dtype", choices=DTYPES, nargs="+", help="fp32, fp16, bf16 (default: fp32; CUDA: all)")
    option("--half", action="store_true", help="the 16 bits that our engines have: bf16; CUDA: fp16")
    option("--peak", type=float, metavar="TFLOPS", help="of the card, for shares of it (default: known ones)")
    option("--table", action="store_true", help="the engines alone for many sizes, as markdown")


def complete(args: Namespace) -> None:
    """Set what was not given, by device and --table; raises `UsageError` for options that do not go together."""
    args.device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if args.device.partition(":")[0] not in PEERS:
        raise UsageError(f"the device is cpu or cuda, not {args.device}")
    if args.weights and len(args.weights) != len(args.cfg or ()):
        raise UsageError("--weights are files for each --cfg, in its order")
    on_cuda = kind(args) == "cuda"
    args.size = args.size or (TABLE_SIZES if args.table else SIZES)
    args.batch = args.batch or (TABLE_BATCHES if args.table else CUDA_BATCHES if on_cuda else BATCHES)
    usual = list(DTYPES) if on_cuda else ["fp32"]
    args.dtype = [halves(kind(args))[0]] if args.half else args.dtype or usual
    args.engines = args.engines or [PLAIN, *(backend.name for backend in BACKENDS if backend.device == kind(args))]
    if args.peers is None:
        args.peers = [] if args.table else list(PEERS[kind(args)])
    if wrong := [name for name in args.peers if name not in PEERS[kind(args)]]:
        raise UsageError(f"on {args.device} there is no peer {wrong[0]}; there are {', '.join(PEERS[kind(args)])}")
