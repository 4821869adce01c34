"""Charts of a training run and of an evaluation, drawn with matplotlib (the extra `charts`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from darknet_py.errors import DarknetError
from darknet_py.files import replacing

FORMATS: Final = {".png": "png", ".svg": "svg", ".pdf": "pdf"}
MOST_POINTS: Final = 4000  # of a line
MOST_NAMES: Final = 20  # in a legend
SAME: Final = 1e-6  # losses that differ by less, as a part of the larger, have no logarithmic axis


@dataclass(frozen=True)
class Curve:
    """Precision over recall of one class, the detection with the best score first."""

    name: str
    precision: Sequence[float]
    recall: Sequence[float]
    average: float


def loss_chart(
    batches: Sequence[int],
    losses: Sequence[float],
    averages: Sequence[float],
    path: str | Path,
    *,
    maps: Sequence[tuple[int, float]] = (),
    title: str = "",
) -> None:
    """Draw the loss and the smoothed loss per batch, and mAP (batch, 0 to 1) if it was measured, into a file.

    Values that are not finite are left out. The suffix of `path` names the format; raises `DarknetError` for any other
    than .png, .svg or .pdf, and if matplotlib is not installed.
    """
    figure = _figure(path)
    axes = figure.add_subplot()
    axes.set(xlabel="batch", ylabel="loss", title=title)
    shown = [value for value in (*losses, *averages) if math.isfinite(value)]
    if shown and 0 < min(shown) < max(shown) * (1 - SAME):
        axes.set_yscale("log")
    axes.plot(*_finite(batches, losses), color="0.8", linewidth=0.8, label="loss")
    axes.plot(*_finite(batches, averages), color="tab:blue", label="average")
    axes.grid(visible=True, which="major", color="0.92")
    axes.legend(loc="upper left", frameon=False)
    if maps:
        right = axes.twinx()
        right.plot(*_finite(*zip(*maps, strict=True)), color="tab:red", marker="o", markersize=3, label="mAP")
        right.set(ylabel="mAP", ylim=(0, 1))
        right.legend(loc="upper right", frameon=False)
    _write(figure, path)


def precision_recall_chart(curves: Sequence[Curve], path: str | Path, *, title: str = "") -> None:
    """Draw precision over recall into a file, one line per class; errors as in `loss_chart`.

    The legend names the classes with the highest average precision.
    """
    figure = _figure(path)
    axes = figure.add_subplot()
    axes.set(xlabel="recall", ylabel="precision", title=title, xlim=(0, 1), ylim=(0, 1.02))
    best = sorted(curves, key=lambda curve: curve.average, reverse=True)
    for place, curve in enumerate(best):
        name = f"{_plain(curve.name)} {curve.average:.3f}" if place < MOST_NAMES else None
        axes.plot(*_thin(list(curve.recall), list(curve.precision)), linewidth=1, label=name)
    axes.grid(visible=True, color="0.92")
    if best:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize="small")
    _write(figure, path)


def _figure(path: str | Path) -> Any:
    """An empty figure, after a check that it can be written."""
    if Path(path).suffix.lower() not in FORMATS:
        raise DarknetError(f"{path}: a chart is written as {', '.join(FORMATS)}")
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise DarknetError("matplotlib is not installed: pip install 'darknet-torch[charts]'") from error
    return Figure(figsize=(9, 5), dpi=120, layout="constrained")


def _write(figure: Any, path: str | Path) -> None:
    with replacing(path) as file:
        figure.savefig(file, format=FORMATS[Path(path).suffix.lower()])


def _finite(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    points = [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(b)]
    return _thin([a for a, _ in points], [b for _, b in points])


def _thin(x: list[float], y: list[float]) -> tuple[list[float], list[float]]:
    """At most `MOST_POINTS` of the points, evenly spaced, including the last."""
    if len(x) <= MOST_POINTS:
        return x, y
    step = math.ceil(len(x) / (MOST_POINTS - 1))
    return [*x[:-1:step], x[-1]], [*y[:-1:step], y[-1]]


def _plain(name: str) -> str:
    """A name for a legend: matplotlib reads $ as mathematics and drops names that start with _."""
    return " " + name.replace("$", r"\$") if name.startswith("_") else name.replace("$", r"\$")
