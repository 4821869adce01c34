"""Anchors: k-means over sizes of boxes, `detector calc_anchors`."""

from __future__ import annotations

import json
import math
import re
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from darknet_py.cli import main
from darknet_py.data import anchors
from darknet_py.data.anchors import average_iou, cluster, faster_rcnn, label_sizes, pairs, table
from darknet_py.errors import DarknetError

quick = settings(max_examples=40, deadline=None)
side = st.floats(1 / 64, 100, width=32)
some_sizes = st.lists(st.tuples(side, side), min_size=1, max_size=40).map(torch.tensor)


def blobs(centres: list[tuple[float, float]], each: int, spread: float, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    noise = torch.rand(len(centres), each, 2, generator=rng) * 2 - 1
    return (torch.tensor(centres)[:, None] * (1 + spread * noise)).flatten(0, 1)[
        torch.randperm(len(centres) * each, generator=rng)
    ]


def slow_average_iou(sizes: Tensor, found: Tensor) -> float:
    total = 0.0
    for w, h in sizes.tolist():
        total += max(
            min(w, a) * min(h, b) / (w * h + a * b - min(w, a) * min(h, b)) for a, b in found.tolist()
        )  # fmt: skip
    return total / len(sizes)


# The numbers


@quick
@given(some_sizes, some_sizes)
def test_average_iou_is_that_of_a_loop(sizes: Tensor, found: Tensor) -> None:
    assert average_iou(sizes, found) == pytest.approx(slow_average_iou(sizes, found), abs=1e-5)


@quick
@given(some_sizes, some_sizes, some_sizes)
def test_one_anchor_more_never_fits_worse(sizes: Tensor, few: Tensor, more: Tensor) -> None:
    assert average_iou(sizes, torch.cat((few, more))) >= average_iou(sizes, few)


@quick
@given(some_sizes, st.sampled_from(["iou", "sse"]), st.integers(0, 5))
def test_as_many_anchors_as_sizes_are_the_sizes(sizes: Tensor, distance: str, seed: int) -> None:
    different = sizes.unique(dim=0)
    found = cluster(sizes, len(different), distance=distance, seed=seed, starts=1)
    torch.testing.assert_close(found.boxes.float().unique(dim=0), different)
    assert found.average_iou == pytest.approx(1, abs=1e-6)


@quick
@given(some_sizes, st.integers(1, 5), st.sampled_from(["iou", "sse"]), st.integers(0, 3))
def test_anchors_lie_among_the_sizes_and_rise_by_area(sizes: Tensor, count: int, distance: str, power: int) -> None:
    count = min(count, len(sizes.unique(dim=0)))
    found = cluster(sizes, count, distance=distance, starts=2)
    assert found.boxes.shape == (count, 2)
    areas = found.boxes.prod(1)
    assert (areas.diff() >= 0).all()
    assert (found.boxes >= sizes.amin(0) * (1 - 1e-5)).all()
    assert (found.boxes <= sizes.amax(0) * (1 + 1e-5)).all()
    assert found.average_iou == pytest.approx(average_iou(sizes, found.boxes), abs=1e-6)
    larger = cluster(sizes * 2**power, count, distance=distance, starts=2)  # a power of two rounds nothing
    assert torch.equal(larger.boxes, found.boxes * 2**power)


@pytest.mark.parametrize("distance", ["iou", "sse"])
def test_known_clusters_are_found(distance: str) -> None:
    centres = [(1.0, 1.2), (3.0, 8.0), (9.0, 3.0), (9.0, 12.0)]
    sizes = blobs(centres, 200, 0.1)
    found = cluster(sizes, 4, distance=distance)
    torch.testing.assert_close(found.boxes.float(), torch.tensor(centres), rtol=0.02, atol=0)
    assert found.converged
    assert 0.85 < found.average_iou < 1


def test_the_centre_is_the_mean_of_its_boxes() -> None:
    sizes = torch.tensor([[1.0, 1.0], [2.0, 2.0], [6.0, 3.0]])
    for distance in ("iou", "sse"):
        assert cluster(sizes, 1, distance=distance).boxes.tolist() == [[3, 2]]


def test_the_two_distances_differ_where_boxes_are_small() -> None:
    """The squared distance gives its centres to large boxes, as the paper says."""
    small, large = blobs([(1, 1), (3, 3)], 300, 0.2), blobs([(60, 60), (100, 100)], 300, 0.2)
    sizes = torch.cat((small, large))
    by_iou, by_square = cluster(sizes, 3), cluster(sizes, 3, distance="sse")
    assert by_iou.average_iou > by_square.average_iou
    assert (by_square.boxes[:, 0] < 5).sum() == 1
    assert (by_iou.boxes[:, 0] < 5).sum() == 2


def test_a_seed_gives_the_same_anchors_again() -> None:
    sizes = torch.rand(500, 2, generator=torch.Generator().manual_seed(1)) + 0.01
    first, again = (cluster(sizes, 5, seed=3, starts=1) for _ in range(2))
    assert torch.equal(first.boxes, again.boxes)
    assert not torch.equal(first.boxes, cluster(sizes, 5, seed=4, starts=1).boxes)


def test_more_starts_are_never_worse_than_the_first() -> None:
    sizes = torch.rand(300, 2, generator=torch.Generator().manual_seed(2)) + 0.01

    def cost(starts: int) -> float:
        found = cluster(sizes, 6, distance="sse", starts=starts).boxes.float()
        return (sizes[:, None] - found).square().sum(2).min(1).values.sum().item()

    costs = [cost(starts) for starts in (1, 2, 5, 10)]
    assert all(later <= earlier * (1 + 1e-6) for earlier, later in pairwise(costs))


def test_an_empty_cluster_goes_to_the_farthest_box() -> None:
    sizes = torch.tensor([[1.0, 1.0], [1.0, 1.1], [50.0, 50.0]])
    cost, labels = torch.tensor([0.0, 0.1, 0.9]), torch.tensor([0, 0, 0])
    moved = anchors._moved(sizes, cost, labels, 2)
    torch.testing.assert_close(moved, torch.stack((sizes.mean(0), sizes[2])))
    start = torch.tensor([[1.0, 1.0], [1.0, 1.0]])  # of two equal centres the second has no box
    found = anchors._lloyd(sizes, start, anchors.DISTANCES["iou"], 20)
    assert found.centres.isfinite().all()
    torch.testing.assert_close(found.centres.sort(0).values[1], sizes[2])


def test_too_few_rounds_are_said() -> None:
    sizes = torch.rand(1000, 2, generator=torch.Generator().manual_seed(3)) + 0.01
    assert not cluster(sizes, 8, rounds=2).converged
    assert cluster(sizes, 8).converged


def test_starts_on_a_sample_end_with_all_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = blobs([(1, 1), (5, 5), (20, 10)], 100, 0.2)
    whole = cluster(sizes, 3)
    monkeypatch.setattr(anchors, "SAMPLE", 60)
    monkeypatch.setattr(anchors, "PAIRS_AT_ONCE", 50)
    torch.testing.assert_close(cluster(sizes, 3).boxes, whole.boxes)


@pytest.mark.parametrize(
    ("sizes", "count", "message"),
    [
        (torch.ones(9, 2), 2, "2 anchors were asked for, but the boxes have only 1 different sizes"),
        (torch.ones(9, 2), 0, "0 anchors were asked for; it can be 1 to 1000"),
        (torch.ones(9, 2), 1001, "1001 anchors were asked for; it can be 1 to 1000"),
        (torch.ones(0, 2), 1, "with at least one row"),
        (torch.ones(3, 4), 1, "sizes (N, 2)"),
        (torch.tensor([[1.0, 0.0]]), 1, "must be above 0"),
        (torch.tensor([[1.0, math.nan]]), 1, "must be above 0"),
        (torch.tensor([[1.0, math.inf]]), 1, "must be above 0"),
    ],
)
def test_what_cannot_be_clustered(sizes: Tensor, count: int, message: str) -> None:
    with pytest.raises(DarknetError, match=re.escape(message)):
        cluster(sizes, count)


def test_the_boxes_of_faster_rcnn() -> None:
    found = faster_rcnn((800, 600)) * torch.tensor([800, 600])  # such a picture keeps its size
    areas = found.prod(1).view(3, 3)
    torch.testing.assert_close(areas, torch.tensor([[128.0], [256.0], [512.0]]).square().expand(3, 3).double())
    ratios = (found[:, 0] / found[:, 1]).view(3, 3)
    torch.testing.assert_close(ratios, torch.tensor([0.5, 1, 2]).double().expand(3, 3))
    torch.testing.assert_close(faster_rcnn((500, 375)), faster_rcnn((800, 600)))
    assert faster_rcnn((375, 500))[4].tolist() == pytest.approx([256 / 600, 256 / 800])
    assert faster_rcnn((2000, 500))[4].tolist() == pytest.approx([256 / 1000, 256 / 250])  # the longer side: 1000
    with pytest.raises(DarknetError, match="not possible"):
        faster_rcnn((0, 4))


def test_the_table_has_the_rows_of_the_paper() -> None:
    sizes = torch.rand(400, 2, generator=torch.Generator().manual_seed(4)) + 0.01
    rows = list(table(sizes, faster_rcnn()))
    assert [(row.name, len(row.boxes)) for row in rows] == [
        ("Cluster SSE", 5), ("Cluster IOU", 5), ("Anchor Boxes", 9), ("Cluster IOU", 9),
    ]  # fmt: skip
    assert rows[3].average_iou > rows[1].average_iou
    assert rows[2].average_iou == average_iou(sizes, faster_rcnn())
    assert rows[1].average_iou == cluster(sizes, 5).average_iou


def test_pairs() -> None:
    assert pairs([1, 2, 3, 4]).tolist() == [[1, 2], [3, 4]]
    for wrong in ([], [1.0], [1.0, 2.0, 3.0]):
        with pytest.raises(DarknetError, match=f"but {len(wrong)} numbers are given"):
            pairs(wrong)


# Labels and the command line

REGION = """[net]
width=416
height=416
channels=3
[maxpool]
size=32
stride=32
[convolutional]
filters=14
size=1
activation=linear
[{head}]
anchors={anchors}
classes=2
num=2
coords=4
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Twenty pictures with boxes of two shapes, one with a class alone, one bad and one missing label file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for n in range(20):
        w, h = (0.1, 0.2) if n % 2 else (0.5, 0.4)
        (tmp_path / f"labels/{n}.txt").write_text(f"0 .5 .5 {w} {h}\n1 .5 .5 {w} {h}\n")
    (tmp_path / "labels/20.txt").write_text("1 0 0 0 0\n0 .5 .5 .0005 .5\n")
    (tmp_path / "labels/21.txt").write_text("0 .5 .5 .1 .1\n0 .5 big .1 .1\n")
    (tmp_path / "train.txt").write_text("".join(f"images/{n}.jpg\n" for n in range(23)))
    (tmp_path / "x.data").write_text("classes=2\ntrain=train.txt\n")
    (tmp_path / "region.cfg").write_text(REGION.format(head="region", anchors="1,2, 7,5"))
    (tmp_path / "yolo.cfg").write_text(REGION.format(head="yolo", anchors="40,80, 210,160").replace("coords=4\n", ""))
    return tmp_path


@pytest.fixture
def run(here, capsys):
    def run(*arguments: str) -> tuple[int, list[str], list[str]]:
        code = main(["detector", "calc_anchors", *arguments])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return run


def test_boxes_come_from_the_label_files(here) -> None:
    problems: list[str] = []
    sizes, files = label_sizes([f"images/{n}.jpg" for n in range(23)], "train.txt", problems.append)
    assert (len(sizes), files) == (40, 21)  # neither the class alone nor the box that training drops
    torch.testing.assert_close(sizes.unique(dim=0), torch.tensor([[0.1, 0.2], [0.5, 0.4]]))
    assert len(problems) == 2
    assert "labels/21.txt:2" in problems[0]
    assert "labels/22.txt" in problems[1]


def test_anchors_in_cells(run) -> None:
    code, out, err = run("x.data", "-num", "2")
    assert code == 0
    assert out == [
        "40 boxes in 21 pictures; anchors in cells of 13 x 13",
        "Cluster IOU, 2 anchors: avg IOU 100.00 % (converged, 1 rounds)",
        "anchors = 1.3,2.6, 6.5,5.2",
    ]
    assert [line.startswith("darknet-py: labels/2") for line in err] == [True, True]


@pytest.mark.parametrize(
    ("arguments", "anchors_line"),
    [
        (["-num_of_clusters", "2", "-width", "320", "-height", "640"], "anchors = 1,4, 5,8"),
        (["--num", "2", "-W", "320", "-H", "640", "--sse"], "anchors = 1,4, 5,8"),
        (["-num", "2", "--pixels"], "anchors = 41.6,83.2, 208,166.4"),
        (["-num", "1", "--iou"], "anchors = 3.9,3.9"),
        (["region.cfg"], "anchors = 1.3,2.6, 6.5,5.2"),
        (["region.cfg", "-width", "320", "-height", "320"], "anchors = 1,2, 5,4"),
        (["yolo.cfg"], "anchors = 41.6,83.2, 208,166.4"),
        (["yolo.cfg", "-num", "1"], "anchors = 124.8,124.8"),
    ],
)
def test_size_and_units(run, arguments, anchors_line) -> None:
    code, out, _ = run("x.data", *arguments)
    assert code == 0
    assert out[-1] == anchors_line


def test_anchors_of_the_cfg_are_measured(run) -> None:
    _, out, _ = run("x.data", "region.cfg")
    found = re.fullmatch(r"Anchors of region\.cfg, 2 anchors: avg IOU (\S+) %", out[1])
    expected = slow_average_iou(torch.tensor([[1.3, 2.6], [6.5, 5.2]]), torch.tensor([[1.0, 2.0], [7.0, 5.0]]))
    assert float(found.group(1)) == pytest.approx(expected * 100, abs=0.01)


def test_given_anchors_are_measured_and_nothing_else(run) -> None:
    _, out, _ = run("x.data", "-anchors", "1.3,2.6, 6.5,5.2")
    assert out[1:] == ["Given anchors, 2 anchors: avg IOU 100.00 %"]
    code, _, err = run("x.data", "-anchors", "1,2,3")
    assert code == 1
    assert err[-1] == "darknet-py: anchors are pairs of width and height, but 3 numbers are given"


def test_the_table(run, here) -> None:
    rng = torch.Generator().manual_seed(0)
    for n, boxes in enumerate((torch.rand(20, 6, 2, generator=rng) * 0.9 + 0.05).tolist()):
        (here / f"labels/{n}.txt").write_text("".join(f"0 .5 .5 {w} {h}\n" for w, h in boxes))
    code, out, _ = run("x.data", "--table")
    assert code == 0
    assert out[2].split() == ["Box", "Generation", "#", "Avg", "IOU"]
    rows = [line.rsplit(maxsplit=2) for line in out[3:]]
    assert [row[:2] for row in rows] == [
        ["Cluster SSE", "5"], ["Cluster IOU", "5"], ["Anchor Boxes", "9"], ["Cluster IOU", "9"],
    ]  # fmt: skip
    assert 30 < float(rows[2][2]) < float(rows[3][2]) < 100
    _, other, _ = run("x.data", "--table", "--picture", "375x500")
    assert other[5] != out[5]
    assert other[6] == out[6]


def test_json(run) -> None:
    code, out, _ = run("x.data", "-num", "2", "--json")
    assert code == 0
    found = json.loads(out[0])
    assert (found["boxes"], found["pictures"], found["units"], found["scale"]) == (40, 21, "cells", [13, 13])
    (result,) = found["results"]
    assert result["anchors"] == [pytest.approx([1.3, 2.6]), pytest.approx([6.5, 5.2])]
    assert result["average_iou"] == pytest.approx(1)
    assert result["converged"]


def test_another_list(run, here) -> None:
    (here / "one.txt").write_text("images/1.jpg\n")
    _, out, err = run("x.data", "-num", "1", "--boxes-from", "one.txt")
    assert (out[-1], err) == ("anchors = 1.3,2.6", [])


def test_what_goes_wrong_is_one_line(run, here) -> None:
    assert run("x.data", "-num", "3")[2][-1].endswith(
        "3 anchors were asked for, but the boxes have only 2 different sizes"
    )
    (here / "none.txt").write_text("images/20.jpg\n")
    code, _, err = run("x.data", "--boxes-from", "none.txt")
    assert (code, err) == (1, ["darknet-py: none.txt: the labels of these pictures have no boxes"])
    (here / "empty.data").write_text("classes=2\n")
    assert "there is no train list in it" in run("empty.data")[2][-1]
    (here / "no.cfg").write_text("[net]\nwidth=8\nheight=8\nchannels=3\n[maxpool]\nsize=2\n")
    assert run("x.data", "no.cfg")[2][-1].startswith("darknet-py: no.cfg: there is no [region] and no [yolo]")
    assert "has no cell of 32 x 32 pixels" in run("x.data", "-width", "16")[2][-1]
    for wrong in (["-picture", "500"], ["-anchors", "a,b"], ["--sse", "--iou"], ["-num", "0"]):
        assert run("x.data", *wrong)[0] == 2


def test_many_problems_are_counted(run, here) -> None:
    (here / "train.txt").write_text("images/0.jpg\nimages/1.jpg\n" + "".join(f"images/m{n}.jpg\n" for n in range(30)))
    code, _, err = run("x.data", "-num", "2")
    assert code == 0
    assert len(err) == 11
    assert err[-1] == "darknet-py: and 20 problems more with label files, which are left out"
