"""Measure from files to boxes: what a list of pictures takes beyond the network alone, and a cold start.

Usage::

    python -m tools.bench.end_to_end [--cfg FILE] [--weights FILE] [--size PIXELS] [--pictures N] [--batch N]
        [--device DEVICE] [--half] [--threads N] [--rounds N] [--only COST ...] [--json [FILE]] [--check]

`list`: JPEGs of 640 x 480 in a folder become `Detections`, against forward passes of the same engine and batch on one
tensor, and against the plain loop that OpenCV users write, where OpenCV can read Darknet's files. What no way around
decoding JPEGs could be faster than is the time of the network plus what Pillow's decoder works on them, spread over the
threads. `parts` are what one picture costs, in one thread. `start` is the whole process of `detector test --json` with
one picture, against one that imports torch and reads the file of weights.

Without --weights they are random, but so that a few boxes are found in a picture. What is compared takes turns, round
after round, after one that does not count; ratios and differences are those of each round, and a line gives the median
and the quartiles. "worked" is the time of the processor over all threads, which suffers less from other work on the
machine. `--check` exits with 1 where a limit does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import chain
from operator import add, truediv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from darknet_py import weights
from darknet_py.decode import Settings
from darknet_py.detect import Detections
from darknet_py.errors import CfgWarning, DarknetError
from darknet_py.files import replacing
from darknet_py.fitting import fitted
from darknet_py.graph import Graph
from darknet_py.layers.region import Region
from darknet_py.layers.yolo import Yolo
from darknet_py.model import Model, load
from darknet_py.network import Network
from darknet_py.picture import read_pixels
from tools.bench.measuring import (
    ROOT,
    BenchError,
    Line,
    command,
    environment,
    excess,
    milliseconds,
    ratio,
    sample,
    spread,
    table,
)
from tools.datasets.drawing import draw

CFG_FILE, DATA = ROOT / "cfg/yolov2-tiny.cfg", ROOT / "cfg/coco.data"
PICTURE, QUALITY = (640, 480), 85
SURE = 10  # boxes of the first picture that made weights are sure of
THRESH, NMS = 0.5, 0.45
MOST, START = 1.1, 600  # times the forward pass; milliseconds
Cost = Callable[["Setup"], Iterator[Line]]


@dataclass(frozen=True, eq=False)
class Setup:
    """What is measured: a model, its files and a list of pictures."""

    model: Model
    cfg: Path
    weights: Path
    paths: Sequence[str]
    batch: int
    rounds: int

    @property
    def settings(self) -> Settings:
        return Settings(THRESH)

    def forward(self) -> None:
        """Passes for all pictures, the last ones in a batch of their own."""
        _, h, w = self.model.network.input_shape
        device = self.model.network.device
        x = torch.full((self.batch, 3, h, w), 0.5, device=device).contiguous(memory_format=torch.channels_last)
        whole, rest = divmod(len(self.paths), self.batch)
        for part in chain([x] * whole, [x[:rest]] * bool(rest)):
            self.model.engine.heads(part)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def detect(self) -> int:
        """From paths to boxes; how many."""
        seen = self.model.detector.detect_each(self.paths, self.settings, NMS, self.batch)
        return sum(len(one.found) for one in seen if isinstance(one.found, Detections))


def listing(setup: Setup) -> Iterator[Line]:
    """A list of pictures, against the network alone."""
    works: dict[str, Callable[[], object]] = {
        "forward": setup.forward,
        "list": setup.detect,
        "JPEG": partial(jpegs, setup),
    }
    try:
        works["OpenCV"] = opencv(setup)
    except BenchError as error:
        yield Line("list", "OpenCV's loop", None, note=str(error))
    wall, worked = both_clocks(works, setup.rounds)
    count, threads = len(setup.paths), torch.get_num_threads()
    titles = {
        "forward": "forward alone",
        "list": "JPEG to boxes",
        "JPEG": "decoding JPEGs alone, 1 thread",
        "OpenCV": "OpenCV's loop",
    }
    for name in works:
        yield milliseconds("list", f"{titles[name]}, a picture", [value / count for value in wall[name]])
        yield milliseconds("list", f"{titles[name]}, worked", [value / count for value in worked[name]])
    note = f"{setup.detect() / count:.1f} boxes a picture"
    most = MOST if setup.model.network.device.type == "cpu" else None
    yield ratio("list", "JPEG to boxes / forward", wall["list"], wall["forward"], most)
    yield spread("list", "the same, worked", list(map(truediv, worked["list"], worked["forward"])), "x", note=note)
    least = map(add, wall["forward"], (value / threads for value in worked["JPEG"]))
    yield spread("list", "(forward + JPEG) / forward", list(map(truediv, least, wall["forward"])), "x")
    if "OpenCV" in works:
        yield ratio("list", "JPEG to boxes / OpenCV's loop", wall["list"], wall["OpenCV"])


def parts(setup: Setup) -> Iterator[Line]:
    """What one picture costs, step by step, in one thread; the median over pictures."""
    model, some = setup.model, setup.paths[:20]
    _, h, w = model.network.input_shape
    images = [read_pixels(path) for path in some]
    outputs = list(chain.from_iterable(model.detector.outputs([image]) for image in images))

    def decode(n: int) -> object:
        return model.detector.decode(outputs[n], PICTURE, setup.settings, NMS)

    steps: Mapping[str, Callable[[int], object]] = {
        "decode a JPEG": lambda n: decoded(some[n]),
        "read a picture (with that)": lambda n: read_pixels(some[n]),
        "letterbox it": lambda n: fitted([images[n]], w, h),
        "decode boxes, NMS": decode,
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name, step in steps.items():
        best = [min(thread_seconds(partial(step, n)) for _ in range(setup.rounds)) for n in range(len(some))]
        yield milliseconds("parts", name, best)
    torch.set_num_threads(threads)


def starting(setup: Setup) -> Iterator[Line]:
    """`detector test`, a process, beyond importing torch and reading the weights."""
    python, files = sys.executable, (str(setup.cfg), str(setup.weights))
    idle = f"import torch, numpy; numpy.fromfile({files[1]!r}, numpy.float32)"
    test = (python, "-m", "darknet_py", "detector", "test", str(DATA), *files, setup.paths[0], "--json", "-nogpu")
    works = {"idle": command(python, "-c", idle), "test": command(*test)}
    found = sample(works, setup.rounds)
    yield milliseconds("start", "import torch, read the weights", found["idle"])
    yield milliseconds("start", "detector test", found["test"])
    yield excess("start", "detector test beyond that", found["test"], found["idle"], START)


COSTS: Mapping[str, Cost] = {"list": listing, "parts": parts, "start": starting}


def both_clocks(
    works: Mapping[str, Callable[[], object]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of each work on the clock, and of the processor over all threads."""
    worked: dict[str, list[float]] = {name: [] for name in works}

    def work(name: str) -> float:
        start, before = time.perf_counter(), time.process_time()
        works[name]()
        worked[name].append(time.process_time() - before)
        return time.perf_counter() - start

    wall = sample({name: partial(work, name) for name in works}, rounds)
    return wall, {name: seconds[1:] for name, seconds in worked.items()}


def thread_seconds(function: Callable[[], object]) -> float:
    """What a call costs this thread."""
    start = time.thread_time()
    function()
    return time.thread_time() - start


def jpegs(setup: Setup) -> None:
    """Decode all pictures and drop them."""
    for path in setup.paths:
        decoded(path)


def decoded(path: str) -> None:
    """What Pillow does for a picture, without handing out its pixels."""
    with Image.open(path) as picture:
        picture.load()


def opencv(setup: Setup) -> Callable[[], object]:
    """The loop that OpenCV users write, a picture at a time: imread, blobFromImage, forward, NMSBoxes."""
    try:
        cv2 = import_module("cv2")
    except ImportError as error:
        raise BenchError("OpenCV is not installed") from error
    if not hasattr(cv2.dnn, "readNetFromDarknet"):
        raise BenchError(f"OpenCV {cv2.__version__} cannot read Darknet's files any more; 4.x can")
    cv2.setNumThreads(torch.get_num_threads())
    net = cv2.dnn.readNetFromDarknet(str(setup.cfg), str(setup.weights))
    names = net.getUnconnectedOutLayersNames()
    _, h, w = setup.model.network.input_shape

    def detect(path: str) -> int:
        image = cv2.imread(path)
        net.setInput(cv2.dnn.blobFromImage(image, 1 / 255, (w, h), swapRB=True))
        rows = np.concatenate(net.forward(names))
        scores = rows[:, 5:].max(1)
        sure = scores > THRESH
        boxes = rows[sure, :4] * np.tile(image.shape[1::-1], 2)
        boxes[:, :2] -= boxes[:, 2:] / 2
        return len(cv2.dnn.NMSBoxes(boxes.tolist(), scores[sure].tolist(), THRESH, NMS))

    return lambda: sum(map(detect, setup.paths))


def make_pictures(folder: Path, count: int) -> list[str]:
    """Write pictures of coloured shapes."""
    paths = [str(folder / f"{n:04}.jpg") for n in range(count)]
    for n, path in enumerate(paths):
        picture, _ = draw(np.random.default_rng(n), PICTURE)
        picture.save(path, quality=QUALITY)
    return paths


def make_weights(graph: Graph, picture: Tensor, path: Path) -> None:
    """Save random weights with which about `SURE` boxes of the first class are found in a picture, in all heads."""
    network = Network(graph, generator=torch.Generator().manual_seed(0)).eval()
    for head in graph.heads:
        layer, (source,) = head.layer, head.sources
        if not isinstance(layer, (Region, Yolo)):
            raise BenchError(f"{graph.source} does not end in [region] or [yolo]: name --weights of its own")
        with torch.inference_mode():
            x = fitted([picture], graph.input_shape.w, graph.input_shape.h)
            logits = network.tap(x, [source])[source].view(-1, layer.entries, *head.shape[1:])[:, 4]
        bias = network.layers[source].get_submodule("conv").get_parameter("bias").data.view(-1, layer.entries)
        bias[:, 4] -= logits.flatten().topk(SURE).values[-1]
        bias[:, 5] += 20
    weights.save(network, path)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; gives the exit code."""
    args = parse(argv)
    torch.set_num_threads(args.threads)
    try:
        lines = measure(args)
    except (BenchError, DarknetError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    report: dict[str, Any] = {"environment": environment(), "lines": [line.as_dict() for line in lines]}
    if args.json != "-":
        print("\n".join(f"{name}: {value}" for name, value in report["environment"].items()))
        print(table(lines))
    else:
        print(json.dumps(report, indent=2))
    if args.json not in (None, "-"):
        with replacing(args.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=2)
    return 1 if args.check and any(line.holds is False for line in lines) else 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description="Measure from files to boxes.")
    option = parser.add_argument
    option("--cfg", type=Path, default=CFG_FILE, metavar="FILE", help=f"a detector (default: {CFG_FILE.name})")
    option("--weights", type=Path, metavar="FILE", help="its weights (default: random ones)")
    option("--size", type=int, metavar="PIXELS", help="width and height of the input (default: the cfg's)")
    option("--pictures", type=int, default=200, metavar="N", help="of the list (default: 200)")
    option("--batch", type=int, default=4, metavar="N", help="pictures at a time (default: 4)")
    option("--device", default="cpu", metavar="DEVICE", help="cpu or cuda, for the list (default: cpu)")
    option("--half", action="store_true", help="compute with 16 bits")
    option("--threads", type=int, default=os.cpu_count() or 1, metavar="N", help="of torch (default: one a processor)")
    option("--rounds", type=int, default=7, metavar="N", help="rounds (default: 7)")
    option("--only", choices=COSTS, nargs="+", default=list(COSTS), help="what to measure")
    option("--json", nargs="?", const="-", metavar="FILE", help="print JSON, or write it beside the table")
    option("--check", action="store_true", help="exit with 1 where a limit does not hold")
    args = parser.parse_args(argv)
    if min(args.size or 1, args.pictures, args.batch, args.threads, args.rounds) < 1:
        parser.error("sizes, pictures, batches, threads and rounds start at 1")
    return args


def measure(args: argparse.Namespace) -> list[Line]:
    """The lines of what was asked for."""
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="darknet-bench-") as name, warnings.catch_warnings():
        warnings.simplefilter("ignore", CfgWarning)
        folder, cfg, file = Path(name), args.cfg.resolve(), args.weights
        paths = make_pictures(folder, args.pictures)
        if file is None:
            file = folder / "made.weights"
            graph = Graph.read(cfg)
            make_weights(
                graph if args.size is None else graph.resized(args.size, args.size), read_pixels(paths[0]), file
            )
        model = load(cfg, file, size=args.size, device=args.device, half=args.half)
        setup = Setup(model, cfg, file.resolve(), paths, args.batch, args.rounds)
        for cost in args.only:
            print(f"measuring {cost} ...", file=sys.stderr, flush=True)
            lines += COSTS[cost](setup)
    return lines


if __name__ == "__main__":
    sys.exit(main())
