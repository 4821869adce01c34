"""Finds weights by name: those of the package and downloaded ones."""

from __future__ import annotations

from pathlib import Path, PurePath

from darknet_py import shipped
from darknet_py.download import MODELS
from darknet_py.files import is_file


def find(path: str | Path) -> Path:
    """The file that `path` means: a file there, or the installed or downloaded weights of this name."""
    official = MODELS.get(str(path))  # the file of yolov1-tiny is called tiny-yolov1.weights
    names = (path,) if official is None else (path, PurePath(official.weights).name)
    found = (shipped.find(name, ".weights") for name in names)
    return Path(next((file for file in found if is_file(file)), path))


def hint(path: Path) -> str:
    """The end of a message about missing weights: the command that fetches them."""
    name = str(path).removesuffix(".weights")
    return f"; darknet-py download {name} fetches it" if name in MODELS else shipped.near(path, ".weights")
