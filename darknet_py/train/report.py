"""Observers that write a table, TensorBoard's files or a chart."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from darknet_py.charts import loss_chart
from darknet_py.errors import DarknetError, os_reason
from darknet_py.files import clear_parts, replacing
from darknet_py.train.observers import History, Observer, Update

if TYPE_CHECKING:
    from darknet_py.evaluate import Scores

COLUMNS: Final = (
    "batch",
    "seen",
    "epoch",
    "loss",
    "average",
    "rate",
    "width",
    "height",
    "seconds",
    "loaded",
    "map",
)
PAUSE: Final = 30.0  # seconds between two drawings of a chart


class CsvLog(Observer):
    """Writes one row per update, and one with only `map` per measurement.

    Existing rows stay up to the batch that the run starts from, so that none appears twice. Raises `DarknetError` for a
    file that holds something else.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._kept = _rows(self.path)
        self._file: TextIO | None = None

    def started(self, batch: int, end: int | None) -> None:
        rows = [row for row in self._kept if int(row[0]) <= batch]
        clear_parts(self.path.parent)
        try:
            with replacing(self.path, "w", encoding="utf-8") as file:
                file.write(_line(COLUMNS) + "".join(map(_line, rows)))
            self._file = self.path.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            raise DarknetError(f"{self.path}: cannot be written: {os_reason(error)}") from error

    def updated(self, update: Update) -> None:
        width, height = update.size
        numbers = (update.seen, round(update.epoch, 4), update.loss, update.average, update.rate, width, height)
        self._write((update.batch, *numbers, round(update.seconds, 4), round(update.loaded, 4), ""))

    def measured(self, batch: int, scores: Scores) -> None:
        self._write((batch, *[""] * (len(COLUMNS) - 2), scores.mean_average_precision()))

    def finished(self) -> None:
        if self._file is not None:
            self._file.close()

    def _write(self, row: Iterable[object]) -> None:
        if self._file is not None:
            self._file.write(_line(row))


def _rows(path: Path) -> list[list[str]]:
    """The complete rows of an existing log."""
    if not path.exists():
        return []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DarknetError(f"{path}: cannot be read as a log: {error}") from error
    whole = text[: text.rfind("\n") + 1]  # a run that was killed may have left half a row
    header, *rows = list(csv.reader(io.StringIO(whole))) or [list(COLUMNS)]
    if text and tuple(header) != COLUMNS:
        raise DarknetError(f"{path}: this is no log of a training, and will not be overwritten; give another name")
    return [row for row in rows if len(row) == len(COLUMNS) and row[0].isdecimal()]


def _line(row: Iterable[object]) -> str:
    return ",".join(map(str, row)) + "\n"


class TensorBoard(Observer):
    """Loss, rate and mean average precision for TensorBoard; raises `DarknetError` if it is not installed."""

    def __init__(self, folder: str | Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415
        except ImportError as error:
            raise DarknetError("tensorboard is not installed: pip install 'darknet-torch[tensorboard]'") from error
        self._new: Callable[..., Any] = SummaryWriter
        self._folder, self._writer = str(folder), None

    def started(self, batch: int, end: int | None) -> None:
        self._writer = self._new(self._folder, purge_step=batch + 1)  # hides the later points of a killed run

    def updated(self, update: Update) -> None:
        values = {"loss": update.loss, "average": update.average, "rate": update.rate, "size": update.size[0]}
        self._add(update.batch, {**values, "pictures a second": update.pictures_a_second})

    def measured(self, batch: int, scores: Scores) -> None:
        self._add(batch, {"mAP": scores.mean_average_precision()})

    def finished(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _add(self, batch: int, values: dict[str, float]) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"train/{name}", value, batch)


class Chart(Observer):
    """Draws a history when weights are saved, at intervals, and at the end.

    If it cannot be drawn, `report` is called once; with `needed` that is an error before the run starts.
    """

    def __init__(
        self,
        path: str | Path,
        history: History,
        report: Callable[[str], None],
        *,
        title: str = "",
        needed: bool = False,
    ) -> None:
        self.path, self.history, self.title = Path(path), history, title
        self._report, self._works, self._needed = report, True, needed
        self._drawn, self._due = 0, 0.0  # points in the chart, and when it may be drawn again

    def started(self, batch: int, end: int | None) -> None:
        clear_parts(self.path.parent)
        if self._needed:
            self._draw()

    def saved(self, path: Path) -> None:
        if time.monotonic() >= self._due:
            self._try()

    def finished(self) -> None:
        self._try()

    def _try(self) -> None:
        points = len(self.history)
        if not self._works or points == self._drawn:
            return
        try:
            self._draw()
            self._drawn, self._due = points, time.monotonic() + PAUSE
        except (DarknetError, OSError) as error:
            self._works = False
            self._report(f"no chart: {error}")

    def _draw(self) -> None:
        batches, losses, averages, _ = self.history.losses.T.tolist()
        maps = [(int(batch), value) for batch, value in self.history.scores.tolist()]
        loss_chart(batches, losses, averages, self.path, maps=maps, title=self.title)
