"""Draw detections on a picture, in the C program's colours and line widths (image.c, draw_detections)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from darknet_py.errors import ImageError
from darknet_py.pictures.files import as_image, to_pil

Colour: TypeAlias = tuple[int, int, int]
Box: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom: pixels, all of them inside
Font: TypeAlias = "ImageFont.FreeTypeFont | ImageFont.ImageFont"

RAMP: Final = np.array([(1, 0, 1), (0, 0, 1), (0, 1, 1), (0, 1, 0), (1, 1, 0), (1, 0, 0)], np.float32)
SMALLEST_TEXT: Final = 12  # pixels
LONGEST_LABEL: Final = 256  # characters


def class_color(label: int, classes: int) -> Colour:
    """Return the (red, green, blue), 0 to 255, in which Darknet draws class `label` of `classes`."""
    if classes < 1 or label < 0:
        raise ImageError(f"there is no colour for class {label} of {classes}")
    offset = label * 123457 % classes  # from class 17395 on the C program's int overflows; here it does not
    place = np.float32(offset) / np.float32(classes) * np.float32(5)
    low = int(place)
    ratio = place - np.float32(low)
    mixed = (np.float32(1) - ratio) * RAMP[low] + ratio * RAMP[low + 1]
    blue, green, red = (int(255 * value) for value in mixed)
    return red, green, blue


def draw_detections(
    image: Image.Image | Tensor,
    boxes_xyxy: Tensor | Sequence[Sequence[float]],
    labels: Tensor | Sequence[int],
    scores: Tensor | Sequence[float],
    names: Sequence[str],
    *,
    classes: int,
) -> Image.Image:
    """An RGB copy of the picture (C, H, W) with boxes (N, 4), in its pixels, and the names of their classes (N,).

    Rows with the same box become one box with all their names in the order of the classes and the first one's
    colour, as in the C program. Better scores are drawn over worse ones. A class without a name is a number.
    """
    canvas = to_pil(as_image(image))
    pen = ImageDraw.Draw(canvas)
    width = max(1, int(canvas.height * 0.006))
    font = ImageFont.load_default(max(SMALLEST_TEXT, round(canvas.height * 0.03)))
    for box, found in _labels_by_box(boxes_xyxy, labels, scores, canvas.size).items():
        color = class_color(found[0], classes)
        text = ", ".join(names[label] if label < len(names) else str(label) for label in found)
        _draw_outline(pen, box, width, color)
        _draw_label(pen, (box[0], box[1] + width), text, font, color)
    return canvas


def _labels_by_box(
    boxes: Tensor | Sequence[Sequence[float]],
    labels: Tensor | Sequence[int],
    scores: Tensor | Sequence[float],
    size: tuple[int, int],
) -> Mapping[Box, list[int]]:
    """Cut the boxes to whole pixels of a picture of `size`; gather the classes of each, best score last."""
    rows = torch.as_tensor(boxes, dtype=torch.float32).detach().cpu()
    kinds = torch.as_tensor(labels).detach().cpu().reshape(-1).tolist()
    ranks = torch.as_tensor(scores, dtype=torch.float32).detach().cpu().reshape(-1)
    rows = rows if rows.numel() else rows.reshape(0, 4)
    if rows.ndim != 2 or rows.shape[1] != 4 or not len(rows) == len(kinds) == len(ranks):
        raise ImageError(f"boxes {tuple(rows.shape)}, {len(kinds)} labels and {len(ranks)} scores do not go together")
    last = torch.tensor([size[0] - 1, size[1] - 1], dtype=torch.float32)
    corners = rows.nan_to_num(0).reshape(-1, 2, 2).clamp(min=torch.zeros_like(last), max=last).long()  # (n, 2, 2)
    corners[:, 1] = torch.maximum(corners[:, 0], corners[:, 1])
    pixels = corners.flatten(1).tolist()
    found: dict[Box, list[int]] = {}
    for row in ranks.argsort(stable=True).tolist():
        left, top, right, bottom = pixels[row]
        box = (left, top, right, bottom)
        found[box] = sorted({*found.pop(box, ()), int(kinds[row])})
    return found


def _draw_outline(pen: ImageDraw.ImageDraw, box: Box, width: int, color: Colour) -> None:
    """Draw the outline of `box`, `width` pixels inwards, or all of a box that is smaller."""
    left, top, right, bottom = box
    if min(right - left, bottom - top) < 2 * width:
        pen.rectangle(box, fill=color)
    else:
        pen.rectangle(box, outline=color, width=width)


def _draw_label(pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, font: Font, color: Colour) -> None:
    """Write `text` on `color` above `at`, or below it where the picture has no room above."""
    text = " ".join(text[:LONGEST_LABEL].split())
    if not text:
        return
    left, bottom = at
    size = pen.im.size
    height = int(pen.textbbox((0, 0), "Äg", font=font)[3]) + 1
    margin = height // 4
    width = int(pen.textlength(text, font=font)) + 1 + 2 * margin
    top = bottom - height if bottom >= height else bottom
    left, top = max(0, min(left, size[0] - width)), max(0, min(top, size[1] - height))
    pen.rectangle((left, top, left + width - 1, top + height - 1), fill=color)
    pen.text((left + margin, top), text, fill=_readable_on(color), font=font)


def _readable_on(color: Colour) -> Colour:
    red, green, blue = color
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 127 else (255, 255, 255)
