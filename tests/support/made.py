"""Made pictures with labels for the tests of data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from darknet_py.cfg import DataFile, read_data
from darknet_py.network.graph import Graph

REGION = """
[net]
width=64
height=48
channels={channels}
hue=.1
saturation=1.5
exposure=1.5
[convolutional]
filters=25
[region]
jitter=.3
{more}
"""


def region_graph(more: str = "", channels: int = 3) -> Graph:
    """A network of a [region] with 20 classes."""
    return Graph.parse(REGION.format(more=more, channels=channels), "made.cfg")


def make_picture(path: Path, seed: int = 0, width: int = 50, height: int = 40) -> Path:
    """Write a picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def make_data(folder: Path, count: int = 6, labels: str = "{n} .5 .5 .2 .3\n", suffix: str = ".png") -> DataFile:
    """Write pictures with a label file each, their list and a .data file."""
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    paths = [make_picture(folder / f"images/{n}{suffix}", n, 50 + n, 40 - n) for n in range(count)]
    for n in range(count):
        (folder / f"labels/{n}.txt").write_text(labels.format(n=n))
    return list_data(folder, *map(str, paths))


def list_data(folder: Path, *paths: str, more: str = "") -> DataFile:
    """Write a list and a .data file."""
    (folder / "train.list").write_text("\n".join(paths) + "\n")
    (folder / "made.data").write_text(f"train={folder / 'train.list'}\n{more}\n")
    return read_data(folder / "made.data")
