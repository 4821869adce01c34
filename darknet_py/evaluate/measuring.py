"""Detects in a list of pictures and compares the results with their labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from darknet_py.boxes.suppress import Nms
from darknet_py.errors import DarknetError, ImageError
from darknet_py.evaluate.flip import flip_averaged
from darknet_py.evaluate.reader import Progress, Views, each_output
from darknet_py.evaluate.scores import Scores
from darknet_py.evaluate.table import Rows
from darknet_py.evaluate.truths import in_pixels, read_all
from darknet_py.model import Model
from darknet_py.network.modes import looking
from darknet_py.network.module import Network
from darknet_py.pictures.opening import Size
from darknet_py.predict.decode import Settings
from darknet_py.predict.detections import Detections
from darknet_py.predict.detector import Detector

THRESH: Final = 0.005


@dataclass(frozen=True, eq=False)
class Examined:
    """A picture of a list with its detections, or the reason why there are none."""

    path: str
    size: Size  # width, height
    found: Detections | ImageError


def measure(
    network: Network | Model,
    paths: Sequence[str],
    names: Sequence[str] = (),
    *,
    batch: int | None = None,
    thresh: float = THRESH,
    nms: float | Nms | None = None,
    hier: float = 0.5,
    classes: Sequence[int] | None = None,
    flip: bool = False,
    progress: Progress | None = None,
) -> Scores:
    """Detect in the pictures of a list and compare with their label files.

    The network keeps its mode. It takes `batch` pictures at a time, with their mirror images for `flip`; after each
    picture `progress` is called with how many are done and how many there are. With a tree a box has the class that the
    walk reaches, and the labels must have exactly that class; `classes` is as in `Model.detect`, for labels that are
    positions in that list. A picture without a label file has no objects. A picture that cannot be read, or whose
    labels cannot, is left out and listed in `Scores.problems`. Raises `DarknetError` if no picture is left.
    """
    net = network.network if isinstance(network, Model) else network
    settings = Settings(thresh, hier, None if classes is None else tuple(classes))
    with looking(net):
        detector = (network if isinstance(network, Model) else Model(network)).detector
        count = detector.classes if classes is None else len(classes)
        labels = read_all(paths, count, net.graph.heads[-1].layer.label_map if classes is None else None)
        kept = [path for path, table in zip(paths, labels.tables, strict=True) if table is not None]
        seen = list(
            look(detector, kept, settings, detector.suppression(nms), batch=batch, flip=flip, progress=progress)
        )
    found = [one.found for one in seen if isinstance(one.found, Detections)]
    problems = (*labels.problems, *(str(one.found) for one in seen if isinstance(one.found, ImageError)))
    if not found:
        raise DarknetError(f"none of the {len(paths)} pictures can be used: {(*problems, 'the list is empty')[0]}")
    tables = [table for table in labels.tables if table is not None]
    used = [(table, one.size) for table, one in zip(tables, seen, strict=True) if isinstance(one.found, Detections)]
    return Scores(
        Rows.joined([(one.labels, one.boxes, one.scores) for one in found]),
        Rows.joined([in_pixels(table, size) for table, size in used]),
        torch.tensor([one.image_size for one in found], dtype=torch.int64),
        count,
        tuple(names) or detector.names,
        problems,
    )


def look(
    detector: Detector,
    paths: Sequence[str],
    settings: Settings,
    nms: Nms,
    *,
    batch: int | None = None,
    flip: bool = False,
    progress: Progress | None = None,
) -> Iterator[Examined]:
    """Detect in pictures, `batch` at a time, while threads read the next; with `flip` as in `flip_averaged`."""

    def views(image: Tensor) -> Views:
        fitted = detector.fit(image)
        return [torch.stack((fitted, fitted.flip(-1))) if flip else fitted[None]]

    heads = detector.network.graph.heads
    for one, outputs in each_output(detector.engine, paths, views, batch=batch, progress=progress):
        if isinstance(one.views, ImageError):
            yield Examined(one.path, one.size, one.views)
            continue
        (output,) = outputs
        found = flip_averaged(heads, output) if flip else [head[0] for head in output]
        yield Examined(one.path, one.size, detector.decode(found, one.size, settings, nms))
