"""Draw pictures of coloured shapes on textured backgrounds, and say where each shape is.

All that is random is drawn from a numpy `Generator`: the same state gives the same picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from colorsys import hsv_to_rgb
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tools.datasets.textures import Floats, Size, background, noisy

Box: TypeAlias = tuple[float, float, float, float]  # left, top, right, bottom in pixels

MOST: Final = 8  # shapes in a picture
SIDES: Final = (0.1, 0.6)  # of a shape, as a share of the shorter side of the picture
MIDDLE_SIDES: Final = (0.35, 0.75)  # the same of a shape alone in the middle
STRETCH: Final = 1.6  # the longest side of a shape compared with the other
TURN: Final = np.pi / 6
MOST_HIDDEN: Final = 0.3  # of a shape, by the shapes in front of it
LEAST_INSIDE: Final = 0.75  # of a shape that the border of the picture cuts
TRIES: Final = 20  # to find a place for a shape before it is left out
FINER: Final = 3  # shapes are drawn so many times larger, then reduced
COLOURS: Final = {"red": 0.0, "yellow": 0.145, "green": 0.345, "blue": 0.6}  # hue; 1 is the whole circle
HUE: Final = 0.02  # how far a shape's hue is from its colour's


def around(count: int, *radii: float) -> Floats:
    """So many corners round the middle, the first at the top, with these distances from it in turn: (count, 2)."""
    angles = np.arange(count) * (2 * np.pi / count)
    distance = np.resize(radii, count)
    return np.stack((np.sin(angles) * distance, -np.cos(angles) * distance), 1).astype(np.float32)


def turned(corners: Floats, angle: float) -> Floats:
    """Corners (n, 2) turned round the middle."""
    sin, cos = np.sin(angle), np.cos(angle)
    return corners @ np.array([(cos, sin), (-sin, cos)], np.float32)


def plus(arm: float) -> Floats:
    """Two crossed bars, each twice `arm` wide: (12, 2)."""
    corner = np.array([(-arm, -1), (arm, -1), (arm, -arm)], np.float32)
    return np.concatenate([turned(corner, quarter * np.pi / 2) for quarter in range(4)])


# Polygons round (0, 0), about 1 from it at most; the second of a shape is a hole in the first.
OUTLINES: Final[Mapping[str, tuple[Floats, ...]]] = {
    "ellipse": (around(64, 1.0),),
    "rectangle": (turned(around(4, 1.2), np.pi / 4),),
    "triangle": (around(3, 1.15),),
    "star": (around(10, 1.15, 0.5),),
    "cross": (plus(0.34),),
    "ring": (around(64, 1.0), around(64, 0.58)),
}
SHAPES: Final = tuple(OUTLINES)


@dataclass(frozen=True, eq=False)
class Shape:
    """A shape in a picture; `box` is tight around what the border of the picture leaves of it."""

    kind: int  # in SHAPES
    colour: int  # in COLOURS
    box: Box
    corner: tuple[int, int]  # of the mask: left, top
    mask: Image.Image = field(repr=False)  # how much of each pixel the shape covers, 0 to 255


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture while it is drawn: what is in front at each pixel, and how much of each shape can be seen."""

    picture: Image.Image
    owners: NDArray[np.int64]  # (height, width): a shape's number, or -1
    shapes: list[Shape] = field(default_factory=list)
    areas: list[int] = field(default_factory=list)
    hidden: list[int] = field(default_factory=list)

    def add(self, shape: Shape, patch: Image.Image) -> bool:
        """Put a shape in front of the others, unless too much of one would be hidden or two would run together."""
        (left, top), (width, height) = shape.corner, shape.mask.size
        owners = self.owners[top : top + height, left : left + width]
        solid = np.asarray(shape.mask) > 127
        found, counts = np.unique(owners[solid], return_counts=True)
        covered = {int(n): int(count) for n, count in zip(found, counts, strict=True) if n >= 0}
        same = any(self.shapes[n].colour == shape.colour for n in covered)
        if same or any(self.hidden[n] + count > MOST_HIDDEN * self.areas[n] for n, count in covered.items()):
            return False
        for n, count in covered.items():
            self.hidden[n] += count
        owners[solid] = len(self.shapes)
        self.shapes.append(shape)
        self.areas.append(int(solid.sum()))
        self.hidden.append(0)
        self.picture.paste(patch, shape.corner, shape.mask)
        return True


def draw(rng: Generator, size: Size, *, most: int = MOST) -> tuple[Image.Image, tuple[Shape, ...]]:
    """A picture with up to `most` shapes, later ones in front of earlier ones."""
    scene = Scene(background(rng, size), np.full(size[::-1], -1))
    for _ in range(rng.integers(1, most + 1)):
        for _ in range(TRIES):
            shape = some_shape(rng, size)
            if shape is not None and scene.add(shape, some_colour(rng, shape)):
                break
    return noisy(rng, scene.picture), tuple(scene.shapes)


def draw_one(rng: Generator, size: Size) -> tuple[Image.Image, Shape]:
    """A picture with one large shape in the middle, as pictures for classifiers are."""
    scene = Scene(background(rng, size), np.full(size[::-1], -1))
    shape = None
    while shape is None or not scene.add(shape, some_colour(rng, shape)):
        shape = some_shape(rng, size, sides=MIDDLE_SIDES, spread=0.1)
    return noisy(rng, scene.picture), shape


def some_shape(rng: Generator, size: Size, *, sides: tuple[float, float] = SIDES, spread: float = 1) -> Shape | None:
    """A shape somewhere around the middle; none where too much of it would be outside the picture."""
    kind, colour = int(rng.integers(len(SHAPES))), int(rng.integers(len(COLOURS)))
    radius = np.exp(rng.uniform(*np.log(sides))) * min(size) / 2
    stretch = np.exp(rng.uniform(-0.5, 0.5) * np.log(STRETCH))
    angle, middle = rng.uniform(-TURN, TURN), (0.5 + rng.uniform(-0.5, 0.5, 2) * spread) * size
    outlines = [turned(points * (stretch, 1 / stretch), angle) * radius + middle for points in OUTLINES[SHAPES[kind]]]
    return cut(kind, colour, outlines, size)


def cut(kind: int, colour: int, outlines: Sequence[Floats], size: Size) -> Shape | None:
    """The part of a shape that is inside the picture, or none where that is too little of it."""
    left, top = map(int, np.floor(outlines[0].min(0)))
    right, bottom = map(int, np.ceil(outlines[0].max(0)))
    whole = Image.new("L", ((right - left) * FINER, (bottom - top) * FINER))
    pen = ImageDraw.Draw(whole)
    for points, fill in zip(outlines, (255, 0), strict=False):
        pen.polygon(((points - (left, top)) * FINER).flatten().tolist(), fill=fill)
    x, y = max(0, left), max(0, top)
    ends = (min(right, size[0]) - left) * FINER, (min(bottom, size[1]) - top) * FINER
    inside = whole.crop(((x - left) * FINER, (y - top) * FINER, *ends))
    box = inside.getbbox()
    if box is None or inside.histogram()[255] < LEAST_INSIDE * whole.histogram()[255]:
        return None
    tight = (x + box[0] / FINER, y + box[1] / FINER, x + box[2] / FINER, y + box[3] / FINER)
    return Shape(kind, colour, tight, (x, y), inside.reduce(FINER))


def some_colour(rng: Generator, shape: Shape) -> Image.Image:
    """A patch for a shape: clear, of its colour, a little different from corner to corner."""
    hue = list(COLOURS.values())[shape.colour] + rng.uniform(-HUE, HUE)
    saturation, value = rng.uniform(0.65, 1), rng.uniform(0.65, 1)
    corners = [hsv_to_rgb(hue % 1, saturation, value * light) for light in rng.uniform(0.8, 1, 4)]
    pixels = (255 * np.array(corners)).astype(np.uint8).reshape(2, 2, 3)
    return Image.fromarray(pixels).resize(shape.mask.size, Image.Resampling.BILINEAR)
