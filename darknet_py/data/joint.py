"""Joint training as of YOLO9000: one list of pictures with boxes and pictures of which only the class is known."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from darknet_py.cfg import find_listed, read_list
from darknet_py.cfg.keys import Complain
from darknet_py.data.labels import LabelError, label_path, read_labels
from darknet_py.errors import DarknetError
from darknet_py.files import replacing

LIST: Final = "train.list"
A_FOLDER: Final = 10_000  # pictures
SUFFIXES: Final = {".jpg", ".png", ".JPG", ".JPEG"}  # suffixes that Darknet replaces by .txt
Watch = Callable[[Sequence["_Picture"]], Iterable["_Picture"]]  # called with the pictures done


@dataclass(frozen=True)
class Joined:
    """How many pictures of each kind the list has, and where it is."""

    boxes: int
    classes: int
    path: Path


class LabelFinder:
    """Finds the class of a picture as Darknet does, by a name that is part of the path.

    If one name is part of another that is found too, as `car` in `cart`, the longer one counts.
    """

    def __init__(self, nodes: Mapping[str, int]) -> None:
        if "" in nodes or not nodes:
            raise DarknetError("the labels of classes must not be empty")
        self.nodes = nodes
        self.lengths = sorted({len(name) for name in nodes})

    def __call__(self, path: str) -> int:
        """The node of the one class in a path; raises `DarknetError` if there is none, or more than one."""
        parts = (path[at : at + size] for size in self.lengths for at in range(len(path) - size + 1))
        found = {part for part in parts if part in self.nodes}
        found = {name for name in found if not any(name in other for other in found if other != name)}
        if len(found) != 1:
            what = f"the classes {', '.join(sorted(found)[:3])}" if found else "no class"
            raise DarknetError(f"{path}: {what} in this path; it has to name one")
        return self.nodes[found.pop()]


def join(
    out: str | Path,
    detection: str | Path,
    classification: str | Path,
    finder: LabelFinder,
    report: Complain,
    *,
    mapping: Sequence[int] | None = None,
    repeat: int = 1,
    progress: Watch = iter,
) -> Joined:
    """Make the folder `out` with one list of the pictures in two lists; the pictures stay where they are.

    A picture of the list `classification` becomes a link in `out`/images, and a label file in `out`/labels has its node
    and no box. Pictures of `detection` are listed as they are, `repeat` times; with `mapping` they become links too,
    with labels in which class c is `mapping[c]`. Without it, the cfg's own `map` does that during training. Pictures
    that cannot be used are reported. The list is written last. Raises `DarknetError` if `out` is not empty.
    """
    read = [(read_list(path), str(path)) for path in (detection, classification)]
    with_boxes, with_class = ([_Picture(name, _find(name, source)) for name in names] for names, source in read)
    folder = _Folder(Path(out).absolute(), report, progress)
    boxes = [path for _, path in with_boxes]
    if mapping is not None:
        boxes = folder.add(with_boxes, lambda picture: _mapped(picture.path, mapping))
    classes = folder.add(with_class, lambda picture: f"{finder(picture.name)} 0 0 0 0\n")
    if not boxes or not classes:
        raise DarknetError(f"there are no pictures with {'classes' if boxes else 'boxes'} that can be used")
    path = folder.path / LIST
    with replacing(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.writelines(f"{line}\n" for line in (*boxes * repeat, *classes))
    return Joined(len(boxes), len(classes), path)


class _Picture(NamedTuple):
    name: str  # as the list has it
    path: str


def _find(name: str, source: str) -> str:
    return os.path.abspath(find_listed(name, source))  # noqa: PTH100 - fast


class _Folder:
    """A folder of links to pictures and of label files, numbered so that no two meet."""

    def __init__(self, path: Path, report: Complain, progress: Watch) -> None:
        self.path, self.report, self.progress, self.count = path, report, progress, 0
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise DarknetError(f"{path} is there and not empty; give a new folder, or remove it")

    def add(self, pictures: Sequence[_Picture], label: Callable[[_Picture], str]) -> list[str]:
        """Link pictures and write the label file that `label` returns for each; returns the paths of the links."""
        found = []
        for picture in self.progress(pictures):
            try:
                found.append(self._add(picture, label(picture)))
            except LabelError as error:
                for problem in error.problems:
                    self.report(problem)
            except DarknetError as error:
                self.report(str(error))
        return found

    def _add(self, picture: _Picture, text: str) -> str:
        suffix = Path(picture.path).suffix
        name = f"{self.count // A_FOLDER:04d}/{self.count:08d}"
        link = self.path / "images" / f"{name}{suffix if suffix in SUFFIXES else '.jpg'}"
        label = self.path / "labels" / f"{name}.txt"
        if self.count % A_FOLDER == 0:
            for place in (link, label):
                place.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(text, encoding="utf-8")
        link.symlink_to(picture.path)
        self.count += 1
        return str(link)


def _mapped(picture: str, mapping: Sequence[int]) -> str:
    rows = read_labels(label_path(picture), len(mapping)).tolist()
    return "".join(f"{mapping[int(label)]} {' '.join(f'{value:.7g}' for value in box)}\n" for label, *box in rows)
