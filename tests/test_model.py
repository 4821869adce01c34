"""`load`, `Model.detect` and `Model.classify`: what they take, and what they give."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import darknet_py
from darknet_py import convert, weights
from darknet_py.boxes.formats import cxcywh_from_xyxy
from darknet_py.devices import pick_device
from darknet_py.engine import Engine
from darknet_py.errors import CfgError, DarknetError, DarknetWarning, ImageError, NamesError, WeightsError
from darknet_py.model import Model, load
from darknet_py.network import Network
from darknet_py.network.modes import looking
from darknet_py.pictures.operations import letterbox, resize
from darknet_py.predict import stream as streams
from darknet_py.predict.decode import Settings
from darknet_py.predict.detections import Classification, Detections
from darknet_py.predict.detector import class_name
from tests.support.places import GOLDEN
from tests.support.recordings import read_graph

BOXES, LAYERS = GOLDEN / "boxes", GOLDEN / "layers"
FOUR = ("a", "b", "c", "d")
TEN = tuple(line.split()[0] for line in (BOXES / "tiny.tree").read_text().splitlines())


def loaded(name: str, folder: Path = BOXES, **options) -> Model:
    return load(folder / f"{name}.cfg", folder / f"{name}.weights", **{"device": "cpu", **options})


@pytest.fixture(scope="module")
def region() -> Model:
    return loaded("boxes_region", names=FOUR)


@pytest.fixture(scope="module")
def tree() -> Model:
    return loaded("boxes_tree", names=TEN)  # tiny.tree is found beside the cfg


@pytest.fixture(scope="module")
def softmax() -> Model:
    return loaded("avgpool_softmax", LAYERS)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def assert_equal(mine: Detections, other: Detections, rtol: float = 1e-4) -> None:
    assert mine.names == other.names
    assert mine.labels.equal(other.labels)
    torch.testing.assert_close(mine.scores, other.scores, rtol=rtol, atol=1e-5)
    torch.testing.assert_close(mine.boxes, other.boxes, rtol=rtol, atol=1e-2)
    assert mine.image_size == other.image_size


# Loading


def test_paths_are_text_or_paths(region, pixels):
    as_text = load(str(BOXES / "boxes_region.cfg"), str(BOXES / "boxes_region.weights"), names=list(FOUR), device="cpu")
    assert_equal(as_text.detect(pixels, thresh=0.3), region.detect(pixels, thresh=0.3))


def test_names_from_everywhere(tmp_path, monkeypatch):
    (tmp_path / "my.names").write_text("a\n\nc d\nb\n")
    (tmp_path / "my.data").write_text("classes=4\nnames = my.names\n")
    wanted = ("a", "", "c d", "b")
    assert loaded("boxes_region", names=tmp_path / "my.names").names == wanted
    assert loaded("boxes_region", names=str(tmp_path / "my.names")).names == wanted
    assert loaded("boxes_region", data=tmp_path / "my.data").names == wanted  # relative to the .data file
    assert loaded("boxes_region", data=str(tmp_path / "my.data"), names=["x"], names_anyway=True).names == ("x",)
    assert loaded("boxes_region", data=tmp_path / "my.data", names=()).names == ()
    assert loaded("boxes_region").names == ()


def test_a_class_without_a_name_is_its_number(pixels):
    with pytest.raises(NamesError, match="^names has 1 names, but .*boxes_region.cfg has 4 classes"):
        loaded("boxes_region", names=["a"])
    found = loaded("boxes_region", names=["a"], names_anyway=True).detect(pixels, thresh=0.3)
    assert set(found.names) == {"3"}
    assert [class_name(FOUR, n) for n in (0, 3, 4, -1)] == ["a", "d", "4", "-1"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"names": "no.names"}, CfgError, "^no.names: cannot be read: No such file or directory$"),
        ({"data": "no.data"}, CfgError, "^no.data: cannot be read: No such file or directory$"),
        ({"size": 0}, CfgError, r"boxes_region.cfg:1: \[net\] needs width, height and channels"),
        ({"size": -32}, CfgError, r"boxes_region.cfg:1: \[net\]"),
        ({"size": (1 << 20, 32)}, CfgError, r"boxes_region.cfg:1: \[net\] an input of 1048576 x 32 x 3 is beyond"),
        ({"device": "gpu"}, DarknetError, "^there is no device 'gpu': "),
        ({"device": "cuda:99"}, DarknetError, "^there is no device 'cuda:99': .+$"),
        ({"device": torch.device("cuda:99")}, DarknetError, "^there is no device 'cuda:99': "),
    ],
)
def test_what_cannot_be_loaded(options, error, message):
    with pytest.raises(error, match=message) as raised:
        load(BOXES / "boxes_region.cfg", BOXES / "boxes_region.weights", **{"device": "cpu", **options})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("size", ["64", 64.5, (64, 64.0)])
def test_sizes_are_whole_numbers(size):
    with pytest.raises(TypeError):
        loaded("boxes_region", size=size)


def test_files_that_are_not_there():
    with pytest.raises(CfgError, match="^no.cfg: cannot be read"):
        load("no.cfg", device="cpu")
    with pytest.raises(WeightsError, match="^no.weights: cannot be read"):
        load(BOXES / "boxes_region.cfg", "no.weights", device="cpu")
    with pytest.raises(WeightsError, match=r"boxes_tree.weights: it has 234 values more .*filters=45"):
        load(BOXES / "boxes_region.cfg", BOXES / "boxes_tree.weights", device="cpu")


@pytest.mark.parametrize(("size", "shape"), [(96, (3, 96, 96)), ((96, 64), (3, 64, 96)), ([32, 64], (3, 64, 32))])
def test_another_size(size, shape, pixels):
    model = loaded("boxes_region", size=size)
    assert model.network.input_shape == shape
    found = model.detect(pixels, thresh=0.2)
    assert len(found)
    assert found.image_size == (60, 40)


def test_numpy_numbers_are_a_size():
    assert loaded("boxes_region", size=np.int64(64)).network.input_shape == (3, 64, 64)
    assert loaded("boxes_region", size=tuple(np.array([96, 64]))).network.input_shape == (3, 64, 96)


def test_a_network_of_one_size_is_not_resized():
    with pytest.raises(CfgError, match=r"cannot be resized: layer 1 \[connected\] has a fixed input size"):
        loaded("boxes_detection", size=64)
    assert loaded("boxes_detection", size=32).network.input_shape == (3, 32, 32)  # the size it has


def test_without_weights_they_are_random():
    model = load(BOXES / "boxes_region.cfg", device="cpu")
    assert model.network.layers[2].conv.weight.isfinite().all()
    assert not model.network.training


def test_partial_weights_fill_the_front_and_leave_the_rest_random(tmp_path):
    path = BOXES / "boxes_region.weights"
    short = tmp_path / "short.weights"
    short.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(WeightsError, match=r"ends in layer 2 \[convolutional\], weight"):
        load(BOXES / "boxes_region.cfg", short, device="cpu")
    network = load(BOXES / "boxes_region.cfg", short, partial=True, device="cpu").network
    whole = loaded("boxes_region").network
    assert network.layers[1].conv.weight.equal(whole.layers[1].conv.weight)
    last = network.layers[2].conv.weight
    assert last.isfinite().all()
    assert not last.equal(whole.layers[2].conv.weight)


def test_strict_makes_warnings_errors(tmp_path):
    cfg = tmp_path / "odd.cfg"
    cfg.write_text((BOXES / "boxes_region.cfg").read_text().replace("[region]", "[region]\nanchor=1"))
    line = cfg.read_text().splitlines().index("anchor=1") + 1
    message = rf"odd.cfg:{line}: \[region\] has no key 'anchor'; did you mean 'anchors'\?"
    with pytest.warns(darknet_py.CfgWarning, match=message):
        load(cfg, BOXES / "boxes_region.weights", device="cpu")
    with pytest.raises(CfgError, match=message):
        load(cfg, BOXES / "boxes_region.weights", device="cpu", strict=True)


def test_devices():
    assert pick_device("cpu") == torch.device("cpu")
    with pytest.raises(DarknetError, match="the device meta holds no values"):
        pick_device(torch.device("meta"))
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert pick_device().type == expected


# Pictures


def pictures(pixels: np.ndarray, folder: Path) -> dict[str, object]:
    Image.fromarray(pixels).save(folder / "my picture é.png")
    content = (folder / "my picture é.png").read_bytes()
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    return {
        "text": str(folder / "my picture é.png"), "path": folder / "my picture é.png", "bytes": content,
        "stream": io.BytesIO(content), "PIL": Image.fromarray(pixels), "uint8": pixels,
        "float32": pixels / np.float32(255), "float64": pixels / 255, "tensor": tensor, "float tensor": tensor / 255,
        "a view": pixels[::-1][::-1],
        "RGBA": Image.fromarray(pixels).convert("RGBA"), "grad": (tensor / 255).requires_grad_(),
    }  # fmt: skip


def test_every_kind_of_picture_gives_the_same(region, pixels, tmp_path):
    wanted = region.detect(pixels, thresh=0.3)
    assert len(wanted) > 10
    assert wanted.image_size == (60, 40)
    for kind, picture in pictures(pixels, tmp_path).items():
        found = region.detect(picture, thresh=0.3)
        assert isinstance(found, Detections), kind
        assert_equal(found, wanted)


def test_several_pictures_give_a_list(region, pixels):
    wide = np.concatenate((pixels, pixels), 1)
    singles = [region.detect(picture, thresh=0.3) for picture in (pixels, wide)]
    for several in ([pixels, wide], (pixels, wide), [Image.fromarray(pixels), wide / 255]):
        found = region.detect(several, thresh=0.3)
        assert isinstance(found, list)
        assert [one.image_size for one in found] == [(60, 40), (120, 40)]
        for mine, wanted in zip(found, singles, strict=True):
            assert_equal(mine, wanted)
    assert isinstance(region.detect([pixels], thresh=0.3), list)


def test_arrays_and_tensors_of_four_dimensions_are_lists(region, pixels):
    stack = np.stack((pixels, pixels[:, ::-1]))
    wanted = region.detect(list(stack), thresh=0.3)
    for several in (stack, torch.from_numpy(stack).permute(0, 3, 1, 2), stack / 255):
        found = region.detect(several, thresh=0.3)
        assert len(found) == 2
        for mine, other in zip(found, wanted, strict=True):
            assert_equal(mine, other)


@pytest.mark.parametrize("nothing", [[], (), torch.zeros(0, 3, 5, 5), np.zeros((0, 5, 5, 3), np.uint8)])
def test_no_pictures_give_no_results(region, softmax, nothing):
    assert region.detect(nothing) == []
    assert softmax.classify(nothing) == []


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_the_batch_changes_nothing(region, softmax, batch):
    rng = np.random.default_rng(1)
    several = [rng.integers(0, 256, (20 + 9 * n, 50 - 5 * n, 3), dtype=np.uint8) for n in range(5)]
    found = region.detect(several, thresh=0.3, batch=batch)
    assert [one.image_size for one in found] == [(50 - 5 * n, 20 + 9 * n) for n in range(5)]
    for mine, picture in zip(found, several, strict=True):
        assert_equal(mine, region.detect(picture, thresh=0.3))
    for mine, picture in zip(softmax.classify(several, batch=batch), several, strict=True):
        torch.testing.assert_close(mine.probabilities, softmax.classify(picture).probabilities)


def test_lists_go_through_the_network_a_batch_at_a_time(region, pixels, monkeypatch):
    sizes, heads = [], Engine.heads
    monkeypatch.setattr(Engine, "heads", lambda self, x: sizes.append(len(x)) or heads(self, x))
    monkeypatch.setattr(streams, "lanes", lambda engine: 1)
    region.detect([pixels] * 11, batch=4)
    region.detect([pixels] * 5)
    assert sizes == [4, 4, 3, 4, 1]


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_has_pictures(region, pixels, batch):
    with pytest.raises(DarknetError, match=f"batch is {batch}; it must be 1 or more"):
        region.detect([pixels], batch=batch)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        ("no such.png", "^no such.png: No such file or directory$"),
        (b"no picture", "^picture: not a picture in a known format"),
        (np.zeros((4, 4, 5), np.uint8), "expected a picture of 3 channels"),
        (np.zeros((4, 0, 3), np.uint8), "expected a picture of 3 channels"),
        (np.zeros((4, 4, 3), np.int64), "expected uint8, uint16 or float"),
        (np.full((4, 4, 3), 200.0), "divide by 255"),
        (torch.full((3, 4, 4), torch.nan), "NaN"),
        (torch.zeros(1, 1, 3, 4, 4), "expected a picture of 3 channels"),
        ((n for n in [1]), "expected a path, bytes, a binary stream or a picture, got generator"),
        (None, "got NoneType"),
        ([["nested.png"]], "got list"),
    ],
)
def test_what_is_no_picture(region, picture, message):
    with pytest.raises(ImageError, match=message):
        region.detect(picture)


def test_a_grey_picture_is_three_equal_channels(region, pixels):
    grey = pixels[..., 0]
    wanted = region.detect(np.stack([grey] * 3, -1), thresh=0.3)
    for picture in (grey, grey[..., None], Image.fromarray(grey), torch.from_numpy(grey.copy())):
        assert_equal(region.detect(picture, thresh=0.3), wanted)


def test_a_network_of_one_channel(tmp_path, pixels):
    cfg = tmp_path / "grey.cfg"
    cfg.write_text((BOXES / "boxes_region.cfg").read_text().replace("channels=3", "channels=1"))
    model = load(cfg, device="cpu")
    Image.fromarray(pixels).save(tmp_path / "colour.png")
    luma = (77 * pixels[..., 0].astype(int) + 150 * pixels[..., 1].astype(int) + 29 * pixels[..., 2].astype(int)) >> 8
    wanted = model.detect(luma.astype(np.uint8), thresh=0.2)
    assert_equal(model.detect(tmp_path / "colour.png", thresh=0.2), wanted)
    assert_equal(model.detect(Image.fromarray(pixels), thresh=0.2), wanted)
    with pytest.raises(ImageError, match="expected a picture of 1 channels"):
        model.detect(pixels)


# Detections


def test_the_first_yolo_stretches_and_later_ones_letterbox(pixels):
    tensor = torch.from_numpy(pixels).permute(2, 0, 1) / 255
    for name, fit in (("boxes_detection", resize), ("boxes_region", letterbox)):
        model = loaded(name)
        _, h, w = model.network.input_shape
        torch.testing.assert_close(model.detector.fit(tensor), fit(tensor, w, h), rtol=0, atol=0)
    # Stretched boxes are shares of the picture as they come out of the head.
    model = loaded("boxes_detection")
    with torch.no_grad():
        head = model.network(resize(tensor, 32, 32)[None])
    candidates = model.detector.candidates([head], [(60, 40)], Settings(0.1))
    head = head[0]
    side, objectness = 3, head[36 : 36 + 18]
    assert candidates.boxes[0, 0] == pytest.approx(float(head[54]) / side)
    assert candidates.objectness.tolist() == pytest.approx(objectness.tolist())


def test_results_are_on_the_cpu_best_first_and_frozen(region, pixels):
    found = region.detect(pixels, thresh=0.3)
    assert found.boxes.shape == (len(found), 4)
    assert found.labels.dtype == torch.int64
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert found.names == tuple(FOUR[label] for label in found.labels)
    assert all(tensor.device.type == "cpu" for tensor in (found.boxes, found.scores, found.labels))
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.scores = torch.zeros(1)
    found.boxes.clamp_(min=0)  # the tensors are the caller's: no inference tensors
    assert not found.scores.requires_grad


def test_dicts_are_json_and_say_the_same_twice(region, pixels):
    found = region.detect(pixels, thresh=0.3)
    rows = json.loads(json.dumps(found.to_dicts(), allow_nan=False))
    assert len(rows) == len(found)
    for row, box, label in zip(rows, found.boxes, found.labels, strict=True):
        assert (row["class_id"], row["name"]) == (int(label), FOUR[label])
        assert row["box"] == pytest.approx(box.tolist())
        shares = cxcywh_from_xyxy(box) / torch.tensor([60, 40, 60, 40])
        assert list(row["relative_coordinates"].values()) == pytest.approx(shares.tolist())
        assert set(row["relative_coordinates"]) == {"center_x", "center_y", "width", "height"}


def test_to_supervision(region, pixels):
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    found = region.detect(pixels, thresh=0.3)
    other = found.to_supervision()
    assert isinstance(other, supervision.Detections)
    np.testing.assert_array_equal(other.xyxy, found.boxes.numpy())
    assert other.class_id.tolist() == found.labels.tolist()
    assert other.data["class_name"].tolist() == list(found.names)
    assert len(region.detect(pixels, thresh=1).to_supervision()) == 0


def test_without_supervision_it_says_what_to_install(region, pixels, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "supervision", None)
    with pytest.raises(DarknetError, match="pip install"):
        region.detect(pixels).to_supervision()


def test_thresholds(region, pixels):
    everything = region.detect(pixels, thresh=0, nms=0)
    assert len(everything) == 16 * 12 * 3 * 4  # every class of every anchor
    for thresh in (0.2, 0.35):
        found = region.detect(pixels, thresh=thresh, nms=0)
        assert len(found) == int((everything.scores > torch.tensor(thresh)).sum())
    assert len(region.detect(pixels, thresh=1)) == 0
    kept = region.detect(pixels, thresh=0.2)
    assert 0 < len(kept) < len(region.detect(pixels, thresh=0.2, nms=0))
    assert len(region.detect(pixels, thresh=0.2, nms=1)) == len(region.detect(pixels, thresh=0.2, nms=0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"thresh": -0.1}, "thresh is -0.1; it must be from 0 to 1"),
        ({"thresh": math.nan}, "thresh is nan; it must be from 0 to 1"),
        ({"hier": 1.5}, "hier is 1.5; it must be from 0 to 1"),
        ({"nms": -1}, "NMS threshold is -1; it must be 0 or more"),
        ({"nms": math.nan}, "NMS threshold is nan; it must be 0 or more"),
        ({"classes": [1]}, r"boxes_region.cfg has no tree, so `classes` has no meaning for it"),
    ],
)
def test_wrong_options(region, pixels, options, message):
    with pytest.raises(DarknetError, match=message):
        region.detect(pixels, **{"thresh": 0.3, **options})


def test_boxes_without_end_are_still_numbers(region, pixels):
    model = Model(copy.deepcopy(region.network))
    with torch.no_grad():
        model.network.layers[2].conv.bias.fill_(200)  # exp(200) is beyond float32
    found = model.detect(pixels, thresh=0.1)
    assert len(found)
    assert found.boxes.isfinite().all()
    json.dumps(found.to_dicts(), allow_nan=False)


def test_names_of_a_tree(tree, pixels):
    found = tree.detect(pixels, thresh=0.5)
    assert {"root_a", "root_b", "root_c"} >= set(found.names)
    deep = tree.detect(pixels, thresh=0.5, hier=0)
    assert {"pug", "husky"} & set(deep.names)
    assert len(deep) == len(found) or set(deep.labels.tolist()) != set(found.labels.tolist())
    flat = tree.detect(pixels, thresh=0.5, hier=1)
    assert {TEN[label] for label in flat.labels} <= {"root_a", "root_b", "root_c"}


def test_classes_of_a_tree(tree, pixels):
    wanted = (8, 1, 3)  # pug, root_b, dog
    found = tree.detect(pixels, thresh=0.05, classes=wanted, nms=0)
    assert set(found.labels.tolist()) <= {0, 1, 2}
    assert {(int(label), name) for label, name in zip(found.labels, found.names, strict=True)} == {
        (0, "pug"), (1, "root_b"), (2, "dog"),
    }  # fmt: skip
    one = tree.detect(pixels, thresh=0.05, classes=[1], nms=0)
    torch.testing.assert_close(one.scores, found.scores[found.labels == 1])
    assert len(tree.detect(pixels, classes=[])) == 0


def test_names_may_be_those_of_the_classes_asked_for(tree, pixels):
    model = Model(tree.network, ("Mops", "B"))
    assert set(model.detect(pixels, thresh=0.05, classes=[8, 1]).names) == {"Mops", "B"}
    assert set(Model(tree.network).detect(pixels, thresh=0.05, classes=[8, 1]).names) == {"8", "1"}


@pytest.mark.parametrize("wrong", [10, -1])
def test_classes_that_the_tree_does_not_have(tree, pixels, wrong):
    with pytest.raises(DarknetError, match=f"there is no class {wrong} in the tree, which has 10"):
        tree.detect(pixels, thresh=0.05, classes=[0, wrong])


# Classification


def test_the_best_classes_come_first(softmax, pixels):
    found = softmax.classify(pixels)
    assert isinstance(found, Classification)
    assert len(found) == 5
    assert found.probabilities.tolist() == sorted(found.probabilities.tolist(), reverse=True)
    every = softmax.classify(pixels, top=99)
    assert len(every) == 10
    assert float(every.probabilities.sum()) == pytest.approx(1, abs=1e-5)
    assert every.labels[:5].equal(found.labels)
    rows = json.loads(json.dumps(found.to_dicts(), allow_nan=False))
    assert [row["class_id"] for row in rows] == found.labels.tolist()
    assert [row["name"] for row in rows] == [str(label) for label in found.labels.tolist()]
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.names = ()
    found.probabilities.mul_(100)


@pytest.mark.parametrize("top", [0, -1])
def test_at_least_one_class(softmax, pixels, top):
    with pytest.raises(DarknetError, match=f"top is {top}; it must be 1 or more"):
        softmax.classify(pixels, top=top)


def test_the_classes_of_a_tree_that_count_are_its_leaves(tmp_path, pixels):
    cfg = tmp_path / "tree.cfg"
    text = (LAYERS / "avgpool_softmax.cfg").read_text().replace("groups=1", "tree=tiny.tree")
    cfg.write_text(text)
    (tmp_path / "tiny.tree").write_text((BOXES / "tiny.tree").read_text())
    model = load(cfg, LAYERS / "avgpool_softmax.weights", names=TEN, device="cpu")
    found = model.classify(pixels, top=10)
    parents = [int(line.split()[1]) for line in (BOXES / "tiny.tree").read_text().splitlines()]
    leaves = [n for n in range(10) if n not in parents]
    seen = found.labels[found.probabilities > 0].tolist()
    assert sorted(seen) == leaves
    assert float(found.probabilities.sum()) == pytest.approx(1, abs=1e-5)  # of all leaves together
    with torch.no_grad():
        row = model.network(letterbox(torch.from_numpy(pixels).permute(2, 0, 1), 13, 11)[None])[0]
    pug = row[8] * row[3] * row[0]
    assert float(found.probabilities[found.labels == 8]) == pytest.approx(float(pug), rel=1e-4)


# Both


def test_detectors_do_not_classify_nor_classifiers_detect(region, softmax, pixels):
    assert (region.detects, softmax.detects) == (True, False)
    with pytest.raises(DarknetError, match=r"boxes_region.cfg ends in layer 3 \[region\], so it is no classifier"):
        region.classify(pixels)
    with pytest.raises(DarknetError, match="avgpool_softmax.cfg has no layer that gives boxes: is this a classifier"):
        softmax.detect(pixels)


def test_masks_are_neither_boxes_nor_classes(tmp_path, pixels):
    cfg = tmp_path / "masks.cfg"
    cfg.write_text("[net]\nwidth=8\nheight=8\nchannels=3\n[conv]\nfilters=5\n[iseg]\nclasses=3\nids=2\n")
    model = load(cfg, device="cpu")
    with pytest.raises(DarknetError, match="has no layer that gives boxes"):
        model.detect(pixels)
    with pytest.raises(DarknetError, match=r"ends in layer 1 \[iseg\]"):
        model.classify(pixels)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(region, softmax, pixels, dtype):
    model = Model(copy.deepcopy(region.network).to(dtype), FOUR)
    found, wanted = model.detect(pixels, thresh=0.3), region.detect(pixels, thresh=0.3)
    assert found.scores.dtype == torch.float32
    assert len(found) == pytest.approx(len(wanted), rel=0.2)
    assert float(found.scores[0]) == pytest.approx(float(wanted.scores[0]), abs=0.02)
    classes = Model(copy.deepcopy(softmax.network).to(dtype)).classify(pixels)
    assert classes.probabilities.dtype == torch.float32
    assert float(classes.probabilities[0]) == pytest.approx(float(softmax.classify(pixels).probabilities[0]), abs=0.02)


def test_a_model_is_in_eval_mode_and_leaves_no_gradients(pixels):
    network = Network(read_graph(BOXES / "boxes_region.cfg")).train()
    model = Model(network)
    assert not network.training
    before = {key: value.clone() for key, value in network.state_dict().items()}
    model.detect([pixels] * 3)
    assert all(value.equal(before[key]) for key, value in network.state_dict().items())


def test_detect_can_be_called_where_gradients_are_wanted(region, pixels):
    with torch.enable_grad():
        found = region.detect(pixels, thresh=0.3)
    weight = torch.ones(len(found), requires_grad=True)
    (weight * found.scores).sum().backward()
    torch.testing.assert_close(weight.grad, found.scores)


def test_the_network_may_be_resized_between_calls(pixels):
    model = loaded("boxes_region")
    first = model.detect(pixels, thresh=0.3)
    model.network.resize(96, 96)
    assert len(model.detect(pixels, thresh=0.3)) != len(first)
    model.network.resize(64, 48)
    assert_equal(model.detect(pixels, thresh=0.3), first)


@pytest.mark.parametrize("engine", [None, "plain"])
@pytest.mark.parametrize("case", ["boxes_region", "classifier"])
def test_a_network_in_train_mode_is_looked_at_in_eval_mode(case, engine, pixels, tmp_path):
    cfg = tmp_path / "normalized.cfg"
    head = "[avgpool]\n[softmax]\n" if case == "classifier" else "[region]\nclasses=3\nnum=1\nanchors=1,1\n"
    cfg.write_text(
        "[net]\nwidth=32\nheight=32\nchannels=3\n"
        "[convolutional]\nfilters=16\nsize=3\npad=1\nbatch_normalize=1\nactivation=leaky\n"
        f"[dropout]\n[convolutional]\nfilters=8\nbatch_normalize=1\n{head}"
    )
    model = load(cfg, device="cpu", engine=engine)
    several = [pixels, pixels[::-1], pixels[:20]]
    look = model.classify if case == "classifier" else lambda images: model.detect(images, thresh=0.1)
    wanted = [one.to_dicts() for one in look(several)]
    network = model.network.train()
    network.layers[2].bn.eval()  # frozen, as in fine-tuning
    modes, state = [module.training for module in network.modules()], copy.deepcopy(network.state_dict())
    assert [one.to_dicts() for one in look(several)] == wanted
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    network.eval().layers[0].bn.train()  # the other way round
    assert [one.to_dicts() for one in look(several)] == wanted
    assert network.layers[0].bn.training
    assert not network.training


def test_threads_look_at_a_network_in_train_mode(pixels, region):
    network = copy.deepcopy(region.network).train()
    with looking(network), looking(network):
        assert not network.training
    with looking(network):
        with looking(network):
            pass
        assert not network.training
    assert network.training


def test_memory_that_ends_is_one_line(region, softmax, pixels, monkeypatch):
    torch.set_num_threads(1)  # with more, each picture may go alone
    for model, look in ((region, region.detect), (softmax, softmax.classify)):
        monkeypatch.setattr(model.engine, "heads", lambda x: torch.empty(1 << 50, dtype=torch.float32))
        with pytest.raises(DarknetError, match=r"not enough memory for 2 pictures in a network of \d+ x \d+"):
            look([pixels, pixels])


@pytest.mark.parametrize("engine", [None, "plain"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_told_once(region, softmax, pixels, engine, value):
    for model in (region, softmax):
        network = copy.deepcopy(model.network)
        name, weight = next(iter(network.named_parameters()))
        with torch.no_grad():
            weight[(0,) * weight.ndim] = value
        looking_at = Model(network, engine=engine)
        look = looking_at.detect if model is region else looking_at.classify
        layer = network.graph.nodes[int(name.split(".")[1])]
        message = rf"{re.escape(network.graph.source)}: the weights of {re.escape(str(layer))} are NaN or infinite"
        with pytest.warns(DarknetWarning, match=message) as caught:
            look([pixels, pixels])
        assert len(caught) == 1
        look(pixels)


@pytest.mark.parametrize("engine", [None, "plain"])
def test_weights_that_become_no_numbers_are_told(region, pixels, engine):
    network = copy.deepcopy(region.network)
    model = Model(network, engine=engine)
    if engine is None and model.engine.name == "plain":
        pytest.skip("there is no engine")
    model.detect(pixels)
    with torch.no_grad():
        network.layers[0].conv.weight.fill_(math.nan)
    if engine == "plain":
        model.engine.forget()
    with pytest.warns(DarknetWarning, match="NaN or infinite"):
        model.detect(pixels)


def test_nothing_is_computed_on_the_device_meta(region, softmax, pixels, tmp_path):
    with pytest.raises(DarknetError, match=r"the device meta holds no values"):
        loaded("boxes_region", device="meta")
    for model in (region, softmax):
        network = copy.deepcopy(model.network).to("meta")
        elsewhere = Model(network)
        look = elsewhere.detect if model is region else elsewhere.classify
        with pytest.raises(DarknetError, match=r"the network is on the device meta, so that it has no weights"):
            look(pixels)
        for write in (weights.save, convert.to_torch):
            with pytest.raises(DarknetError, match=r"the network is on the device meta"):
                write(network, tmp_path / "a.weights")
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "made",
    [
        lambda: torch.zeros(3, 8, 8, device="meta"),
        lambda: torch.zeros(3, 8, 8).to_sparse(),
        lambda: torch.quantize_per_tensor(torch.zeros(3, 8, 8), 0.1, 0, torch.quint8),
        lambda: torch.zeros(3, 8, 8, dtype=torch.complex64),
        lambda: torch.zeros(3, 8, 8, dtype=torch.bool),
        lambda: torch.zeros(3, 8, 8, dtype=torch.int64),
        lambda: torch.nested.nested_tensor([torch.zeros(8, 8)] * 3),
        lambda: np.full((8, 8, 3), None),
        lambda: np.zeros((8, 8, 3), complex),
        lambda: np.zeros((8, 8, 3), np.int64),
        lambda: np.zeros((8, 8), [("r", np.uint8)]),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tensors_and_arrays_that_are_no_pictures(region, made):
    with pytest.raises(ImageError, match=r"^expected"):
        region.detect(made())


@pytest.mark.parametrize("change", ["half", "double", "bfloat16"])
@pytest.mark.parametrize("engine", [None, "plain"])
def test_networks_of_other_types_find_the_same(region, softmax, pixels, change, engine):
    for model in (region, softmax):
        network = getattr(copy.deepcopy(model.network), change)()
        other, close = Model(network, engine=engine), 1e-5 if change == "double" else 0.05
        if model is softmax:
            mine, wanted = other.classify(pixels, top=99), model.classify(pixels, top=99)
            order = [one.labels.argsort() for one in (mine, wanted)]
            assert mine.probabilities[order[0]].numpy() == pytest.approx(
                wanted.probabilities[order[1]].numpy(), abs=close
            )
        else:
            mine, wanted = other.detect(pixels, thresh=0.2), model.detect(pixels, thresh=0.2)
            assert len(mine) == pytest.approx(len(wanted), abs=0 if change == "double" else 3)
            assert mine.scores[:3].numpy() == pytest.approx(wanted.scores[:3].numpy(), abs=close)


def test_a_network_of_mixed_types_is_one_error(region, pixels):
    network = copy.deepcopy(region.network)
    network.layers[-2].double()
    with pytest.raises(DarknetError, match=r"have several types"):
        Model(network).detect(pixels)
