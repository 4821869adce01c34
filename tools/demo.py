"""What `make demo` shows: a cfg read, a network compared with a recording of the C program, boxes on a picture.

Usage::

    python tools/demo.py [--out FILE]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

import darknet_py
from darknet_py import DarknetError, Graph, Model
from darknet_py.draw import draw_detections
from darknet_py.picture import save
from darknet_py.summary import as_dict, table

ROOT = Path(__file__).parents[1]
OFFICIAL = "cfg/yolov2.cfg"
RECORDED = "tests/golden/boxes/boxes_region_sigmoid"
NAMES = ("A", "B", "C", "D")
SIZE = (640, 480)
SHAPES, SEED = 7, 219


def main(argv: Sequence[str] | None = None) -> int:
    """Run the steps; gives the exit code."""
    parser = argparse.ArgumentParser(description="Show darknet_py at work.")
    parser.add_argument("--out", default="predictions.png", help="where the picture goes (default: predictions.png)")
    out = parser.parse_args(argv).out
    try:
        with step(f"1. {OFFICIAL}, as it comes with Darknet"):
            print(totals(Graph.read(ROOT / OFFICIAL)))
        with step(f"2. {RECORDED}.cfg, a small network whose output in the C program is recorded"):
            model = recorded_model()
            print(table(model.network.graph))
            print(f"largest difference from the recorded output: {difference(model):.6f}")
        with step("3. the boxes that this network gives for a drawn picture"):
            draw_boxes(model, draw_shapes(torch.Generator().manual_seed(SEED)), out)
    except DarknetError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    print(f"The picture with its boxes is {Path(out).resolve()}")
    print("The network was never trained: its weights mean nothing, and neither do the boxes. Official weights:")
    print("  darknet-py download yolov2 --folder .")
    print("  darknet-py detect cfg/yolov2.cfg yolov2.weights PICTURE")
    return 0


@contextmanager
def step(title: str) -> Iterator[None]:
    """Say what comes, and how long it took."""
    print(title)
    start = time.perf_counter()
    yield
    print(f"({time.perf_counter() - start:.2f} s)\n")


def totals(graph: Graph) -> str:
    """A network in a line."""
    total, output = as_dict(graph)["total"], graph.heads[-1].shape
    return (
        f"{len(graph.nodes)} layers, {graph.input_shape} -> {output}, "
        f"{total['parameters']:,} parameters, {total['bflops']:.3f} BFLOPs"
    )


def recorded_model() -> Model:
    """The network of the recording, on the CPU as it was recorded."""
    path = ROOT / RECORDED
    return darknet_py.load(path.with_suffix(".cfg"), path.with_suffix(".weights"), names=NAMES, device="cpu")


def difference(model: Model) -> float:
    """The largest difference between our output and the recorded one, for the recorded input."""
    with np.load((ROOT / RECORDED).with_suffix(".npz")) as recording:
        x, head = (torch.from_numpy(recording[name]) for name in ("input", "head"))
    with torch.inference_mode():
        (output,) = model.network.heads(x.view(1, *model.network.input_shape.dims))
    return (output.flatten() - head).abs().max().item()


def draw_shapes(generator: torch.Generator) -> Image.Image:
    """Rectangles and ellipses of random places, sizes and colours on grey."""
    picture = Image.new("RGB", SIZE, (120, 130, 125))
    pen = ImageDraw.Draw(picture)
    for n, (x, y, half, *colour) in enumerate(torch.rand(SHAPES, 6, generator=generator).tolist()):
        left, top, width, height = x * SIZE[0], y * SIZE[1], 80 + 160 * half, 60 + 130 * half
        box = (left - width / 2, top - height / 2, left + width / 2, top + height / 2)
        red, green, blue = (int(20 + 216 * value) for value in colour)
        (pen.ellipse if n % 2 else pen.rectangle)(box, fill=(red, green, blue))
    return picture


def draw_boxes(model: Model, picture: Image.Image, out: str) -> None:
    """Print what is found in a picture and save it with the boxes."""
    found = model.detect(picture, thresh=0.5)
    for name, score in zip(found.names, found.scores.tolist(), strict=True):
        print(f"{name}: {score * 100:.0f}%")
    classes = model.detector.classes
    save(draw_detections(picture, found.boxes, found.labels, found.scores, NAMES, classes=classes), out)


if __name__ == "__main__":
    sys.exit(main())
