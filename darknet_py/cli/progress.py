"""The output of training: Darknet's lines or JSON on stdout, a bar on stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from darknet_py.cli.output import bar, complain
from darknet_py.data.amounts import Amounts
from darknet_py.evaluate import Scores
from darknet_py.network.graph import Graph
from darknet_py.train import Observer, Update, base_name


@dataclass(frozen=True)
class Style:
    """The differences between the outputs of the training commands."""

    update: Callable[[Update], str]
    classifies: bool  # also prints processes, pictures, and their sizes before cropping


def _rates(graph: Graph) -> str:
    net = graph.net
    return f"Learning Rate: {net.learning_rate:g}, Momentum: {net.momentum:g}, Decay: {net.decay:g}"


def _crops(graph: Graph, side: int) -> str:
    amounts = Amounts.of(graph.net)
    return f"{int(amounts.smallest * side)} {int(amounts.largest * side)}"


def _detector_update(update: Update) -> str:
    return (
        f"{update.batch}: {update.loss:f}, {update.average:f} avg, {update.rate:f} rate, "
        f"{update.seconds:f} seconds, {update.batch * update.pictures} images"
    )


def _classifier_update(update: Update) -> str:
    return (
        f"{update.batch}, {update.epoch:.3f}: {update.loss:f}, {update.average:f} avg, {update.rate:f} rate, "
        f"{update.seconds:f} seconds, {update.seen} images"
    )


STYLES = {
    "detector": Style(_detector_update, classifies=False),
    "classifier": Style(_classifier_update, classifies=True),
    "yolo": Style(_detector_update, classifies=False),
}


class Printer(Observer):
    """Prints the events of a run, on stdout as examples/detector.c and classifier.c do."""

    def __init__(self, style: Style, graph: Graph, pictures: int, processes: int, *, as_json: bool) -> None:
        self.style, self.graph, self.as_json = style, graph, as_json
        self.pictures, self.processes = pictures, processes
        self.bar: tqdm[Any] = tqdm(disable=True)

    def started(self, batch: int, end: int | None) -> None:
        name, lines = base_name(self.graph), [base_name(self.graph), _rates(self.graph)]
        if self.style.classifies:
            crops = _crops(self.graph, self.graph.net.width)
            lines = [name, str(self.processes), lines[1], str(self.pictures), crops]
        self._say(lambda: "\n".join(lines), event="started", name=name, batch=batch, pictures=self.pictures)
        self.bar = bar(total=end, initial=batch, unit="batch", disable=True if self.as_json else None)

    def updated(self, update: Update) -> None:
        self._say(lambda: self._lines(update), event="update", **update.to_dict())
        self.bar.set_postfix_str(f"{update.pictures_a_second:.1f} images/s", refresh=False)
        self.bar.update(update.batch - self.bar.n)

    def measured(self, batch: int, scores: Scores) -> None:
        value = scores.mean_average_precision()
        known = None if math.isnan(value) else value
        self._say(
            lambda: f"{batch}: mean average precision (mAP@0.50) = {value:f}",
            event="scores",
            batch=batch,
            mean_average_precision=known,
        )

    def saved(self, path: Path) -> None:
        if self.as_json:
            self._say(str, event="saved", path=str(path))
        else:
            self._aside(lambda: print(f"Saving weights to {path}", file=sys.stderr))

    def failed(self, message: str) -> None:
        self._aside(lambda: complain(message))

    def finished(self) -> None:
        self.bar.close()

    def _lines(self, update: Update) -> str:
        width, _ = update.size
        crops = [_crops(self.graph, width)] if self.style.classifies else []
        resized = ["Resizing", str(width), *crops] if update.resized else []
        loaded = f"Loaded: {update.loaded:f} seconds"
        return "\n".join([*resized, loaded, *update.lines, self.style.update(update)])

    def _say(self, text: Callable[[], str], **values: object) -> None:
        self._aside(lambda: print(json.dumps(values) if self.as_json else text(), flush=True))

    def _aside(self, write: Callable[[], None]) -> None:
        """Write past the bar."""
        with self.bar.external_write_mode():
            write()
