"""What training makes small: a file a kind of layer, and `criterion.py` that puts them together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from darknet_py.layers.bylayer import ByLayer
from darknet_py.layers.cost import Cost
from darknet_py.layers.detection import Detection
from darknet_py.layers.logistic import Logistic
from darknet_py.layers.region import Region
from darknet_py.layers.softmax import Softmax
from darknet_py.layers.yolo import Yolo
from darknet_py.loss.base import Loss
from darknet_py.loss.cost import CostLoss
from darknet_py.loss.detection import DetectionLoss
from darknet_py.loss.logistic import LogisticLoss
from darknet_py.loss.region import RegionLoss
from darknet_py.loss.softmax import SoftmaxLoss
from darknet_py.loss.yolo import YoloLoss
from darknet_py.network.graph import Graph, Node

LOSSES: Final[ByLayer[Callable[[Node, Graph], Loss]]] = ByLayer(
    "has no loss",
    {
        Region: RegionLoss,
        Yolo: YoloLoss,
        Detection: DetectionLoss,
        Softmax: SoftmaxLoss,
        Logistic: LogisticLoss,
        Cost: CostLoss,
    },
)
