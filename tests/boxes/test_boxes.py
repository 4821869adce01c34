from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from darknet_py import devices
from darknet_py.boxes import formats, neighbours, suppress, suppress_cpu, suppress_gpu
from darknet_py.boxes import overlap as overlaps
from darknet_py.boxes.suppress import KINDS, Nms, kept_boxes, kept_rows
from darknet_py.errors import DarknetError, ImageError
from darknet_py.pictures.operations import letterbox_size

RECORDINGS = sorted((Path(__file__).parents[1] / "golden" / "boxes").glob("*.npz"))

# Coarse values make ties, identical boxes and edges that just touch; zero sizes are among them.
coordinate = st.integers(0, 8).map(lambda n: n / 8)
some_boxes = st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), min_size=1, max_size=24)
fine = st.floats(0, 1, width=32)
fine_boxes = st.lists(st.tuples(fine, fine, fine, fine), min_size=1, max_size=12)
no_deadline = settings(deadline=None)  # the first call of a torch function can be slow
odd_numbers = st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e30, -1e30, -1.0, 1e7])
threshold = st.sampled_from([0.0, 0.1, 1 / 3, 0.45, 0.5, 1.0])


def iou_in_c(a: np.ndarray, b: np.ndarray) -> np.float32:
    def overlap(x1: np.float32, w1: np.float32, x2: np.float32, w2: np.float32) -> np.float32:
        return min(x1 + w1 / two, x2 + w2 / two) - max(x1 - w1 / two, x2 - w2 / two)

    two, zero = np.float32(2), np.float32(0)
    w, h = overlap(a[0], a[2], b[0], b[2]), overlap(a[1], a[3], b[1], b[3])
    inter = zero if w < 0 or h < 0 else w * h
    union = a[2] * a[3] + b[2] * b[3] - inter
    with np.errstate(all="ignore"):
        return np.divide(inter, union)


def greedy(boxes: Tensor, box: Tensor, label: Tensor, score: Tensor, threshold: float) -> list[bool]:
    """The loop of do_nms_sort, class after class, over a stable sort."""
    keep = [True] * len(box)
    place = boxes.numpy()
    for c in set(label.tolist()):
        rows = [k for k in range(len(box)) if label[k] == c]
        rows.sort(key=lambda k: -float(score[k]))
        for n, i in enumerate(rows):
            if keep[i]:
                for j in rows[n + 1 :]:
                    if iou_in_c(place[box[i]], place[box[j]]) > np.float32(threshold):
                        keep[j] = False
    return keep


def one_picture(boxes: Tensor) -> Tensor:
    """That all boxes are in the first picture."""
    return torch.zeros(len(boxes), dtype=torch.int64)


def left_over(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:  # (N, 4), (N, C) -> (N, C)
    """The scores with 0 where suppressed, as the C program leaves them."""
    box, label = scores.nonzero(as_tuple=True)
    lost = ~kept_rows(boxes, box, label, scores[box, label], threshold)
    return scores.index_put((box[lost], label[lost]), scores.new_zeros(()))


def as_sets(rows: Tensor) -> Tensor:
    return torch.tensor(sorted(rows.tolist()))


@no_deadline
@given(fine_boxes)
def test_formats_round_trip(values: list[tuple[float, ...]]) -> None:
    boxes = torch.tensor(values, dtype=torch.float64)
    edges = formats.xyxy_from_cxcywh(boxes)
    assert edges.dtype == boxes.dtype
    torch.testing.assert_close(edges[..., 2:] - edges[..., :2], boxes[..., 2:])
    torch.testing.assert_close(formats.cxcywh_from_xyxy(edges), boxes)


def test_formats_keep_leading_dims_and_shape_of_nothing() -> None:
    assert formats.xyxy_from_cxcywh(torch.zeros(2, 3, 4)).shape == (2, 3, 4)
    assert formats.cxcywh_from_xyxy(torch.zeros(0, 4)).shape == (0, 4)


@no_deadline
@given(fine_boxes, fine_boxes)
def test_iou_is_the_c_arithmetic_bit_for_bit(left: list[tuple[float, ...]], right: list[tuple[float, ...]]) -> None:
    a, b = torch.tensor(left), torch.tensor(right)
    expected = [[iou_in_c(p, q) for q in b.numpy()] for p in a.numpy()]
    torch.testing.assert_close(
        overlaps.pairwise_iou(a, b), torch.tensor(np.nan_to_num(expected, posinf=np.inf)), rtol=0, atol=0
    )


def test_iou_broadcasts_and_of_empty_boxes_is_zero() -> None:
    a = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.0, 0.0]])
    assert overlaps.iou(a[:, None, None], a).shape == (2, 1, 2)
    assert overlaps.pairwise_iou(a, a).tolist() == [[1, 0], [0, 0]]


@no_deadline
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 20), st.integers(1, 20), fine_boxes)
def test_unletterbox_undoes_a_letterbox(
    w: int, h: int, cells_w: int, cells_h: int, values: list[tuple[float, ...]]
) -> None:
    network = net_w, net_h = cells_w * 32, cells_h * 32
    inner_w, inner_h = letterbox_size(w, h, net_w, net_h)
    boxes = torch.tensor(values, dtype=torch.float64)
    inner, outer = torch.tensor([inner_w, inner_h]).double(), torch.tensor(network).double()
    centre = (boxes[:, :2] * inner + (outer - inner) / 2) / outer
    letterboxed = torch.cat((centre, boxes[:, 2:] * inner / outer), 1)
    torch.testing.assert_close(formats.unletterbox(letterboxed, one_picture(boxes), [(w, h)], network), boxes)


def test_unletterbox_uses_whole_pixels_as_the_c_program() -> None:
    boxes = torch.tensor([[0.5, 5 / 48, 0.5, 20 / 48]])
    found = formats.unletterbox(boxes, one_picture(boxes), [(91, 57)], (64, 48))  # inside: 64 x 40, not 40.09
    torch.testing.assert_close(found, torch.tensor([[0.5, 1 / 40, 0.5, 0.5]]))


@pytest.mark.parametrize("sizes", [((0, 5), (32, 32)), ((5, 5), (32, -1))])
def test_unletterbox_refuses_sizes_that_are_none(sizes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    with pytest.raises(ImageError, match="needs at least one pixel"):
        formats.unletterbox(torch.rand(2, 4), torch.tensor([0, 1]), [(5, 5), sizes[0]], sizes[1])


@st.composite
def rows(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes and, of every (box, class), some or all in any order; few distinct scores."""
    boxes = torch.tensor(draw(some_boxes | fine_boxes))
    classes = draw(st.integers(1, 4))
    cells = draw(st.permutations(range(len(boxes) * classes)))
    cells = cells[: draw(st.integers(0, len(cells)))] if draw(st.booleans()) else cells
    index = torch.tensor(cells, dtype=torch.int64)
    levels = draw(st.sampled_from([3, 1000]))
    score = torch.tensor(draw(st.lists(st.integers(1, levels), min_size=len(cells), max_size=len(cells))))
    spread = draw(st.sampled_from([1, 1000]))  # far apart, few of the classes in use
    return boxes, index // classes, index % classes * spread, score.float() / levels


@settings(max_examples=300, deadline=None)
@given(rows(), threshold)
def test_nms_is_the_greedy_loop(case: tuple[Tensor, Tensor, Tensor, Tensor], threshold: float) -> None:
    assert kept_rows(*case, threshold).tolist() == greedy(*case, threshold)


@settings(max_examples=150, deadline=None)
@given(rows(), threshold)
def test_nms_of_other_devices_is_the_greedy_loop(
    case: tuple[Tensor, Tensor, Tensor, Tensor], threshold: float
) -> None:  # fmt: skip
    assert suppress_gpu.kept(*case, threshold).tolist() == greedy(*case, threshold)


PIECES = {"BEST_ROWS": 3, "PAIRS_IN_ONE_GO": 4, "ROWS_TOGETHER": 7, "SCORES_AT_ONCE": 5}


@no_deadline
@given(rows(), threshold, st.sampled_from([3, 40, 1 << 22]))
def test_nms_is_the_same_in_small_pieces(
    case: tuple[Tensor, Tensor, Tensor, Tensor], threshold: float, most: int
) -> None:  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suppress_gpu, "BOX_PAIRS_AT_ONCE", 5)
        patch.setattr(suppress_gpu, "ROW_PAIRS_AT_ONCE", 3)
        patch.setattr(suppress_gpu, "ROUNDS_BLINDLY", 1)
        for name, size in {**PIECES, "MOST_PAIRS": most}.items():
            patch.setattr(suppress_cpu, name, size)
        patch.setattr(neighbours, "TILE_ROWS", 2)
        patch.setattr(neighbours, "TILE_COLUMNS", 3)
        assert kept_rows(*case, threshold).tolist() == greedy(*case, threshold)
        assert suppress_gpu.kept(*case, threshold).tolist() == greedy(*case, threshold)


Case = tuple[Tensor, Tensor, Tensor, Tensor]


@st.composite
def pictures(draw: st.DrawFn) -> tuple[Case, Tensor]:
    """The boxes and rows of several pictures, shuffled, and of every box its picture; some pictures have none."""
    cases = draw(st.lists(rows(), min_size=1, max_size=4))
    counts = [len(case[0]) for case in cases]
    starts = np.cumsum([0, *counts[:-1]])
    boxes = torch.cat([case[0] for case in cases])
    box = torch.cat([case[1] + int(start) for case, start in zip(cases, starts, strict=True)])
    picture = torch.arange(len(cases)).repeat_interleave(torch.tensor(counts)) * draw(st.sampled_from([1, 3]))
    odd = draw(st.lists(st.tuples(st.integers(0, len(boxes) - 1), st.integers(0, 3), odd_numbers), max_size=4))
    for n, side, value in odd:
        boxes[n, side] = value
    order = torch.tensor(draw(st.permutations(range(len(boxes)))))
    shuffled = torch.tensor(draw(st.permutations(range(len(box)))), dtype=torch.int64)
    place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))
    label, score = (torch.cat([case[n] for case in cases])[shuffled] for n in (2, 3))
    return (boxes[order], place[box[shuffled]], label, score), picture[order]


def one_by_one(case: Case, picture: Tensor, threshold: float) -> Tensor:
    """The mask of `nms` for each picture alone."""
    boxes, box, label, score = case
    keep = torch.zeros_like(box, dtype=torch.bool)
    for n in picture.unique():
        mine = (picture[box] == n).nonzero()[:, 0]
        keep[mine] = kept_rows(boxes, box[mine], label[mine], score[mine], threshold)
    return keep


@settings(max_examples=200, deadline=None)
@given(pictures(), threshold, st.sampled_from([1, 5, 1 << 20]))
def test_pictures_never_meet(found: tuple[Case, Tensor], threshold: float, most: int) -> None:
    case, picture = found
    wanted = one_by_one(case, picture, threshold)
    assert torch.equal(kept_rows(*case, threshold, picture), wanted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suppress_gpu, "BOX_PAIRS_AT_ONCE", most)
        patch.setattr(suppress_gpu, "ROW_PAIRS_AT_ONCE", most)
        assert torch.equal(suppress_gpu.kept(*case, threshold, picture), wanted)


@no_deadline
@given(pictures(), st.sampled_from([0.0, 0.45]))
def test_surest_boxes_of_pictures_never_meet(found: tuple[Case, Tensor], threshold: float) -> None:
    (boxes, *_), picture = found
    objectness = (torch.arange(len(boxes)) % 3) / 2
    keep = kept_boxes(boxes, objectness, threshold, picture)
    for n in picture.unique():
        mine = picture == n
        assert torch.equal(keep[mine], kept_boxes(boxes[mine], objectness[mine], threshold))


def test_a_picture_more_costs_as_much_as_the_first() -> None:
    boxes = torch.rand(50, 4, generator=torch.Generator().manual_seed(0))
    _, _, reach = suppress_gpu._sorted(boxes, None)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    _, _, of_four = suppress_gpu._sorted(boxes.repeat(4, 1)[order], (torch.arange(200) // 50)[order])
    assert 0 < int(reach.sum()) < 50 * 49 // 2
    assert of_four.sum() == 4 * reach.sum()


@no_deadline
@given(pictures(), st.lists(st.tuples(st.integers(1, 999), st.integers(1, 999)), min_size=10, max_size=10))
def test_every_box_is_measured_by_its_own_picture(found: tuple[Case, Tensor], sizes: list[tuple[int, int]]) -> None:
    (boxes, *_), picture = found
    together = formats.unletterbox(boxes, picture, sizes, (64, 96))
    for n in picture.unique():
        mine = boxes[picture == n]
        alone = formats.unletterbox(mine, one_picture(mine), [sizes[n]], (64, 96))
        torch.testing.assert_close(together[picture == n], alone, rtol=0, atol=0, equal_nan=True)


def test_rows_go_to_the_cpu_in_one_piece_bit_by_bit() -> None:
    boxes = torch.tensor([[torch.nan, -0.0, 1e-42, torch.inf], [0.1, -1e30, 1, 2]])
    columns = torch.tensor([0.3, 0.7]), torch.tensor([9417, 0]), torch.tensor([15, 2**31 - 1])
    back = devices.unpacked(devices.packed(boxes, *columns), [column.dtype for column in columns])
    for mine, sent in zip(back, (boxes, *columns), strict=True):
        assert mine.dtype == sent.dtype
        assert mine.numpy().tobytes() == sent.numpy().tobytes()
    nothing = devices.unpacked(devices.packed(boxes[:0], columns[0][:0]), [torch.float32])
    assert [part.shape for part in nothing] == [(0, 4), (0,)]
    assert all(part is sent for part, sent in zip(devices.on_cpu(boxes, *columns), (boxes, *columns), strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("seed", range(4))
def test_a_gpu_keeps_the_same(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    objects = torch.rand(80, 4, generator=rng)
    boxes = objects[torch.randint(80, (900,), generator=rng)] + torch.randn(900, 4, generator=rng) * 0.05
    box, label = torch.arange(2700) // 3, torch.arange(2700) % 3 * (1, 900)[seed % 2]
    score, picture = (torch.rand(2700, generator=rng) * 50).round(), torch.randint(5, (900,), generator=rng)
    boxes[::100] = torch.nan
    case = boxes, box, label, score
    found = kept_rows(*(column.cuda() for column in case), 0.45, picture.cuda())
    assert torch.equal(found.cpu(), one_by_one(case, picture, 0.45))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])  # small boxes far from the origin, and pixels
def test_both_ways_of_nms_agree_on_many_boxes(seed: int, scale: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    count, classes = 700, (1, 3, 90)[seed % 3]
    objects = torch.rand(count // 10, 4, generator=rng) * torch.tensor([1, 1, 0.3, 0.3]) * scale + (seed > 2)
    boxes = objects[torch.randint(len(objects), (count,), generator=rng)]
    boxes += torch.randn(count, 4, generator=rng) * 0.05 * scale
    label = torch.randint(classes, (count,), generator=rng)
    every = torch.arange(count * classes) if classes < 90 else torch.randperm(count * classes, generator=rng)[:40000]
    for box, labels in ((torch.arange(count), label), (every // classes, every % classes)):
        case = boxes, box, labels, (torch.rand(len(box), generator=rng) * 50).round()
        assert torch.equal(kept_rows(*case, 0.45), suppress_gpu.kept(*case, 0.45))


@pytest.mark.parametrize("seed", range(4))
def test_classes_never_meet_where_there_are_many_boxes(seed: int) -> None:
    """Large boxes of few classes, of which some are far more common: blocks of rows then have several classes."""
    rng, count = torch.Generator().manual_seed(seed), 6000
    boxes, score = torch.rand(count, 4, generator=rng), torch.rand(count, generator=rng)
    label = (torch.rand(count, generator=rng) * torch.rand(count, generator=rng) * 6).long()
    wanted = torch.ones(count, dtype=torch.bool)
    for number in label.unique():
        rows = (label == number).nonzero()[:, 0]
        rows = rows[score[rows].sort(descending=True, stable=True).indices]
        overlap = (overlaps.pairwise_iou(boxes[rows], boxes[rows]) > 0.3).triu_(1)
        for place, row in enumerate(rows):
            if wanted[row]:
                wanted[rows[overlap[place]]] = False
    box = torch.arange(count)
    assert torch.equal(kept_rows(boxes, box, label, score, 0.3), wanted)
    assert torch.equal(suppress_gpu.kept(boxes, box, label, score, 0.3), wanted)


@no_deadline
@given(pictures(), threshold)
def test_every_kind_keeps_what_its_function_keeps(found: tuple[Case, Tensor], threshold: float) -> None:
    case, picture = found
    objectness = (torch.arange(len(case[0])) % 3) / 2
    for kind in KINDS:
        kept = Nms(kind, threshold).kept(case[0], objectness, *case[1:], picture)
        if not threshold:
            assert kept.all()
        elif kind == "class":
            assert torch.equal(kept, kept_rows(*case, threshold, picture))
        else:
            assert torch.equal(kept, kept_boxes(case[0], objectness, threshold, picture)[case[1]])


def half_of_the_iou(a: Tensor, b: Tensor) -> Tensor:
    return overlaps.iou_of_edges(a, b) / 2


@settings(max_examples=60, deadline=None)
@given(rows(), st.sampled_from([0.0, 0.1, 0.25, 0.45]))
def test_a_kind_may_measure_otherwise(case: Case, threshold: float) -> None:
    wanted = greedy(*case, 2 * threshold)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suppress, "KINDS", {"half": suppress.Kind(measure=half_of_the_iou)})
        nms = Nms("half", threshold)
        kept = nms.kept(case[0], torch.ones(len(case[0])), *case[1:])
    assert kept.tolist() == (wanted if threshold else [True] * len(case[1]))
    assert suppress_gpu.kept(*case, threshold, None, half_of_the_iou).tolist() == wanted


def test_a_threshold_becomes_a_kind_and_what_is_one_stays() -> None:
    assert Nms.of(0.3) == Nms("class", 0.3)
    assert Nms.of(0.3, "objectness") == Nms("objectness", 0.3)
    assert Nms.of(Nms("objectness", 0.3)) == Nms("objectness", 0.3)


@pytest.mark.parametrize("threshold", [-0.1, float("nan")])
def test_a_kind_or_threshold_that_is_none_is_refused(threshold: float) -> None:
    with pytest.raises(DarknetError, match="the NMS threshold is"):
        Nms("class", threshold)
    with pytest.raises(DarknetError, match="no kind of NMS called 'soft'; use one of class, objectness"):
        Nms("soft")


@no_deadline
@given(some_boxes, st.data())
def test_suppression_by_objectness_leaves_zeros_out(values: list[tuple[float, ...]], data: st.DataObject) -> None:
    boxes = torch.tensor(values)
    objectness = torch.tensor(
        data.draw(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=len(boxes), max_size=len(boxes)))
    )
    box = objectness.nonzero()[:, 0]
    expected = torch.zeros(len(boxes), dtype=torch.bool)
    expected[box] = torch.tensor(greedy(boxes, box, box * 0, objectness[box], 0.4), dtype=torch.bool)
    assert kept_boxes(boxes, objectness, 0.4).tolist() == expected.tolist()


def test_nms_of_nothing() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert kept_rows(torch.zeros(0, 4), none, none, torch.zeros(0), 0.5).shape == (0,)
    assert left_over(torch.rand(3, 4), torch.zeros(3, 2), 0.5).tolist() == [[0, 0]] * 3
    assert kept_boxes(torch.rand(3, 4), torch.zeros(3), 0.5).tolist() == [False] * 3


def test_nms_keeps_boxes_that_are_not_finite() -> None:
    boxes = torch.tensor([[0.5, 0.5, torch.inf, 1], [torch.nan, 0.5, 1, 1], [0.5, 0.5, 1, 1], [0.5, 0.5, 1, 0.9]])
    objectness = torch.tensor([0.9, 0.8, 0.7, 0.6])
    assert kept_boxes(boxes, objectness, 0.45).tolist() == [True, True, True, False]
    row, label = torch.arange(4), torch.zeros(4, dtype=torch.int64)
    assert suppress_gpu.kept(boxes, row, label, objectness, 0.45).tolist() == [True, True, True, False]
    swapped = torch.tensor([[0.5, 0.5, -1, -1], [0.5, 0.5, -1, 1], [0.5, 0.5, 1, 1], [0.5, 0.5, 0, 0]])  # no sides
    assert kept_boxes(swapped, objectness, 0.0).all()
    assert suppress_gpu.kept(swapped, row, label, objectness, 0.0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_nms_takes_other_kinds_of_numbers(dtype: torch.dtype) -> None:
    boxes = torch.tensor([[0.5, 0.5, 1, 1], [0.5, 0.5, 1, 0.75], [0.5, 0.5, 0.25, 0.25]], dtype=dtype)
    row, label = torch.arange(3), torch.zeros(3, dtype=torch.int64)
    assert kept_rows(boxes, row, label, torch.tensor([0.5, 0.75, 0.25], dtype=dtype), 0.45).tolist() == [
        False,
        True,
        True,
    ]


def test_nms_leaves_its_input_and_gradients_alone() -> None:
    boxes = torch.rand(30, 4, requires_grad=True)
    scores = torch.rand(30, 3, requires_grad=True)
    before = scores.detach().clone()
    kept = left_over(boxes, scores, 0.1)
    assert torch.equal(scores, before)
    kept.sum().backward()
    assert torch.equal(scores.grad, (kept != 0).float())


@pytest.mark.parametrize("threshold", [-0.1, float("nan")])
def test_nms_refuses_a_threshold_that_is_none(threshold: float) -> None:
    with pytest.raises(DarknetError, match="threshold"):
        kept_boxes(torch.rand(2, 4), torch.ones(2), threshold)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_nms_gives_the_recorded_scores(path: Path) -> None:
    with np.load(path) as recorded:
        before, after = torch.from_numpy(recorded["before_nms"]), torch.from_numpy(recorded["after_nms"])
        threshold = float(recorded["nms"])
    found = before.clone()
    found[:, 5:] = left_over(before[:, :4], before[:, 5:], threshold)
    assert torch.equal(as_sets(found), as_sets(after))
    assert not torch.equal(found, before)


def test_recordings_are_there() -> None:
    assert len(RECORDINGS) >= 7


def test_many_overlapping_boxes_stay_quick_and_exact() -> None:
    rng = torch.Generator().manual_seed(0)
    centres = torch.rand(40, 4, generator=rng) * 0.5 + 0.1
    boxes = centres.repeat(25, 1) + torch.randn(1000, 4, generator=rng) * 0.02
    scores = torch.rand(1000, 6, generator=rng)
    kept = left_over(boxes, scores, 0.45) > 0
    over = overlaps.pairwise_iou(boxes, boxes) > 0.45
    for c in range(6):
        order = scores[:, c].argsort(descending=True, stable=True)
        keep = torch.ones(1000, dtype=torch.bool)
        for n, i in enumerate(order):
            if keep[i]:
                keep[order[n + 1 :]] &= ~over[i, order[n + 1 :]]
        assert torch.equal(kept[:, c], keep)
