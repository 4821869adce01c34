"""Decoding and NMS beside the forward pass, for outputs with few candidates and with as many as there can be."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from darknet_py.boxes.suppress import Nms
from darknet_py.engine import Engine
from darknet_py.layers.region import Region
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.predict.decode import Settings
from darknet_py.predict.detector import Detector
from tools.bench import limits
from tools.bench.made import Setup, tree_graph
from tools.bench.measuring import BenchError, sample, timed
from tools.bench.rows import Row, milliseconds, percentage

THRESH, HIER, NMS = 0.005, 0.5, 0.45  # as `detector valid`
PICTURE = (768, 576)


def decoding(setup: Setup) -> Iterator[Row]:
    """Decoding and NMS as a share of the forward pass."""
    yield from _decoding(setup.graph("yolov2.cfg").resized(608, 608), setup.rounds or 7)
    yield from _decoding(tree_graph(setup), setup.rounds or 7)


def _decoding(graph: Graph, rounds: int) -> Iterator[Row]:
    rng = torch.Generator().manual_seed(0)
    network = Network(graph, generator=rng).eval()
    detector, settings = Detector(Engine(network)), Settings(THRESH, HIER)
    picture = torch.rand(1, *graph.input_shape.dims, generator=rng)
    name = f"{Path(graph.source).name} {graph.input_shape.w}"
    forward = torch.inference_mode()(partial(network.heads, picture))
    outputs = {
        "as trained": made_output(network, rng, -6, 4),  # few boxes are sure, and of few classes
        "random weights": forward()[0][0],
        "every box": made_output(network, rng, 16, 1 / 8),  # is of every class, where there are not too many
    }
    works = {"forward": timed(forward)}
    for case, output in outputs.items():
        works[case] = timed(partial(detector.decode, [output], PICTURE, settings, Nms(threshold=NMS)))
    found = sample(works, rounds)
    for case, seconds in found.items():
        yield milliseconds("decode", f"{name}, {case}", seconds)
    for case, output in outputs.items():
        before, after = (len(detector.decode([output], PICTURE, settings, Nms(threshold=nms))) for nms in (0, NMS))
        note = f"{before} candidates, {after} left"
        times = found[case], found["forward"]
        yield percentage("decode", f"{name}, {case}", "forward", *times, limits.DECODE, note)


def made_output(network: Network, rng: torch.Generator, objectness: float, sharpness: float) -> Tensor:
    """What a region head makes of normal numbers: objectness about its value, classes times their sharpness."""
    (head,) = network.graph.heads
    layer, (c, h, w) = head.layer, head.shape
    if not isinstance(layer, Region):
        raise BenchError(f"{network.graph.source}: a cfg that ends in [region] was expected")
    x = torch.randn(1, c, h, w, generator=rng)
    _, box, scale, classes = x.view(layer.num, layer.entries, h, w).split((2, layer.coords - 2, 1, layer.classes), 1)
    box /= 4
    scale.mul_(2).add_(objectness)
    classes *= sharpness
    output: Tensor = network.layers[head.index](x)[0]
    return output
