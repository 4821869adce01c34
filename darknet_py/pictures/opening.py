"""Opens picture files: which formats, how many pixels, which way up."""

from __future__ import annotations

import itertools
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import BinaryIO, Final, TypeAlias

from PIL import Image, UnidentifiedImageError

from darknet_py.errors import DarknetWarning, ImageError

Size: TypeAlias = tuple[int, int]  # width, height
FORMATS: Final = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TGA", "TIFF", "WEBP")
_PLUGINS: Final = ("Jpeg", "Png", "Bmp", "Gif", "Ppm", "Tga", "Tiff", "WebP")
MAX_PIXELS: Final = 512_000_000
TRUSTED: Final = 1 << 26  # pixels of a picture whose file may have any size
PIXELS_A_BYTE: Final = 10_000  # more than deflate can make of a byte
ORIENTATION: Final = 0x0112  # the EXIF tag
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # about damaged files, without their names
TURNED: Final = "pictures have an EXIF orientation, which Darknet does not look at; --exif turns them upright"
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


DAMAGED: Final = (
    # Pillow uses most numbers of a file unchecked: it unpacks (struct.error), indexes (LookupError),
    # divides and shifts (ArithmeticError), allocates (MemoryError) and calls with them (TypeError, ValueError, and
    # AttributeError on what it did not find). It checks some by `assert` (AssertionError), and says SyntaxError,
    # EOFError or RuntimeError of others. Where a program makes errors of warnings, it raises those.
    struct.error,
    LookupError,
    ArithmeticError,
    MemoryError,
    TypeError,
    ValueError,
    AttributeError,
    AssertionError,
    SyntaxError,
    EOFError,
    RuntimeError,
    Warning,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class Reading:
    """How picture files are read: up to how many pixels, and whether the EXIF orientation is applied."""

    max_pixels: int = MAX_PIXELS
    exif: bool = False


class _Chosen:
    """The settings of this process, and whether it has warned of orientations."""

    reading = Reading()
    times = itertools.count()


def use(reading: Reading) -> None:
    """Read picture files with these settings from now on, in this process."""
    _Chosen.reading, _Chosen.times = reading, itertools.count()


def in_use() -> Reading:
    """The settings with which this process reads picture files."""
    return _Chosen.reading


def tell_once(text: str) -> None:
    """Warn of orientations, only once."""
    if next(_Chosen.times) == 0:
        warnings.warn(DarknetWarning(text), stacklevel=2)


@contextmanager
def damage() -> Iterator[None]:
    """Turn what Pillow raises for a damaged picture into an `ImageError`; only for calls of Pillow.

    `OSError` passes through: it may come from the system.
    """
    try:
        yield
    except OSError:
        raise
    except DAMAGED as error:
        raise ImageError(str(error) or type(error).__name__) from error


@contextmanager
def picture_in(file: BinaryIO, size: int, note: Callable[[str], None] = tell_once) -> Iterator[Image.Image]:
    """The picture in a file of `size` bytes, not decoded yet unless it had to be rotated.

    Raises `ImageError` for a picture that claims too many pixels, before it allocates memory, or is damaged, and
    `OSError` for an unknown format. `note` is called if an EXIF orientation is ignored.
    """
    reading = in_use()
    with _identified(file) as picture:
        check_size(picture, reading.max_pixels)
        pixels = picture.width * picture.height
        if pixels > TRUSTED and pixels > PIXELS_A_BYTE * size:
            raise ImageError(f"{picture.width} x {picture.height} pixels in {size} bytes: a decompression bomb")
        turn = _TURNS.get(_orientation(picture))
        if turn is None or not reading.exif:
            if turn is not None:
                note(TURNED)
            yield picture
            return
        with damage():
            upright = picture.transpose(turn)
        yield upright


def check_size(picture: Image.Image, most: int | None = None) -> None:
    """Raise `ImageError` for a picture of too many pixels."""
    most = in_use().max_pixels if most is None else most
    if picture.width * picture.height > most:
        raise ImageError(f"{picture.width} x {picture.height} is more than {most} pixels; see --max-pixels")


def _identified(file: BinaryIO) -> Image.Image:
    """Image.open for our formats, without Pillow's own limit, which holds for the whole process."""
    for plugin in _PLUGINS:
        import_module(f"PIL.{plugin}ImagePlugin")
    prefix = file.read(16)
    with damage():
        for name in FORMATS:
            factory, accept = Image.OPEN[name]
            try:
                if accept is None or accept(prefix) is True:
                    file.seek(0)
                    return factory(file, "")
            except (SyntaxError, IndexError, TypeError, struct.error):  # not in this format
                continue
    raise UnidentifiedImageError


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 if there is none or it is damaged."""
    if not picture.info.get("exif"):
        return 1
    try:
        value = picture.getexif().get(ORIENTATION, 1)
    except (OSError, *DAMAGED):  # damaged EXIF counts as none
        return 1
    return value if isinstance(value, int) else 1
