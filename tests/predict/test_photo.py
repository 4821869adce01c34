"""The whole way, from a photograph to boxes, against recordings of the C program: in Python and on the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import darknet_py
from darknet_py.boxes.formats import cxcywh_from_xyxy
from tests.support.places import OFFICIAL, PHOTO, needs_photo
from tests.support.recordings import use_cpu_formula

DATA = {"yolov2": "coco.data", "yolov2-tiny-voc": "voc.data", "yolo9000": "combine9k.data"}
# Without the formula of the recording build overlaps differ by 2e-5, and one recorded beside the limit is 0.449991.
NMS_MARGIN = 1e-4
pytestmark = [needs_photo, pytest.mark.filterwarnings("ignore::darknet_py.CfgWarning")]


def assert_equal(recording, boxes, scores, labels, tolerance=1e-3):
    """Every recorded box has its like among those found, of the same label: what of it lies in the picture, and score.

    The weights mean nothing, so that some boxes are thousands of times as wide as the picture.
    """
    recorded = np.column_stack((inside(recording["boxes"].astype(float)), recording["score"]))
    found = np.column_stack((inside(boxes), scores))
    assert len(found) == len(recorded)
    distance = np.abs(found[:, None] - recorded[None]).max(2)
    distance[labels[:, None] != recording["label"][None]] = np.inf
    assert distance.min(0).max() < tolerance
    assert distance.min(1).max() < tolerance


def inside(boxes):
    """Corners of cxcywh boxes as shares of the picture, cut at its borders."""
    return np.hstack((boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2)).clip(0, 1)


def detect(name, recording, path, *, cpu_formula):
    model = darknet_py.load(f"cfg/{name}.cfg", path, data=f"cfg/{DATA[name]}", device="cpu")
    if cpu_formula:
        use_cpu_formula(model.network)
    thresh, hier, nms = (float(recording[key]) for key in ("thresh", "hier_thresh", "nms"))
    nms += 0 if cpu_formula else NMS_MARGIN
    found = model.detect(str(PHOTO / "dog.png"), thresh=thresh, hier=hier, nms=nms)
    return found, (cxcywh_from_xyxy(found.boxes) / torch.tensor([*found.image_size] * 2)).numpy()


@pytest.mark.parametrize("name", DATA)
def test_in_python(name, synthetic_weights, monkeypatch):
    monkeypatch.chdir(OFFICIAL)
    recording = np.load(PHOTO / f"dog_{name}.npz")
    found, boxes = detect(name, recording, synthetic_weights(name), cpu_formula=False)
    assert_equal(recording, boxes, found.scores.numpy(), found.labels.numpy())
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert all(name and not name.isdigit() for name in found.names)


@pytest.mark.parametrize("name", DATA)
def test_in_python_with_the_formula_of_the_recording_build(name, synthetic_weights, monkeypatch):
    monkeypatch.chdir(OFFICIAL)
    recording = np.load(PHOTO / f"dog_{name}.npz")
    found, boxes = detect(name, recording, synthetic_weights(name), cpu_formula=True)
    assert_equal(recording, boxes, found.scores.numpy(), found.labels.numpy(), tolerance=1e-4)
    size, recorded = boxes[:, 2:].max(0), recording["boxes"][:, 2:].max(0)
    np.testing.assert_allclose(size, recorded, rtol=1e-4)  # the widest and the highest box as they are


@pytest.mark.parametrize("name", DATA)
def test_on_the_command_line(name, synthetic_weights):
    recording = np.load(PHOTO / f"dog_{name}.npz")
    options = {"-thresh": recording["thresh"], "-hier": recording["hier_thresh"], "-nms": recording["nms"] + NMS_MARGIN}
    command = [sys.executable, "-m", "darknet_py", "detector", "test", f"cfg/{DATA[name]}", f"cfg/{name}.cfg"]
    command += [str(synthetic_weights(name)), str(PHOTO / "dog.png"), "--json", "-nogpu"]
    command += [text for key, value in options.items() for text in (key, str(float(value)))]
    result = subprocess.run(command, capture_output=True, text=True, cwd=OFFICIAL, check=True)
    objects = json.loads(result.stdout)["objects"]
    boxes = [list(found["relative_coordinates"].values()) for found in objects]
    scores, labels = ([found[key] for found in objects] for key in ("confidence", "class_id"))
    assert_equal(recording, np.array(boxes), np.array(scores), np.array(labels))
