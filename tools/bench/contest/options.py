"""What the bench of inference can be asked for, and what it does where it is not."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from darknet_py.engine import DEVICES, ENGINES
from tools.bench.contest.cases import DTYPES, HALVES
from tools.bench.peers import cpu as peers
from tools.bench.peers import cuda as peers_cuda
from tools.bench.peers.cpu import Build

SIZES, TABLE_SIZES = ((416, 416),), ((320, 320), (416, 416), (608, 608), (544, 320))
BATCHES, TABLE_BATCHES, CUDA_BATCHES = (1, 8), (1, 4, 8), (1, 8, 64)
PEERS: Mapping[str, Mapping[str, Build]] = {"cpu": peers.PEERS, "cuda": peers_cuda.PEERS}


def kind(args: argparse.Namespace) -> str:
    """The kind of device."""
    return torch.device(args.device).type


def size(text: str) -> tuple[int, int]:
    """A width and height: 416 or 544x320."""
    width, _, height = text.partition("x")
    sides = int(width), int(height or width)
    if min(sides) < 1:
        raise ValueError(text)
    return sides


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, with what follows from them."""
    parser = argparse.ArgumentParser(description="Measure how fast networks are computed, beside other engines.")
    option = parser.add_argument
    option("--darknet", type=Path, metavar="DIR", help="a checkout of Darknet, for its cfg/")
    option("--cfg", type=Path, nargs="+", metavar="FILE", help="networks (default: yolov2.cfg yolov3.cfg)")
    option("--weights", type=Path, nargs="+", default=[], metavar="FILE", help="of each cfg (default: random ones)")
    option("--size", type=size, nargs="+", metavar="SIZE", help="416 or 544x320 (default: 416)")
    option("--batch", type=int, nargs="+", metavar="N", help="pictures at a time (default: 1 8; CUDA: 1 8 64)")
    option("--threads", type=int, default=2, metavar="N", help="of everybody (default: 2)")
    option("--engines", choices=ENGINES, nargs="+", help="ours (default: all of the device)")
    option("--peers", nargs="*", metavar="NAME", help="who else: " + "; ".join(map(", ".join, PEERS.values())))
    option("--rounds", type=int, metavar="N", help="rounds of each case (default: what --seconds allows)")
    option("--seconds", type=float, default=180, help="how long the cases may take together (default: 180)")
    option("--patience", type=float, default=60, metavar="S", help="how long one that compiles may take (default: 60)")
    option("--device", metavar="DEVICE", help="cpu or cuda (default: cuda where there is one)")
    option("--dtype", choices=DTYPES, nargs="+", help="fp32, fp16, bf16 (default: fp32; CUDA: all)")
    option("--half", action="store_true", help="the 16 bits that our engines have: bf16; CUDA: fp16")
    option("--peak", type=float, metavar="TFLOPS", help="of the card, for shares of it (default: known ones)")
    option("--table", action="store_true", help="the engines alone for many sizes, as markdown")
    option("--json", nargs="?", const="-", metavar="FILE", help="print JSON, or write it beside the table")
    option("--check", action="store_true", help="exit with 1 where a limit does not hold")
    args = parser.parse_args(argv)
    counts = (args.threads, *(args.batch or ()), 1 if args.rounds is None else args.rounds)
    if min(counts) < 1:
        parser.error("threads, batches and rounds start at 1")
    args.device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if args.device.partition(":")[0] not in PEERS:
        parser.error(f"the device is cpu or cuda, not {args.device}")
    if args.weights and len(args.weights) != len(args.cfg or ()):
        parser.error("--weights are files for each --cfg, in its order")
    fill(args)
    if wrong := [name for name in args.peers if name not in PEERS[kind(args)]]:
        parser.error(f"on {args.device} there is no peer {wrong[0]}; there are {', '.join(PEERS[kind(args)])}")
    return args


def fill(args: argparse.Namespace) -> None:
    """What was not given, by device and --table."""
    cuda = kind(args) == "cuda"
    args.size = args.size or (TABLE_SIZES if args.table else SIZES)
    args.batch = args.batch or (TABLE_BATCHES if args.table else CUDA_BATCHES if cuda else BATCHES)
    usual = list(DTYPES) if cuda else ["fp32"]
    args.dtype = [HALVES[kind(args)][0]] if args.half else args.dtype or usual
    args.engines = args.engines or [name for name in ENGINES if DEVICES.get(name, kind(args)) == kind(args)]
    if args.peers is None:
        args.peers = [] if args.table else list(PEERS[kind(args)])
