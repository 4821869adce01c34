"""Measure from files to boxes: what a list of pictures takes beyond the network alone, and a cold start.

`list`: JPEGs of 640 x 480 in a folder become `Detections`, against forward passes of the same engine and batch on one
tensor, and against the plain loop that OpenCV users write, where OpenCV can read Darknet's files. What no way around
decoding JPEGs could be faster than is the time of the network plus what Pillow's decoder works on them, spread over the
threads. `parts` are what one picture costs, in one thread. `start` is the whole process of `detector test --json` with
one picture, against one that imports torch and reads the file of weights.

Without --weights they are random, but so that a few boxes are found in a picture. "worked" is the time of the processor
over all threads, which suffers less from other work on the machine.
"""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from operator import add, truediv
from pathlib import Path

import torch
from PIL import Image

from darknet_py.boxes.suppress import Nms
from darknet_py.model import Model, load
from darknet_py.network.graph import Graph
from darknet_py.pictures.files import read_pixels
from darknet_py.pictures.letterbox import fitted
from darknet_py.predict.decode import Settings
from darknet_py.predict.detections import Detections
from tools.bench import limits
from tools.bench.harness import Bench
from tools.bench.made import draw_pictures, make_sure_weights
from tools.bench.measuring import ROOT, BenchError, command, sample, say
from tools.bench.options import add_only, positive
from tools.bench.peers.loop import opencv_detector
from tools.bench.rows import Row, excess, milliseconds, ratio, spread

CFG_FILE, DATA = ROOT / "cfg/yolov2-tiny.cfg", ROOT / "cfg/coco.data"
PICTURE = (640, 480)
THRESH, NMS = 0.5, 0.45
Cost = Callable[["Setup"], Iterator[Row]]


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
        seen = self.model.detector.detect_each(self.paths, self.settings, Nms(threshold=NMS), self.batch)
        return sum(len(one.found) for one in seen if isinstance(one.found, Detections))


def listing(setup: Setup) -> Iterator[Row]:
    """A list of pictures, against the network alone."""
    works: dict[str, Callable[[], object]] = {
        "forward": setup.forward,
        "list": setup.detect,
        "JPEG": partial(jpegs, setup),
    }
    try:
        _, h, w = setup.model.network.input_shape
        detect = opencv_detector(setup.cfg, setup.weights, (w, h), THRESH, NMS)
        works["OpenCV"] = partial(each, detect, setup.paths)
    except BenchError as error:
        yield Row("list", "OpenCV's loop", None, note=str(error))
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
    most = limits.LIST if setup.model.network.device.type == "cpu" else None
    yield ratio("list", "JPEG to boxes", "forward", wall["list"], wall["forward"], most)
    yield spread(
        "list",
        "the same, worked",
        list(map(truediv, worked["list"], worked["forward"])),
        "x",
        note=note,
        peer="forward",
    )
    least = map(add, wall["forward"], (value / threads for value in worked["JPEG"]))
    yield spread("list", "(forward + JPEG) / forward", list(map(truediv, least, wall["forward"])), "x")
    if "OpenCV" in works:
        yield ratio("list", "JPEG to boxes", "OpenCV's loop", wall["list"], wall["OpenCV"])


def parts(setup: Setup) -> Iterator[Row]:
    """What one picture costs, step by step, in one thread; the median over pictures."""
    model, some = setup.model, setup.paths[:20]
    _, h, w = model.network.input_shape
    images = [read_pixels(path) for path in some]
    outputs = list(chain.from_iterable(model.detector.outputs([image]) for image in images))

    def decode(n: int) -> object:
        return model.detector.decode(outputs[n], PICTURE, setup.settings, Nms(threshold=NMS))

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


def starting(setup: Setup) -> Iterator[Row]:
    """`detector test`, a process, beyond importing torch and reading the weights."""
    python, files = sys.executable, (str(setup.cfg), str(setup.weights))
    reading = f"import torch, numpy; numpy.fromfile({files[1]!r}, numpy.float32)"
    test = (
        python,
        "-m",
        "darknet_py",
        "detector",
        "test",
        str(DATA),
        *files,
        setup.paths[0],
        "--json",
        "-nogpu",
        "--names-anyway",
    )
    works = {"idle": command(python, "-c", reading), "test": command(*test)}
    found = sample(works, setup.rounds)
    idle = "import torch, read the weights"
    yield milliseconds("start", idle, found["idle"])
    yield milliseconds("start", "detector test", found["test"])
    yield excess("start", "detector test beyond that", idle, found["test"], found["idle"], limits.COLD_START)


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


def each(detect: Callable[[str], int], paths: Sequence[str]) -> int:
    """Boxes in all pictures, one picture after the other; how many."""
    return sum(map(detect, paths))


class EndToEnd(Bench):
    """From files to boxes."""

    name = "end-to-end"
    rounds = 7
    threads = os.cpu_count() or 1

    def add_options(self, parser: ArgumentParser) -> None:
        option = parser.add_argument
        option("--cfg", type=Path, default=CFG_FILE, metavar="FILE", help=f"a detector (default: {CFG_FILE.name})")
        option("--weights", type=Path, metavar="FILE", help="its weights (default: random ones)")
        option("--size", type=positive, metavar="PIXELS", help="width and height of the input (default: the cfg's)")
        option("--pictures", type=positive, default=200, metavar="N", help="of the list (default: 200)")
        option("--batch", type=positive, default=4, metavar="N", help="pictures at a time (default: 4)")
        option("--device", default="cpu", metavar="DEVICE", help="cpu or cuda, for the list (default: cpu)")
        option("--half", action="store_true", help="compute with 16 bits")
        add_only(parser, COSTS)

    def measure(self, args: Namespace, folder: Path) -> Iterator[Row]:
        cfg, file = args.cfg.resolve(), args.weights
        paths = draw_pictures(folder, args.pictures, PICTURE)
        if file is None:
            file = folder / "made.weights"
            graph = Graph.read(cfg)
            sized = graph if args.size is None else graph.resized(args.size, args.size)
            make_sure_weights(sized, read_pixels(paths[0]), file)
        model = load(cfg, file, size=args.size, device=args.device, half=args.half)
        setup = Setup(model, cfg, file.resolve(), paths, args.batch, args.rounds)
        for cost in args.only:
            say(f"measuring {cost}")
            yield from COSTS[cost](setup)
