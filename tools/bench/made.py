"""The files of the benches: cfgs of the repository, and generated weights, trees and pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from darknet_py import weights
from darknet_py.cfg import find_file
from darknet_py.layers.region import Region
from darknet_py.layers.yolo import Yolo
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.pictures.letterbox import fitted
from tools.bench.measuring import ROOT, BenchError
from tools.datasets.drawing import draw

TREE_LEVELS, TREE_GROUP = 17, 5  # a made tree: its levels and the children of one parent, as 9k.tree's
QUALITY = 85  # of JPEGs
SURE = 10  # boxes of the first picture that made weights are sure of


@dataclass(frozen=True)
class Setup:
    """Where files come from and where made ones go; `rounds` None takes each cost's own number."""

    darknet: Path | None
    cfgs: Sequence[Path]
    folder: Path
    rounds: int | None = None

    def find(self, name: str) -> Path | None:
        """A file of the Darknet checkout, or else of this repository."""
        places = (self.darknet, ROOT) if self.darknet else (ROOT,)
        return next((place / name for place in places if (place / name).is_file()), None)

    def graph(self, name: str) -> Graph:
        """The graph of a cfg that this repository has."""
        return Graph.read(self.find(f"cfg/{name}") or ROOT / "cfg" / name)

    def weights(self, graph: Graph) -> Path:
        """A weights file of random numbers, made once."""
        path = self.folder / f"{Path(graph.source).stem}.weights"
        if not path.exists():
            count = (weights.expected_bytes(graph)[0] - weights.Header().size) // 4
            values = np.random.default_rng(0).random(count, np.float32)
            with path.open("wb") as file:
                file.write(weights.Header().pack())
                file.write(values.astype("<f4", copy=False).data)
        return path


def tree_graph(setup: Setup) -> Graph:
    """YOLO9000's graph; where its tree is not found, with a made one of as many nodes."""
    graph = setup.graph("yolo9000.cfg")
    layer = graph.heads[0].layer
    if not isinstance(layer, Region) or layer.tree is None or find_file(layer.tree, graph.source).exists():
        return graph
    level = -(-layer.classes // TREE_LEVELS)
    parents = (n // level * level - level + n % level // TREE_GROUP for n in range(level, layer.classes))
    lines = (f"n{n} {parent}\n" for n, parent in enumerate((*[-1] * level, *parents)))
    (setup.folder / "made.tree").write_text("".join(lines), encoding="utf-8")
    text = re.sub(r"(?m)^\s*tree\s*=.*$", "tree=made.tree", Path(graph.source).read_text(encoding="utf-8"))
    return Graph.parse(text, str(setup.folder / "yolo9000.cfg"))


def draw_pictures(folder: Path, count: int, size: tuple[int, int]) -> list[str]:
    """Write pictures of coloured shapes."""
    paths = [str(folder / f"{n:04}.jpg") for n in range(count)]
    for n, path in enumerate(paths):
        picture, _ = draw(np.random.default_rng(n), size)
        picture.save(path, quality=QUALITY)
    return paths


def make_sure_weights(graph: Graph, picture: Tensor, path: Path) -> None:
    """Save random weights with which about `SURE` boxes of the first class are found in a picture, in all heads."""
    network = Network(graph, generator=torch.Generator().manual_seed(0)).eval()
    for head in graph.heads:
        layer, (source,) = head.layer, head.sources
        if not isinstance(layer, (Region, Yolo)):
            raise BenchError(f"{graph.source} does not end in [region] or [yolo]: name --weights of its own")
        with torch.inference_mode():
            x = fitted([picture], graph.input_shape.w, graph.input_shape.h)
            logits = network.tap(x, [source])[source].view(-1, layer.entries, *head.shape[1:])[:, 4]
        bias = network.layers[source].get_submodule("conv").get_parameter("bias").data.view(-1, layer.entries)
        bias[:, 4] -= logits.flatten().topk(SURE).values[-1]
        bias[:, 5] += 20
    weights.save(network, path)
