"""Measure how fast training pictures are made, where the time goes, and whether training waits for them.

Made JPEGs of 500 x 375 with boxes become the input of a region layer, one thread a worker. 0 workers is this process.
Then the network of --cfg trains at that size on one batch that is there, and on what the loader gives. Of images a
second it is more that is better.
"""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from darknet_py.cfg import read_data
from darknet_py.data import DetectionData, Key, batches
from darknet_py.data.amounts import Amounts, Extent, roll
from darknet_py.data.augment import Colours, DetectionDraw
from darknet_py.data.base import generator_for
from darknet_py.data.labels import read_labels
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.pictures import files
from darknet_py.pictures.resample import distort, read
from darknet_py.train import Stepper
from tools.bench import limits
from tools.bench.harness import Bench
from tools.bench.measuring import ROOT, sample, timed
from tools.bench.options import natural, positive
from tools.bench.rows import Row, milliseconds, spread

PICTURES, BATCH = 32, 8
CFG_FILE = ROOT / "cfg/yolov2-tiny-voc.cfg"
PICTURE = Extent(500, 375)
CFG = """[net]
width={size}
height={size}
channels=3
hue=.1
saturation=1.5
exposure=1.5
[convolutional]
filters=25
[region]
"""
AMOUNTS = Amounts(0.2, 0.1, 1.5, 1.5)
COLOURS = Colours(0.05, 1.3, 0.8)


def make_pictures(folder: Path) -> Path:
    """Write pictures of a photograph's file size, their labels and a .data file."""
    random = np.random.default_rng(0)
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    for number in range(PICTURES):
        coarse = Image.fromarray(random.integers(0, 256, (30, 40, 3), np.uint8)).resize(
            PICTURE, Image.Resampling.BICUBIC
        )
        noisy = np.asarray(coarse) + random.normal(0, 10, (PICTURE.height, PICTURE.width, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"images/{number}.jpg", quality=90)
        rows = np.column_stack((random.integers(0, 6, 3), random.uniform(0.1, 0.9, (3, 4))))
        (folder / f"labels/{number}.txt").write_text("\n".join(" ".join(map(str, row)) for row in rows))
    (folder / "train.list").write_text("\n".join(str(path) for path in (folder / "images").iterdir()))
    (folder / "made.data").write_text("train=train.list\n")
    return folder / "made.data"


def parts(folder: Path, size: int, rounds: int) -> Iterator[Row]:
    """What one picture costs, step by step."""
    canvas = Extent(size, size)
    path, labels = str(folder / "images/0.jpg"), folder / "labels/0.txt"
    pixels = read(path, 3)
    image = torch.rand(3, size, size, generator=torch.Generator().manual_seed(0))
    plain = DetectionDraw.of(Amounts(0.2), PICTURE, canvas, roll(generator_for(0, 0)))
    drawn = DetectionDraw.of(AMOUNTS, PICTURE, canvas, roll(generator_for(0, 0)))
    works: dict[str, Callable[[], object]] = {
        "read labels": partial(read_labels, labels),
        "read a picture as floats (picture.read)": partial(files.read, path),
        "read a picture": partial(read, path, 3),
        "place it": partial(plain.apply, pixels),
        "colours, if all of the canvas": partial(distort, image, COLOURS.hue, COLOURS.saturation, COLOURS.exposure),
        "place it and change its colours": partial(drawn.apply, pixels),
    }
    for name, seconds in sample({name: timed(work) for name, work in works.items()}, rounds * 5).items():
        yield milliseconds("part", name, seconds)


def whole(data: DetectionData, size: int, workers: int, count: int, rounds: int) -> Iterator[Row]:
    """Pictures a second, after the first batch of every worker."""
    rates = []
    for turn in range(rounds):
        keys = ([Key(turn + batch * BATCH + n, size, size) for n in range(BATCH)] for batch in range(count + 1))
        made = batches(data, keys, workers)
        next(made)
        start = time.perf_counter()
        for _ in made:
            pass
        rates.append(count * BATCH / (time.perf_counter() - start))
    name = f"{workers} worker{'s' * (workers != 1)}"
    limit = limits.PICTURE if workers < 2 else None
    yield milliseconds("loader", f"a picture, {name}", [1 / rate for rate in rates], limit)
    yield spread("loader", f"pictures a second, {name}", rates, "/s")


def steps(data_file: Path, cfg: Path, size: int, workers: int, count: int) -> Iterator[Row]:
    """Pictures a second of training: without a loader, and with one; the seconds that steps waited for it."""
    graph = Graph.read(cfg).resized(size, size)
    stepper = Stepper(Network(graph, generator=torch.Generator().manual_seed(0)))
    data = DetectionData.from_cfg(graph, read_data(data_file))
    keys = [[Key(BATCH * batch + n, size, size) for n in range(BATCH)] for batch in range(count + 2)]
    made = batches(data, keys, workers)
    alone = next(made)
    waited, seconds = [], []
    for batch in (alone, *[alone] * count, *[None] * (count + 1)):
        start = time.perf_counter()
        images, truth = batch or next(made)
        waited.append(time.perf_counter() - start)
        stepper.accumulate(images, truth)
        stepper.update()
        seconds.append(time.perf_counter() - start)
    name = f"{cfg.name}, {torch.get_num_threads()} threads"
    yield spread(
        "step", f"pictures a second without a loader, {name}", [BATCH / t for t in seconds[1 : count + 1]], "/s"
    )
    fed = [BATCH / t for t in seconds[count + 2 :]]
    yield spread("step", f"pictures a second with {workers} workers, {name}", fed, "/s")
    yield milliseconds("step", "waiting for a batch", waited[count + 2 :])


class Loader(Bench):
    """The loader of training pictures."""

    name = "loader"
    rounds = 5
    threads = os.cpu_count() or 1

    def add_options(self, parser: ArgumentParser) -> None:
        option = parser.add_argument
        option("--workers", type=natural, nargs="+", default=[0, 1, 2], metavar="N", help="numbers of workers")
        option("--size", type=positive, default=416, metavar="PIXELS", help="width and height of the input")
        option("--batches", type=positive, default=20, metavar="N", help=f"batches of {BATCH} a round")
        option("--cfg", type=Path, default=CFG_FILE, metavar="FILE", help="network that trains")

    def measure(self, args: Namespace, folder: Path) -> Iterator[Row]:
        """--threads are those of training; pictures are made by one."""
        torch.set_num_threads(1)
        data_file = make_pictures(folder)
        data = DetectionData.from_cfg(Graph.parse(CFG.format(size=args.size)), read_data(data_file))
        yield from parts(folder, args.size, args.rounds)
        for workers in args.workers:
            yield from whole(data, args.size, workers, args.batches, args.rounds)
        torch.set_num_threads(args.threads)
        yield from steps(data_file, args.cfg, args.size, max(args.workers), max(args.batches // 4, 1))
