"""Decoding and NMS against the C program: tests/golden/boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from darknet_py.boxes.suppress import Nms
from darknet_py.engine import Engine
from darknet_py.predict.candidates import Candidates
from darknet_py.predict.decode import Settings
from darknet_py.predict.detector import Detector
from tests.support.places import GOLDEN
from tests.support.recordings import load_network, use_cpu_formula

BOXES = GOLDEN / "boxes"
CASES = sorted(path.stem for path in BOXES.glob("*.npz"))


def rows_of(candidates: Candidates) -> np.ndarray:
    """A row a (box, class): x, y, w, h, objectness, label, score."""
    box = candidates.box_index
    columns = (candidates.objectness[box], candidates.label, candidates.score)
    parts = (candidates.boxes[box], *(column[:, None] for column in columns))
    return in_order(torch.cat([part.double() for part in parts], 1).numpy())


def recorded_rows(recording: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    box, label = (recording[name][:, 5:] > 0).nonzero()
    rows = recording[name][box].astype(np.float64)
    if rows[:, 2:4].max() > 20:
        rows[:, :4] /= np.tile(recording["image_size"], 2)  # [detection] gives pixels (get_detection_detections)
    return in_order(np.concatenate((rows[:, :5], label[:, None], rows[range(len(box)), 5 + label][:, None]), 1))


def in_order(rows: np.ndarray) -> np.ndarray:
    """Rows by label and score, so that sets can be compared."""
    return rows[np.lexsort((rows[:, 6].round(5), rows[:, 5]))]


def matches(mine: np.ndarray, recorded: np.ndarray) -> bool:
    """Whether every row has its like in the other set."""
    if mine.shape != recorded.shape:
        return False
    distance = np.abs(mine[:, None] - recorded[None]).max(2)
    return bool((distance.min(0) < 2e-5).all() and (distance.min(1) < 2e-5).all())


@pytest.fixture(params=CASES)
def case(request, monkeypatch):
    monkeypatch.chdir(BOXES)
    recording = np.load(BOXES / f"{request.param}.npz")
    network = load_network(BOXES / f"{request.param}.cfg", BOXES / f"{request.param}.weights")
    use_cpu_formula(network)
    x = torch.from_numpy(recording["input"]).view(1, *network.input_shape.dims)
    with torch.no_grad():
        outputs = network.heads(x)
    settings = Settings(float(recording["thresh"]), float(recording["hier_thresh"]))
    return recording, Detector(Engine(network)), outputs, settings


def test_head_equals_the_recorded_one(case):
    recording, _, outputs, _ = case
    head = torch.cat([output.flatten() for output in outputs]).numpy()[-recording["head"].size :]
    np.testing.assert_allclose(head, recording["head"], atol=1e-5 * np.abs(recording["head"]).max())


def test_candidates_equal_the_recorded_ones(case):
    recording, detector, outputs, settings = case
    candidates = detector.candidates(outputs, [tuple(recording["image_size"].tolist())], settings)
    recorded = recorded_rows(recording, "before_nms")
    assert len(recorded)
    assert matches(rows_of(candidates), recorded)


def test_what_nms_leaves_equals_the_recorded_rows(case):
    recording, detector, outputs, settings = case
    candidates = detector.candidates(outputs, [tuple(recording["image_size"].tolist())], settings)
    kept = candidates.suppressed(Nms(threshold=float(recording["nms"])))
    assert matches(rows_of(kept), recorded_rows(recording, "after_nms"))


def test_decoding_twice_gives_the_same_and_changes_nothing(case):
    recording, detector, outputs, settings = case
    before = [output.clone() for output in outputs]
    size = tuple(recording["image_size"].tolist())
    first, second = (detector.decode_all(outputs, [size], settings, Nms())[0] for _ in range(2))
    torch.testing.assert_close(first.boxes, second.boxes, rtol=0, atol=0)
    torch.testing.assert_close(first.scores, second.scores, rtol=0, atol=0)
    for output, copy in zip(outputs, before, strict=True):
        torch.testing.assert_close(output, copy, rtol=0, atol=0)
