"""Fuzzing of pictures: small ones in every format, changed in bytes, numbers of the header and chunks."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from darknet_py.pictures import files
from tools.fuzz.changes import INTEGERS, changed, one_of
from tools.fuzz.judge import AnswerError, Kind, Sample, tried

PNG: Final = b"\x89PNG\r\n\x1a\n"
Made = tuple[str, bytes]
SAVED: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("RGB", "JPEG", {"quality": 80}), ("L", "JPEG", {}), ("CMYK", "JPEG", {}), ("RGB", "JPEG", {"progressive": True}),
    ("1", "PNG", {}), ("L", "PNG", {}), ("LA", "PNG", {}), ("P", "PNG", {}), ("RGB", "PNG", {}), ("RGBA", "PNG", {}),
    ("I;16", "PNG", {}), ("P", "PNG", {"transparency": 3}), ("RGB", "PNG", {"transparency": (1, 2, 3)}),
    ("1", "BMP", {}), ("L", "BMP", {}), ("P", "BMP", {}), ("RGB", "BMP", {}), ("RGBA", "BMP", {}),
    ("P", "GIF", {}), ("L", "GIF", {"interlace": 1}), ("P", "GIF", {"save_all": True, "loop": 0}),
    ("1", "PPM", {}), ("L", "PPM", {}), ("RGB", "PPM", {}), ("I;16", "PPM", {}),
    ("L", "TGA", {}), ("RGB", "TGA", {"compression": "tga_rle"}), ("P", "TGA", {}), ("RGBA", "TGA", {}),
    ("RGB", "TIFF", {}), ("RGB", "TIFF", {"compression": "tiff_lzw"}), ("L", "TIFF", {"compression": "packbits"}),
    ("RGB", "TIFF", {"compression": "tiff_deflate"}), ("1", "TIFF", {"compression": "group4"}), ("F", "TIFF", {}),
    ("RGB", "TIFF", {"compression": "jpeg"}), ("I;16", "TIFF", {}), ("CMYK", "TIFF", {}), ("LAB", "TIFF", {}),
    ("RGB", "WEBP", {}), ("RGBA", "WEBP", {"lossless": True}), ("RGB", "WEBP", {"save_all": True}),
)  # fmt: skip
PLAIN: Final = (b"P3\n3 2\n255\n1 2 3 4 5 6 7 8 9 1 2 3 4 5 6 7 8 9\n", b"P1\n# comment\n4 2\n1 0 1 0\n0 1 0 1\n")


@cache
def seeds() -> tuple[Made, ...]:
    """Pictures of a few pixels."""
    rng = np.random.default_rng(0)
    base = Image.fromarray(rng.integers(0, 256, (9, 13, 3), np.uint8))
    deep = Image.fromarray(rng.integers(0, 1 << 16, (9, 13), np.uint16))
    found = [(".ppm", text) for text in PLAIN]
    for mode, form, options in SAVED:
        file = io.BytesIO()
        image = deep if mode == "I;16" else base.convert(mode) if mode != "LAB" else Image.new("LAB", (5, 4))
        more = {"append_images": [image.rotate(90)]} if options.get("save_all") else {}
        image.save(file, form, **options, **more)
        found.append((f".{form.lower()}", file.getvalue()))
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # the orientation
    base.save(file, "JPEG", exif=exif)
    return (*found, (".jpg", file.getvalue()))


def make(rng: Random) -> Sample:
    """A picture, changed."""
    suffix, data = rng.choice(seeds())
    if data.startswith(PNG) and rng.random() < 0.6:
        data = _another_chunk(data, rng)
    elif rng.random() < 0.6:
        data = _another_number(data, rng)
    if rng.random() < 0.7:
        data = changed(data, rng, [other for _, other in seeds()])
    return Sample(suffix, data)


def read(path: Path) -> None:
    """Read it from the file and from its bytes: both times the same, of as many channels as were asked for."""
    for channels in (1, 3, 4):
        image = tried(files.read_pixels, path, channels)
        if image is not None:
            _compare(image, path, channels)
    tried(files.read_pixels, path.read_bytes())


def _compare(image: torch.Tensor, path: Path, channels: int) -> None:
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != channels or not image.numel():
        raise AnswerError(f"a picture of {image.dtype} {tuple(image.shape)}, and {channels} channels were asked for")
    if image.numel() < 1 << 20:
        again = tried(files.read, path, channels)
        if again is None or not torch.equal((again * 255).round().to(torch.uint8), image):
            raise AnswerError("it is another picture when it is read again")


def _another_number(data: bytes, rng: Random) -> bytes:
    """An integer of the header, of either order."""
    at, size = rng.randrange(min(len(data), 200)), one_of(rng, (1, 2, 4))
    value = rng.choice(INTEGERS) if rng.random() < 0.7 else rng.randrange(300)
    packed = (value % (1 << 8 * size)).to_bytes(size, "little")
    return data[:at] + (packed if rng.random() < 0.5 else packed[::-1]) + data[at + size :]


def _another_chunk(data: bytes, rng: Random) -> bytes:
    """A PNG with a chunk that is another one, and its checksum right."""
    chunks, at = [], len(PNG)
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    place = rng.randrange(len(chunks))
    name, content = chunks[place]
    what = rng.randrange(5)
    if what == 0:
        chunks[place] = (one_of(rng, (b"PLTE", b"tRNS", b"iCCP", b"zTXt", b"acTL", b"fcTL", b"IHDR", b"eXIf")), content)
    elif what == 1:
        chunks.insert(place, chunks[rng.randrange(len(chunks))])
    elif name == b"IHDR":
        chunks[place] = (name, _another_number(content, rng))
    elif name == b"IDAT" and what > 2:
        chunks[place] = (name, zlib.compress(changed(zlib.decompress(content), rng)))
    else:
        chunks[place] = (name, changed(content, rng))
    return PNG + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


KIND: Final = Kind("pictures", make, read, spare=4 << 30, may_fill=True)
