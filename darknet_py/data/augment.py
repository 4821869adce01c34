"""Darknet's augmentation: what is drawn at random, and how it changes a picture and its boxes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor

from darknet_py.cfg.dialect import Augment
from darknet_py.data.amounts import Amounts, Extent, Float, coin, factor, uniform
from darknet_py.data.truth import Frame
from darknet_py.pictures.resample import Axis, distort, resample, turn

GREY: Final = 0.5


@dataclass(frozen=True)
class Colours:
    """A change of the colours."""

    hue: float = 0.0
    saturation: float = 1.0
    exposure: float = 1.0

    @classmethod
    def of(cls, amounts: Amounts, rolls: Iterator[float]) -> Colours:
        hue = uniform(-amounts.hue, amounts.hue, rolls)
        return cls(float(hue), float(factor(amounts.saturation, rolls)), float(factor(amounts.exposure, rolls)))

    def apply(self, image: Tensor) -> Tensor:
        """Change the colours of (C, H, W) float32; anything but RGB stays as it is."""
        if len(image) != 3 or self == Colours():
            return image
        return distort(image, self.hue, self.saturation, self.exposure)


class Draw(Protocol):
    """How a picture is changed."""

    def apply(self, pixels: Tensor) -> Tensor:
        """Make training input from a picture: (H, W, C) uint8 -> (C, height, width) float32."""


class BoxDraw(Draw, Protocol):
    """How a picture and its boxes are changed."""

    @classmethod
    def of(cls, amounts: Amounts, picture: Extent, canvas: Extent, rolls: Iterator[float]) -> BoxDraw:
        """Draw for a picture of this size."""

    @property
    def frame(self) -> Frame:
        """Where the boxes of the picture are afterwards."""


@dataclass(frozen=True)
class DetectionDraw:
    """A picture with a changed aspect ratio, somewhere on a grey canvas (load_data_detection of data.c)."""

    canvas: Extent
    width: float  # of the picture on the canvas
    height: float
    dx: float
    dy: float
    colours: Colours = Colours()
    flip: bool = False

    @classmethod
    def of(cls, amounts: Amounts, picture: Extent, canvas: Extent, rolls: Iterator[float]) -> DetectionDraw:
        along, down = (Float(amounts.jitter) * Float(side) for side in picture)
        wide = Float(picture.width) + uniform(-along, along, rolls)
        aspect = wide / (Float(picture.height) + uniform(-down, down, rolls))
        if aspect < 1:
            width, height = Float(canvas.height) * aspect, Float(canvas.height)
        else:
            width, height = Float(canvas.width), Float(canvas.width) / aspect
        dx = uniform(0, Float(canvas.width) - width, rolls)
        dy = uniform(0, Float(canvas.height) - height, rolls)
        colours = Colours.of(amounts, rolls)
        return cls(canvas, float(width), float(height), float(dx), float(dy), colours, coin(rolls))

    @property
    def frame(self) -> Frame:
        x, y = map(Float, self.canvas)
        moved = float(-Float(self.dx) / x), float(-Float(self.dy) / y)
        return Frame(*moved, float(Float(self.width) / x), float(Float(self.height) / y), self.flip)

    def apply(self, pixels: Tensor) -> Tensor:  # (H, W, C) uint8 -> (C, height, width)
        h, w, channels = pixels.shape
        grey = self.colours.apply(torch.full((channels, 1, 1), GREY, dtype=torch.float32))
        canvas = grey.repeat(1, self.canvas.height, self.canvas.width)
        if int(self.width) and int(self.height):
            columns, x = Axis.placed(w, int(self.width), int(self.dx), self.canvas.width)
            rows, y = Axis.placed(h, int(self.height), int(self.dy), self.canvas.height)
            if self.flip:
                columns, x = columns.mirrored(), slice(self.canvas.width - x.stop, self.canvas.width - x.start)
            canvas[:, y, x] = self.colours.apply(resample(pixels, columns, rows))
        return canvas


@dataclass(frozen=True)
class CropDraw:
    """A part of a picture, or more than it, stretched to the canvas (load_data_region of data.c)."""

    canvas: Extent
    picture: Extent
    left: int  # pixels cut off, or added if negative
    right: int
    top: int
    bottom: int
    colours: Colours = Colours()
    flip: bool = False

    @classmethod
    def of(cls, amounts: Amounts, picture: Extent, canvas: Extent, rolls: Iterator[float]) -> CropDraw:
        along, down = (int(Float(side) * Float(amounts.jitter)) for side in picture)
        left, right, top, bottom = (int(uniform(-most, most, rolls)) for most in (along, along, down, down))
        flip = coin(rolls)
        return cls(canvas, picture, left, right, top, bottom, Colours.of(amounts, rolls), flip)

    @property
    def kept(self) -> Extent:
        """The part that is stretched, in pixels."""
        return Extent(self.picture.width - self.left - self.right, self.picture.height - self.top - self.bottom)

    @property
    def frame(self) -> Frame:
        (sx, dx), (sy, dy) = (
            (Float(kept) / Float(whole), Float(start) / Float(whole))
            for kept, whole, start in zip(self.kept, self.picture, (self.left, self.top), strict=True)
        )
        return Frame(float(dx / sx), float(dy / sy), float(1 / sx), float(1 / sy), self.flip)

    def apply(self, pixels: Tensor) -> Tensor:  # (H, W, C) uint8 -> (C, height, width)
        columns = Axis.resized(self.picture.width, self.left, self.kept.width, self.canvas.width)
        rows = Axis.resized(self.picture.height, self.top, self.kept.height, self.canvas.height, rows=True)
        return self.colours.apply(resample(pixels, columns.mirrored() if self.flip else columns, rows))


DRAWS: Final[Mapping[Augment, type[BoxDraw]]] = {Augment.PLACE: DetectionDraw, Augment.CROP: CropDraw}


@dataclass(frozen=True)
class ClassifierDraw:
    """A part of a picture, rotated, stretched and scaled (load_image_augment_paths of data.c)."""

    canvas: Extent
    radians: float = 0.0
    scale: float = 1.0
    aspect: float = 1.0
    dx: float = 0.0
    dy: float = 0.0
    center: bool = False  # the largest square in the middle instead
    colours: Colours = Colours()
    flip: bool = False

    @classmethod
    def of(cls, amounts: Amounts, picture: Extent, canvas: Extent, rolls: Iterator[float]) -> ClassifierDraw:
        if amounts.center:
            flip = coin(rolls)
            return cls(canvas, center=True, colours=Colours.of(amounts, rolls), flip=flip)
        aspect = factor(amounts.aspect, rolls)
        low, high = sorted(int(Float(share) * canvas.width) for share in (amounts.smallest, amounts.largest))
        size = low + int(next(rolls) * (high - low + 1))
        shorter = min(picture.height, int(Float(picture.width) * aspect))
        scale = Float(max(size, 1)) / Float(max(shorter, 1))
        radians = Float(float(uniform(-amounts.angle, amounts.angle, rolls)) * math.tau / 360)
        dx = (Float(picture.width) * scale / aspect - Float(canvas.width)) / 2
        dy = (Float(picture.height) * scale - Float(canvas.height)) / 2
        dx, dy = uniform(-dx, dx, rolls), uniform(-dy, dy, rolls)
        flip = coin(rolls)
        colours = Colours.of(amounts, rolls)
        return cls(
            canvas, float(radians), float(scale), float(aspect), float(dx), float(dy), colours=colours, flip=flip
        )

    def apply(self, pixels: Tensor) -> Tensor:  # (H, W, C) uint8 -> (C, height, width)
        h, w, _ = pixels.shape
        if self.center:
            side = min(w, h)
            columns = Axis.resized(w, (w - side) // 2, side, self.canvas.width)
            rows = Axis.resized(h, (h - side) // 2, side, self.canvas.height, rows=True)
            image = resample(pixels, columns, rows)
        else:
            image = turn(pixels, self.radians, self.scale, *self.canvas, self.dx, self.dy, self.aspect)
        return self.colours.apply(image.flip(-1) if self.flip else image)
