"""Boxes and scores as rows, to compare what is in a graph with `darknet_py.predict.decode`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from darknet_py.boxes.formats import xyxy_from_cxcywh
from darknet_py.engine import Engine
from darknet_py.network import Network
from darknet_py.predict.candidates import Candidates
from darknet_py.predict.decode import Settings
from darknet_py.predict.detector import Detector
from tests.support.places import GOLDEN
from tests.support.recordings import load_network

BOXES = GOLDEN / "boxes"


def recorded(name: str) -> tuple[Network, Tensor, float, float]:
    """A network with boxes, the recorded picture and two of noise, and the thresholds of scores and of NMS."""
    recording = np.load(BOXES / f"{name}.npz")
    network = load_network(BOXES / f"{name}.cfg", BOXES / f"{name}.weights")
    picture = torch.from_numpy(recording["input"]).view(1, *network.input_shape.dims)
    noise = torch.rand(2, *network.input_shape.dims, generator=torch.Generator().manual_seed(1))
    return network, torch.cat((picture, noise)), float(recording["thresh"]), float(recording["nms"])


def candidates(network: Network, x: Tensor, thresh: float) -> list[Candidates]:
    """What `darknet_py.predict.decode` finds in each picture, relative to the network's input."""
    detector, (_, h, w) = Detector(Engine(network)), network.input_shape
    with torch.no_grad():
        outputs = network.heads(x)
    pictures = zip(*(output.split(1) for output in outputs), strict=True)
    return [detector.candidates(heads, [(w, h)], Settings(thresh)) for heads in pictures]


def rows_of(found: Candidates) -> Tensor:
    """A row a (box, class): left, top, right, bottom, class, score."""
    boxes = xyxy_from_cxcywh(found.boxes)[found.box_index]
    return torch.cat((boxes, found.label[:, None], found.score[:, None]), 1)


def dense_rows(outputs: list[Tensor], n: int, thresh: float) -> Tensor:
    """The same of picture `n` in the outputs of a graph, in the same order."""
    boxes, scores = outputs[0][n], outputs[1][n]
    if len(outputs) > 2:  # with labels
        box = (scores > thresh).nonzero()[:, 0]
        label, score = outputs[2][n][box], scores[box]
    else:
        box, label = (scores > thresh).nonzero(as_tuple=True)
        score = scores[box, label]
    return torch.cat((boxes[box], label[:, None], score[:, None]), 1)


def are_alike(some: Tensor, others: Tensor) -> bool:
    """Whether the rows are the same, but for their order."""
    if some.shape != others.shape:
        return False
    apart = (some[:, None] - others[None]).abs().amax(2)
    return bool(apart.amin(0).max() < 1e-5 and apart.amin(1).max() < 1e-5)


def golden_cases(folder: str) -> list[str]:
    """The names of the recordings in a folder."""
    return sorted(path.stem for path in Path(GOLDEN, folder).glob("*.weights"))
