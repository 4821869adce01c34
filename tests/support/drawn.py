"""Small data sets of drawn shapes, and tiny networks that learn them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = ((220, 40, 40), (40, 200, 60), (50, 70, 230))

NET = """\
[net]
batch={batch}
subdivisions={subdivisions}
width={side}
height={side}
channels=3
momentum=0.9
decay=0.0005
learning_rate={rate}
max_batches={max_batches}
{more}
"""

CONVOLUTIONAL = """
[convolutional]
batch_normalize={normalized}
filters={filters}
size=3
stride=1
pad=1
activation=leaky
"""

POOL = """
[maxpool]
size=2
stride=2
"""

REGION = """
[convolutional]
filters={filters}
size=1
stride=1
pad=1
activation=linear

[region]
anchors={anchors}
bias_match=1
classes={classes}
coords=4
num=2
softmax=1
jitter={jitter}
rescore=1
object_scale=5
noobject_scale=1
class_scale=1
coord_scale=1
absolute=1
thresh=.6
random={random}
"""

SOFTMAX = """
[convolutional]
filters={classes}
size=1
stride=1
pad=1
activation=linear

[avgpool]

[softmax]
groups=1
"""


def detector(
    path: Path, *, widths=(4, 8, 8), side=32, batch=4, subdivisions=2, rate=0.001, max_batches=6, random=0, classes=2,
    jitter=0.1, anchors="1,1, 2,2", normalized=1, more="",
) -> Path:  # fmt: skip
    """A cfg of as many convolutions, each halved, as there are widths, with a region layer."""
    text = NET.format(
        batch=batch, subdivisions=subdivisions, side=side, rate=rate, max_batches=max_batches, more=more
    )  # fmt: skip
    text += POOL.join(CONVOLUTIONAL.format(filters=filters, normalized=normalized) for filters in widths)
    text += REGION.format(
        filters=2 * (5 + classes), anchors=anchors, classes=classes, jitter=jitter, random=random
    )  # fmt: skip
    path.write_text(text)
    return path


def classifier(path: Path, *, batch=4, max_batches=6, more="", rate=0.01, classes=2) -> Path:
    """A cfg of two convolutions with a softmax."""
    text = NET.format(batch=batch, subdivisions=1, side=32, rate=rate, max_batches=max_batches, more=more)
    text += POOL.join(CONVOLUTIONAL.format(filters=filters, normalized=1) for filters in (4, 8))
    path.write_text(text + SOFTMAX.format(classes=classes))
    return path


def pictures(
    folder: Path, count: int, *, seed=0, size=(48, 40), most=2, classes=2, smallest=0.25, largest=0.5
) -> list[str]:  # fmt: skip
    """Draw pictures with filled rectangles (even classes) and discs (odd), and write labels beside them."""
    draw = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "labels").mkdir(exist_ok=True)
    paths = []
    for number in range(count):
        image = draw.integers(90, 160, (size[1], size[0], 3)).astype(np.uint8)
        rows = [_shape(image, draw, classes, smallest, largest) for _ in range(int(draw.integers(1, most + 1)))]
        path = folder / "images" / f"{number:03d}_kind{rows[-1][0]}.png"
        Image.fromarray(image).save(path)
        lines = (f"{label} " + " ".join(f"{value:.6f}" for value in box) for label, *box in rows)
        (folder / "labels" / f"{path.stem}.txt").write_text("\n".join(lines) + "\n")
        paths.append(str(path))
    return paths


def _shape(image, draw, classes, smallest, largest):
    label = int(draw.integers(classes))
    height, width = image.shape[:2]
    w, h = (int(side * draw.uniform(smallest, largest)) for side in (width, height))
    left, top = int(draw.integers(0, width - w + 1)), int(draw.integers(0, height - h + 1))
    y, x = np.mgrid[0:h, 0:w]
    inside = ((x - (w - 1) / 2) / w) ** 2 + ((y - (h - 1) / 2) / h) ** 2 <= 0.25
    mask = inside if label % 2 else np.ones_like(inside)
    image[top : top + h, left : left + w][mask] = COLOURS[label % 3]
    return label, (left + w / 2) / width, (top + h / 2) / height, w / width, h / height


def data_file(folder: Path, train: list[str], valid: list[str] = (), classes: int = 2, names: str = "kind") -> Path:
    """A .data file with its lists and names."""
    (folder / "train.txt").write_text("".join(f"{path}\n" for path in train))
    (folder / "valid.txt").write_text("".join(f"{path}\n" for path in valid or train))
    (folder / "all.names").write_text("".join(f"{names}{n}\n" for n in range(classes)))
    path = folder / "all.data"
    path.write_text(
        f"classes={classes}\ntrain={folder}/train.txt\nvalid={folder}/valid.txt\n"
        f"names={folder}/all.names\nbackup={folder}/backup\n"
    )
    return path
