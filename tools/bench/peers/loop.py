"""The loop that OpenCV users write for a detector."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tools.bench.measuring import BenchError
from tools.bench.peers.runner import needed


def opencv_detector(cfg: Path, weights: Path, size: tuple[int, int], thresh: float, nms: float) -> Callable[[str], int]:
    """How many boxes are in a picture file: imread, blobFromImage, forward, NMSBoxes."""
    cv2 = needed("cv2")
    if not hasattr(cv2.dnn, "readNetFromDarknet"):
        raise BenchError(f"OpenCV {cv2.__version__} cannot read Darknet's files any more; 4.x can")
    cv2.setNumThreads(torch.get_num_threads())
    net = cv2.dnn.readNetFromDarknet(str(cfg), str(weights))
    names = net.getUnconnectedOutLayersNames()

    def detect(path: str) -> int:
        image = cv2.imread(path)
        net.setInput(cv2.dnn.blobFromImage(image, 1 / 255, size, swapRB=True))
        rows = np.concatenate(net.forward(names))
        scores = rows[:, 5:].max(1)
        sure = scores > thresh
        boxes = rows[sure, :4] * np.tile(image.shape[1::-1], 2)
        boxes[:, :2] -= boxes[:, 2:] / 2
        return len(cv2.dnn.NMSBoxes(boxes.tolist(), scores[sure].tolist(), thresh, nms))

    return detect
