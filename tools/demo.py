"""`make demo`: draws a new picture of shapes and detects them with the weights that were trained here.

Usage::

    python -m tools.demo [--seed N] [--out FILE]
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

import darknet_py
from darknet_py import DarknetError, Detections, Model
from darknet_py.boxes.suppress import Nms
from darknet_py.errors import ImageError
from darknet_py.evaluate import Scores
from darknet_py.evaluate.alexeyab import Table
from darknet_py.evaluate.table import Rows
from darknet_py.network.summary import as_dict
from darknet_py.pictures.draw import draw_detections
from darknet_py.pictures.files import read, save
from darknet_py.predict.decode import Settings
from tools.datasets.drawing import COLOURS, Shape, draw
from tools.datasets.drawing import SHAPES as KINDS
from tools.datasets.shapes import MOST_PICTURES, Classes, count

ROOT: Final = Path(__file__).resolve().parents[1]
RECORDED: Final = "tests/golden/boxes/boxes_region_sigmoid"
SIZE: Final = (448, 448)
DRAWN: Final = "shapes.png"  # beside predictions.png
SETTINGS, NMS = Settings(thresh=0.5, hier=0.5), Nms("class", 0.45)  # those of `darknet-py detector test`


@dataclass(frozen=True)
class Ours:
    """A detector that was trained here, and where its files are."""

    classes: Classes

    @property
    def data(self) -> Path:
        return ROOT / "cfg" / f"{self.classes.stem}.data"

    @property
    def cfg(self) -> Path:
        return ROOT / "cfg" / f"{self.classes.stem}.cfg"

    @property
    def weights(self) -> Path:
        return ROOT / "weights" / f"{self.classes.stem}.weights"


SHAPES, SHAPES9 = Ours(Classes(tree=False)), Ours(Classes(tree=True))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the steps; gives the exit code."""
    args = parse(argv)
    out = Path(args.out)
    drawn = out.parent / DRAWN
    try:
        check_weights()
        with step(f"1. {RECORDED}.cfg: a small network, run as the C program once ran it"):
            print(f"largest difference from the recorded output: {difference():.6f}")
        with step(f"2. A new picture with seed {args.seed}: {shown(drawn)}"):
            shapes = draw_picture(args.seed, drawn)
        with step(f"3. What {shown(SHAPES.weights)} finds in it: shapes"):
            found = look(SHAPES, drawn, shapes)
            save_boxes(found, drawn, out)
        with step(f"4. What {shown(SHAPES9.weights)} finds in it: shapes, and in its tree below them their colours"):
            look(SHAPES9, drawn, shapes)
    except DarknetError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    tell_more(args.seed, drawn, out)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments; without a seed the time gives one."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description="Show darknet_py at work.")
    chosen = time.time_ns() // 1_000_000 % MOST_PICTURES
    parser.add_argument(
        "--seed", type=count, default=chosen, metavar="N", help="of the picture (default: from the time)"
    )
    parser.add_argument("--out", default="predictions.png", help="where the boxes go (default: predictions.png)")
    args = parser.parse_args(argv)
    if Path(args.out).name == DRAWN:
        parser.error(f"{DRAWN} is the picture without boxes; choose another name for --out")
    return args


@contextmanager
def step(title: str) -> Iterator[None]:
    """Say what comes, and how long it took."""
    print(title)
    start = time.perf_counter()
    yield
    print(f"({time.perf_counter() - start:.2f} s)\n")


def check_weights() -> None:
    """Raise `DarknetError` where a detector's weights are not there."""
    for path in (SHAPES.weights, SHAPES9.weights):
        if not path.is_file():
            raise DarknetError(
                f"{shown(path)} is not here; it belongs to the repository: "
                f"`git checkout {path.relative_to(ROOT).as_posix()}`, or train it as weights/README.md says"
            )


def difference() -> float:
    """The largest difference between our output and the recorded one, on the CPU as it was recorded."""
    path = ROOT / RECORDED
    network = darknet_py.load(path.with_suffix(".cfg"), path.with_suffix(".weights"), device="cpu").network
    with np.load(path.with_suffix(".npz")) as recording:
        x, head = (torch.from_numpy(recording[name]) for name in ("input", "head"))
    with torch.inference_mode():
        (output,) = network.heads(x.view(1, *network.input_shape.dims))
    return (output.flatten() - head).abs().max().item()


def draw_picture(seed: int, path: Path) -> tuple[Shape, ...]:
    """Draw a picture into a file; gives what is in it."""
    picture, shapes = draw(np.random.default_rng(seed), SIZE)
    save(picture, path)
    names = SHAPES9.classes.names
    print(f"drawn, from back to front: {', '.join(names[label] for label in labels(SHAPES9, shapes).tolist())}")
    return shapes


def labels(ours: Ours, shapes: Sequence[Shape]) -> Tensor:  # (N,) int64
    """The classes of shapes, as a detector knows them."""
    return torch.tensor([ours.classes.label(shape, coloured=True) for shape in shapes])


def look(ours: Ours, path: Path, shapes: Sequence[Shape]) -> Detections:
    """Print what a detector finds in a picture, as Darknet prints it, and how much of it is right."""
    model = darknet_py.load(ours.cfg, ours.weights, data=ours.data)
    print(facts(model))
    detector = replace(model.detector, as_printed=True)
    (seen,) = detector.detect_each([str(path)], SETTINGS, NMS, batch=1)
    if isinstance(seen.found, ImageError):
        raise seen.found
    print(f"{shown(path)}: Predicted in {seen.seconds:f} seconds.")
    for name, score in zip(seen.found.names, seen.found.scores.tolist(), strict=True):
        print(f"{name}: {score * 100:.0f}%")
    print(f"compared with what was drawn: {verdict(ours, seen.found, shapes)}")
    return seen.found


def facts(model: Model) -> str:
    """A network in a line."""
    graph, total = model.network.graph, as_dict(model.network.graph)["total"]
    size, device = f"{total['parameters']:,} parameters", model.network.device
    return f"{len(graph.nodes)} layers, {size}, {total['bflops']:.3f} BFLOPs, input {graph.input_shape}, on {device}"


def verdict(ours: Ours, found: Detections, shapes: Sequence[Shape]) -> str:
    """How many shapes were found, and how many of them with their colour where the classes have one."""
    table = compared(SHAPES, replace(found, labels=kinds(found.labels)), shapes)
    exact = compared(ours, found, shapes)
    colours = f", {exact.right} with the right colour" if ours.classes.tree else ""
    boxes = "1 box is" if table.wrong == 1 else f"{table.wrong} boxes are"
    return f"found {table.right} of the {table.truths} shapes{colours}; {boxes} wrong"


def compared(ours: Ours, found: Detections, shapes: Sequence[Shape]) -> Table:
    """What was found beside what was drawn: a shape is found by a box of its class with IoU .5 or more."""
    truths = labels(ours, shapes), torch.tensor([shape.box for shape in shapes]).view(-1, 4), torch.ones(len(shapes))
    sizes, names = torch.tensor([found.image_size]), ours.classes.names
    boxes = Rows.joined([(found.labels, found.boxes, found.scores)])
    return Scores(boxes, Rows.joined([truths]), sizes, len(names), names).alexeyab(thresh=0)


def kinds(labels: Tensor) -> Tensor:  # (N,) -> (N,)
    """What shapes labels mean: a shape in a colour is that shape."""
    count = len(KINDS)
    return torch.where(labels < count, labels, (labels - count).div(len(COLOURS), rounding_mode="floor"))


def save_boxes(found: Detections, drawn: Path, out: Path) -> None:
    """Save the drawn picture with the boxes of the first detector."""
    names = SHAPES.classes.names
    save(draw_detections(read(drawn), found.boxes, found.labels, found.scores, names, classes=len(names)), out)


def tell_more(seed: int, drawn: Path, out: Path) -> None:
    """Say where things are and what to try next."""
    print(f"{shown(out)} is the picture with the boxes of step 3. The same from the command line, and with colours:")
    for ours, more in ((SHAPES, ()), (SHAPES9, ("-out", shown(out.with_stem(f"{out.stem}9"))))):
        files = (shown(path) for path in (ours.data, ours.cfg, ours.weights, drawn))
        print(f"  {shlex.join((*program(), 'detector', 'test', *files, *more))}")
    print(f"Every run draws another picture; `--seed {seed}` draws this one again:")
    print(f"  {shlex.join((shown(Path(sys.executable)), '-m', 'tools.demo', '--seed', str(seed)))}")
    print("weights/README.md says how these detectors were trained, and docs/train.md how to train one of your own.")
    print(f"Boxes in photographs, with official weights: {shlex.join(program())} download yolov2 --folder .")


def program() -> tuple[str, ...]:
    """How this Python's darknet-py is called from here."""
    script = Path(sys.executable).with_name("darknet-py")
    return (shown(script),) if script.is_file() else (shown(Path(sys.executable)), "-m", "darknet_py")


def shown(path: Path) -> str:
    """A path as one would type it here."""
    path = Path.cwd() / path
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


if __name__ == "__main__":
    sys.exit(main())
