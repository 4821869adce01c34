"""Pictures that are decoded together, as on a GPU, give what each of them gives alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from darknet_py import devices
from darknet_py.boxes import suppress_gpu
from darknet_py.boxes.suppress import KINDS, Nms
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.predict.candidates import Candidates
from darknet_py.predict.decode import Settings, decode
from darknet_py.predict.detections import Detections
from darknet_py.predict.detector import Detector
from tests.support.places import GOLDEN
from tests.support.recordings import load_network

BOXES = GOLDEN / "boxes"
THREE_HEADS = "[net]\nwidth=64\nheight=32\nchannels=3\n" + "".join(
    f"[convolutional]\nfilters=21\nsize=3\nstride={stride}\npad=1\n[yolo]\nmask={mask}\nclasses=2\nnum=9\n"
    "anchors=5,7, 8,15, 16,10, 15,30, 31,22, 30,40, 58,45, 80,99, 180,160\n"
    for stride, mask in ((8, "6,7,8"), (2, "3,4,5"), (2, "0,1,2"))
)
NAMES = ("boxes_region", "boxes_region_sigmoid", "boxes_tree", "boxes_yolo", "boxes_detection", "three heads")
MAPS = {"boxes_tree": (None, (7, 0, 3, 3))}


def made(name: str) -> Network:
    if name == "three heads":
        return (
            Network(Graph.parse(THREE_HEADS), generator=torch.Generator().manual_seed(0)).eval().requires_grad_(False)
        )
    return load_network(BOXES / f"{name}.cfg", BOXES / f"{name}.weights").requires_grad_(False)


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(BOXES)  # where tiny.tree is
        return {name: made(name) for name in NAMES}


@contextmanager
def like_a_gpu(most: int = 1 << 22) -> Iterator[None]:
    """Let the CPU do what a GPU does, with so many pairs at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "suits", lambda device: True)
        patch.setattr(suppress_gpu, "BOX_PAIRS_AT_ONCE", most)
        patch.setattr(suppress_gpu, "ROW_PAIRS_AT_ONCE", most)
        for module in ("decode", "candidates"):
            patch.setattr(f"darknet_py.predict.{module}.places", lambda mask: mask.nonzero()[:, 0])
        patch.setattr(
            "darknet_py.predict.candidates.descending", lambda values: values.sort(descending=True, stable=True).indices
        )
        yield


def random_heads(network: Network, count: int, seed: int, *, coarse: bool, empty: Sequence[int]) -> list[Tensor]:
    """Outputs for noise, with equal scores if `coarse`, some numbers that are none, and pictures without boxes."""
    rng = torch.Generator().manual_seed(seed)
    heads = [head.clone() for head in network.heads(torch.randn(count, *network.input_shape.dims, generator=rng) * 3)]
    for head in heads:
        if coarse:
            head.copy_((head * 4).round() / 4)
        some = torch.randint(head.numel(), (3,), generator=rng)
        head.view(-1)[some] = torch.tensor([torch.nan, torch.inf, 88.0])  # exp(88) is nearly infinite
        head[[n for n in empty if n < count]] = 0
    return heads


def assert_same(mine: Sequence[Detections], wanted: Sequence[Detections]) -> None:
    """Bit by bit, in the same order."""
    assert len(mine) == len(wanted)
    for one, other in zip(mine, wanted, strict=True):
        assert (one.names, one.image_size) == (other.names, other.image_size)
        for found, expected in ((one.boxes, other.boxes), (one.scores, other.scores), (one.labels, other.labels)):
            assert found.dtype == expected.dtype
            assert torch.equal(found, expected)


sizes_of_pictures = st.lists(st.tuples(st.integers(1, 900), st.integers(1, 900)), min_size=1, max_size=5)
thresholds = st.sampled_from([0.0, 0.05, 0.2, 0.5, 1.0])


@settings(max_examples=150, deadline=None)
@given(st.data(), sizes_of_pictures, thresholds, thresholds, st.integers(0, 2**32 - 1))
def test_pictures_together_give_what_each_gives_alone(networks, data, sizes, thresh, hier, seed):
    name = data.draw(st.sampled_from(NAMES))
    how = Settings(thresh, hier, data.draw(st.sampled_from(MAPS.get(name, (None,)))))
    coarse, printed = (data.draw(st.booleans()) for _ in range(2))
    heads = random_heads(
        networks[name], len(sizes), seed, coarse=coarse, empty=data.draw(st.sampled_from([(), (0, 2)]))
    )
    detector = Detector(networks[name], ("a", "b"), as_printed=printed)
    nms = Nms(data.draw(st.sampled_from(list(KINDS))), data.draw(st.sampled_from([0, 0.3, 0.45])))
    alone = [detector.decode([head[n] for head in heads], size, how, nms) for n, size in enumerate(sizes)]
    assert_same(detector.decode_all(heads, sizes, how, nms), alone)
    with like_a_gpu(data.draw(st.sampled_from([7, 1 << 22]))):
        assert_same(detector.decode_all(heads, sizes, how, nms), alone)


def rows_of(found: Candidates, n: int) -> list[Tensor]:
    """Boxes and rows of one picture."""
    mine = found.picture_index == n
    row = mine[found.box_index]
    place = mine.cumsum(0) - 1
    boxes = place[found.box_index[row]]
    return [found.boxes[mine], found.objectness[mine], boxes, found.label[row], found.score[row]]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("chosen", [None, (7, 0, 3, 3)])
def test_candidates_have_the_order_that_they_have_alone(networks, name, chosen):
    network = networks[name]
    detector = Detector(network)
    _, h, w = network.input_shape
    heads = random_heads(network, 4, 1, coarse=False, empty=[2])
    how, graph_heads = Settings(0.2, map=chosen), network.graph.heads
    together = decode(graph_heads, heads, (w, h), how, detector.walk)
    assert together.picture_count == 4
    counts = []
    for n in range(4):
        alone = decode(graph_heads, [head[n : n + 1] for head in heads], (w, h), how, detector.walk)
        assert alone.picture_count == 1
        assert not alone.picture_index.any()
        for mine, wanted in zip(rows_of(together, n), rows_of(alone, 0), strict=True):
            torch.testing.assert_close(mine, wanted, rtol=0, atol=0, equal_nan=True)
        counts.append(len(alone.box_index))
    assert sum(counts) == len(together.box_index)
    assert counts[2] == 0 < min(counts[0], counts[1], counts[3])


def noise(sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
    rng = np.random.default_rng(0)
    return [torch.from_numpy(rng.integers(0, 256, (3, h, w), np.uint8)) for w, h in sizes]


@pytest.mark.parametrize("printed", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_detect_gives_the_same_on_both_ways(networks, name, printed):
    detector = Detector(networks[name], ("a", "b", "c"), as_printed=printed)
    several = noise([(60, 40), (33, 90), (64, 64), (7, 5)])
    for images, thresh in itertools.product((several, several[:1], []), (0.1, 0.3, 1.0)):
        wanted = detector.detect(images, Settings(thresh), Nms())
        with like_a_gpu():
            assert_same(detector.detect(images, Settings(thresh), Nms()), wanted)
        assert any(map(len, wanted)) or not images or thresh > 0.1


def test_a_gpu_decodes_the_batch_at_once(networks, monkeypatch):
    asked = []
    whole = Detector.decode_all

    def decode_all(self, heads, sizes, *args, **options):
        asked.append([len(head) for head in heads])
        return whole(self, heads, sizes, *args, **options)

    monkeypatch.setattr(Detector, "decode_all", decode_all)
    detector, images = Detector(networks["three heads"]), noise([(60, 40), (33, 90)])
    detector.detect(images, Settings(), Nms())
    with like_a_gpu():
        detector.detect(images, Settings(), Nms())
    assert asked == [[1, 1, 1], [1, 1, 1], [2, 2, 2]]


def test_what_is_found_may_be_changed(networks):
    detector, images = Detector(networks["boxes_region"]), noise([(60, 40), (33, 90)])
    with like_a_gpu():
        first, second = detector.detect(images, Settings(0.1), Nms())
    before = second.boxes.clone()
    assert len(first) > 0
    first.boxes.clamp_(min=5)  # no inference tensors
    first.scores.zero_()
    assert torch.equal(second.boxes, before)
    assert second.scores.min() > 0.1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("printed", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_finds_the_same(networks, name, printed):
    detector = Detector(networks[name], ("a", "b"), as_printed=printed)
    sizes = [(60, 40), (33, 90), (640, 480)]
    heads = random_heads(networks[name], 3, 5, coarse=False, empty=[1])
    for how in (Settings(map=chosen, thresh=0.1) for chosen in MAPS.get(name, (None,))):
        wanted = detector.decode_all(heads, sizes, how, Nms())
        found = detector.decode_all([head.cuda() for head in heads], sizes, how, Nms())
        for mine, other in zip(found, wanted, strict=True):
            assert mine.names == other.names
            assert torch.equal(mine.labels, other.labels)
            assert torch.equal(mine.scores, other.scores)
            torch.testing.assert_close(mine.boxes, other.boxes, rtol=1e-5, atol=1e-3)
