"""What test_default_dtype.py runs in a process of its own, with torch's defaults changed: whatever is computed."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch

import darknet_py
from darknet_py import weights
from darknet_py.cfg import read_data
from darknet_py.convert import convert
from darknet_py.data import ClassifierData, DetectionData, anchors
from darknet_py.evaluate import measure
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.train import MANNERS, TrainSettings, Update, train
from tests.support.drawn import classifier, data_file, detector, pictures

VALUES, GRAPHS = ("pt", "safetensors"), ("py", "onnx")


def rounded(values: torch.Tensor) -> list[Any]:
    """Plain numbers, and the type that they were."""
    return [str(values.dtype), values.double().mul(1e6).round().tolist()]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def found(folder: Path, paths: list[str]) -> dict[str, Any]:
    """What a detector and a classifier with new weights say of pictures, by file and as tensors."""
    results: dict[str, Any] = {}
    for kind in (detector, classifier):
        cfg = kind(folder / f"{kind.__name__}.cfg")
        stored = cfg.with_suffix(".weights")
        weights.save(Network.from_cfg(cfg, generator=torch.Generator().manual_seed(3)), stored)
        model = darknet_py.load(cfg, stored, device="cpu", names=["a", "b"])
        half = darknet_py.load(cfg, stored, device="cpu", engine="plain").network.bfloat16()
        picture = torch.linspace(0, 1, 3 * 20 * 30, dtype=torch.float64, device="cpu").view(3, 20, 30)
        several = [*paths, picture]
        if kind is detector:
            rows = [*model.detect(several, thresh=0.01), *darknet_py.Model(half).detect(several, thresh=0.01)]
            rows = [[one.names, rounded(one.boxes), rounded(one.scores), rounded(one.labels)] for one in rows]
        else:
            rows = [*model.classify(several), *darknet_py.Model(half).classify(several)]
            rows = [[one.names, rounded(one.probabilities), rounded(one.labels)] for one in rows]
        results[kind.__name__] = [digest(stored), rows]
    return results


def trained(folder: Path, paths: list[str]) -> dict[str, Any]:
    """Two updates of each; the weights after them."""
    data = read_data(data_file(folder, paths))
    results = {}
    for kind, samples, manner in ((detector, DetectionData, "detector"), (classifier, ClassifierData, "classifier")):
        graph = Graph.read(folder / f"{kind.__name__}.cfg")
        network = Network(graph, generator=torch.Generator().manual_seed(5))
        settings = TrainSettings(batches=2, folder=folder / manner, manner=MANNERS[manner], deterministic=True)
        updates: list[Update] = []
        train(network, samples.from_cfg(graph, data), settings, on_update=updates.append)
        weights.save(network, folder / "trained.weights")
        results[f"trained {manner}"] = [digest(folder / "trained.weights"), [update.loss for update in updates]]
    return results


def converted(folder: Path) -> dict[str, Any]:
    """The values that come back from each kind of file; each is compared with the network when it is written."""
    cfg, stored, back = folder / "detector.cfg", folder / "detector.weights", folder / "back.weights"
    results = {}
    for suffix in VALUES:
        convert(cfg, stored, folder / f"converted.{suffix}")
        convert(cfg, folder / f"converted.{suffix}", back)
        results[suffix] = digest(back)
    for suffix in GRAPHS:
        convert(cfg, stored, folder / f"converted.{suffix}")
    return results


def everything(folder: Path, paths: list[str]) -> dict[str, Any]:
    """All results as plain values."""
    boxes, files = anchors.label_sizes(paths, "list", print)
    made = anchors.cluster(boxes, 2)
    results = found(folder, paths) | trained(folder, paths) | converted(folder)
    scores = measure(darknet_py.load("detector.cfg", "detector.weights", device="cpu"), paths, thresh=0.01)
    results["map"] = [rounded(scores.found.edges), str(scores.average_precisions().tolist())]
    return results | {"anchors": [files, rounded(made.boxes), made.average_iou]}


if __name__ == "__main__":
    torch.set_num_threads(1)
    drawn = pictures(Path(), 5)
    torch.set_default_dtype(getattr(torch, sys.argv[1]))
    if sys.argv[2:]:
        torch.set_default_device(sys.argv[2])
    sys.stdout.write(json.dumps((found if sys.argv[2:] else everything)(Path(), drawn)))
