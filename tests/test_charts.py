"""Charts are files that can be opened, whatever the numbers; without matplotlib the error says what to install."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from PIL import Image

from darknet_py.charts import MOST_POINTS, Curve, loss_chart, precision_recall_chart
from darknet_py.errors import DarknetError

matplotlib = pytest.importorskip("matplotlib")


def colours(path):
    """How many pixels are clearly blue and clearly red."""
    with Image.open(path) as picture:
        r, g, b = np.asarray(picture.convert("RGB")).astype(int).transpose(2, 0, 1)
    return int(((b - r > 80) & (b > g)).sum()), int(((r - b > 80) & (r > g)).sum())


def test_loss_chart_shows_loss_and_map(tmp_path):
    path = tmp_path / "chart.png"
    batches = list(range(1, 101))
    losses = [100 / batch for batch in batches]
    loss_chart(batches, losses, losses, path)
    blue, red = colours(path)
    assert blue > 300
    assert red == 0
    loss_chart(batches, losses, losses, path, maps=[(50, 0.4), (100, 0.7)], title="$_ _a")
    assert colours(path)[1] > 100
    assert [file.name for file in tmp_path.iterdir()] == ["chart.png"]


@pytest.mark.parametrize(
    "losses", [[], [math.nan], [1.0, math.inf, 0.5], [0.0, -1.0, 2.0], [3.0], [53.45112991333008, 53.451129913330085]]
)
def test_loss_chart_takes_any_numbers(tmp_path, losses):
    loss_chart(range(len(losses)), losses, losses, tmp_path / "a.png", maps=[(1, math.nan)])
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (1080, 600)


def test_long_trainings_are_thinned(tmp_path):
    count = 20 * MOST_POINTS
    loss_chart(range(count), [1.0] * count, [1.0] * count, tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size < 2**20


def test_precision_recall_chart(tmp_path):
    curve = Curve("dog", [1.0, 0.5, 2 / 3], [0.5, 0.5, 1.0], 0.83)
    precision_recall_chart([curve], tmp_path / "pr.png")
    assert colours(tmp_path / "pr.png")[0] > 300
    many = [Curve(name, [1.0], [0.1], math.nan) for name in ("$", "_", "", "$x", *map(str, range(40)))]
    precision_recall_chart(many, tmp_path / "pr.pdf")
    precision_recall_chart([], tmp_path / "none.png")
    assert {file.name for file in tmp_path.iterdir()} == {"pr.png", "pr.pdf", "none.png"}


def test_wrong_suffixes_are_an_error(tmp_path):
    with pytest.raises(DarknetError, match=r"a\.jpeg2: a chart is written as \.png, \.svg, \.pdf"):
        loss_chart([1], [1.0], [1.0], tmp_path / "a.jpeg2")


def test_without_matplotlib_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(DarknetError, match=r"pip install 'darknet-torch\[charts\]'"):
        loss_chart([1], [1.0], [1.0], tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
