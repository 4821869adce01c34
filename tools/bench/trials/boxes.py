"""Jobs of the bench of jobs with the boxes of a picture: decoding, suppression."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from darknet_py.boxes.formats import xyxy_from_cxcywh
from darknet_py.boxes.suppress import Nms, kept_rows
from darknet_py.engine import Engine
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.predict.decode import Settings
from darknet_py.predict.detections import Detections
from darknet_py.predict.detector import Detector
from tools.bench.peers.runner import needed
from tools.bench.trials.trial import Entrant, Results, Setup, Trial, invited

CANDIDATES = (1_000, 3_000, 10_000)
CLASSES = 80
THRESH, NMS = 0.005, 0.45
CELL = 32
HEAD = """[net]
width={side}
height={side}
channels=1
[maxpool]
size=32
stride=32
[convolutional]
filters=255
size=1
[yolo]
anchors=116,90, 156,198, 373,326
classes=80
num=3
"""


def decoding(setup: Setup) -> Iterator[Trial]:
    """The output of a [yolo] head to detections in pixels: decoded, suppressed, sorted."""
    for size in CANDIDATES:
        grid = max(1, round((setup.amount(size) / 3) ** 0.5))
        graph = Graph.parse(HEAD.format(side=CELL * grid))
        detector = Detector(Engine(Network(graph, initialize=False).eval()))
        output, side, nms = head_output(grid), (CELL * grid, CELL * grid), Nms(threshold=NMS)
        ours = Entrant("Detector.decode", partial(detector.decode, [output], side, Settings(THRESH), nms))
        others, absent = invited("torchvision", partial(ported, graph, output))
        yield Trial(f"{3 * grid**2:,} candidates", 3 * grid**2, [ours, *others], same_detections, absent)


def head_output(grid: int) -> Tensor:
    """Of a [yolo] head: every anchor of every cell has an object of one class, its neighbours mostly of the same."""
    rng = torch.Generator().manual_seed(0)
    output = torch.zeros(3, 5 + CLASSES, grid, grid)
    output[:, :2] = torch.rand(3, 2, grid, grid, generator=rng)
    output[:, 2:4] = torch.randn(3, 2, grid, grid, generator=rng) * 0.3
    output[:, 4] = torch.rand(3, grid, grid, generator=rng) * 0.9 + 0.1
    place = torch.arange(grid) // 4
    label = (place[:, None] * 7 + place * 3).expand(3, grid, grid) % CLASSES
    output[:, 5:].scatter_(1, label[:, None], torch.rand(3, 1, grid, grid, generator=rng) * 0.9 + 0.1)
    return output.flatten(0, 1)


def ported(graph: Graph, output: Tensor) -> Entrant:
    """Decoding as PyTorch ports of Darknet write it, ended by torchvision's NMS."""
    batched_nms = needed("torchvision.ops").batched_nms
    anchors = torch.tensor(graph.heads[0].layer.anchor_boxes)[:, None, None]  # type: ignore[attr-defined]
    side = graph.input_shape.w

    def decode() -> tuple[Tensor, Tensor, Tensor]:
        grid = output.shape[-1]
        values = output.view(3, 5 + CLASSES, grid, grid).permute(0, 2, 3, 1)
        y, x = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
        centre = (values[..., :2] + torch.stack((x, y), -1)) / grid
        boxes = torch.cat((centre, values[..., 2:4].exp() * anchors / side), -1).view(-1, 4)
        scores = (values[..., 4:5] * values[..., 5:]).reshape(-1, CLASSES)
        box, label = (scores > THRESH).nonzero(as_tuple=True)
        edges, score = xyxy_from_cxcywh(boxes)[box] * side, scores[box, label]
        keep = batched_nms(edges, score, label, NMS)
        return edges[keep], score[keep], label[keep]

    return Entrant("torchvision", decode, "Detector.decode", note="as ports write it")


def same_detections(results: Results) -> str:
    """Whether the same boxes are left."""
    ours: Detections = results["Detector.decode"]
    if "torchvision" not in results:
        return ""
    edges, score, _ = results["torchvision"]
    count = f"{len(ours)} and {len(score)}"
    same = len(score) == len(ours) and torch.allclose(ours.boxes.float(), edges, atol=1e-2)
    return f"the same {len(ours)} boxes are left" if same else f"{count} boxes are left: they DIFFER"


def suppressing(setup: Setup, classes: int = CLASSES) -> Iterator[Trial]:
    """NMS of boxes about objects, ten to each, each box with one class."""
    for size in CANDIDATES:
        count = setup.amount(size)
        boxes, label, score = near_objects(count, classes)
        box, edges = torch.arange(count), xyxy_from_cxcywh(boxes)
        ours = Entrant("boxes.nms", partial(kept_rows, boxes, box, label, score, NMS))
        others, absent = invited("torchvision", partial(torchvision_nms, edges, score, label))
        yield Trial(f"{count:,} candidates", count, [ours, *others], same_kept, absent)


def near_objects(count: int, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes cxcywh, classes and scores."""
    rng = torch.Generator().manual_seed(0)
    objects = max(1, count // 10)
    which = torch.randint(objects, (count,), generator=rng)
    centre, size = torch.rand(objects, 2, generator=rng), torch.rand(objects, 2, generator=rng) * 0.25 + 0.03
    boxes = torch.cat((centre, size), 1)[which]
    boxes += torch.randn(count, 4, generator=rng) * 0.15 * boxes[:, 2:].repeat(1, 2)
    boxes[:, 2:].clamp_(min=0.005)
    return boxes, torch.randint(classes, (objects,), generator=rng)[which], torch.rand(count, generator=rng)


def torchvision_nms(edges: Tensor, score: Tensor, label: Tensor) -> Entrant:
    """The compiled loop of torchvision."""
    return Entrant("torchvision", partial(needed("torchvision.ops").batched_nms, edges, score, label, NMS), "boxes.nms")


def same_kept(results: Results) -> str:
    """Whether the same boxes are kept."""
    if "torchvision" not in results:
        return ""
    ours, theirs = set(results["boxes.nms"].nonzero()[:, 0].tolist()), set(results["torchvision"].tolist())
    if ours == theirs:
        return f"the same {len(ours)} boxes are kept"
    return f"{len(ours)} and {len(theirs)} boxes are kept, of which {len(ours ^ theirs)} DIFFER"
