"""`measure`: pictures through a network against their labels."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import darknet_py
from darknet_py.errors import DarknetError, DarknetWarning
from darknet_py.evaluate import measure
from darknet_py.evaluate.flip import flip_averaged
from darknet_py.evaluate.reader import open_each
from darknet_py.evaluate.truths import read_all
from darknet_py.model import Model
from darknet_py.network.modes import looking
from tests.support.labelled import rows_of
from tests.support.places import GOLDEN
from tests.support.recordings import load_network
from tests.support.scored import PICTURES, draw_pictures

BOXES = GOLDEN / "boxes"


def network(name="boxes_region"):
    return load_network(BOXES / f"{name}.cfg", BOXES / f"{name}.weights")


@pytest.fixture
def paths(tmp_path):
    return draw_pictures(tmp_path)


def label_what_is_found(model, paths, thresh, **options):
    """Label files that say just what the network finds, but for boxes larger than labels may be."""
    for path, found in zip(paths, model.detect(list(paths), thresh=thresh, **options), strict=True):
        lines = [
            f"{label} " + " ".join(f"{value:.9f}" for value in row["relative_coordinates"].values())
            for label, row in zip(found.labels.tolist(), found.to_dicts(), strict=True)
            if max(map(abs, row["relative_coordinates"].values())) < 2
        ]
        label_of(path).write_text("\n".join(lines))


def label_of(path):
    parent, name = path.rsplit("/images/", 1)
    return Path(parent) / "labels" / name.replace(".jpg", ".txt")


@pytest.mark.parametrize("name", ["boxes_region", "boxes_yolo", "boxes_detection", "boxes_tree"])
def test_a_network_agrees_with_itself(paths, name):
    model = Model(network(name))
    label_what_is_found(model, paths, 0.2)
    scores = measure(model, paths, thresh=0.2)
    table = scores.alexeyab(0.2)
    assert len(scores.truths) > 20
    assert table.right > 0.99 * len(scores.truths)
    assert len(scores.found) > len(scores.truths) or table.mean_average_precision > 0.99
    assert not scores.problems


def test_modes_come_back(paths):
    net = network()
    net.train()
    net.layers[0].eval()
    modes = [module.training for module in net.modules()]
    statistics = {key: value.clone() for key, value in net.state_dict().items()}
    measure(net, paths)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, statistics[key]) for key, value in net.state_dict().items())
    with pytest.raises(AssertionError), looking(net):
        assert net.layers[1].training
    assert [module.training for module in net.modules()] == modes


def test_any_batch_gives_the_same(paths):
    counts = []
    wanted = measure(network(), paths, batch=1)
    scores = measure(network(), paths, ["one"], batch=3, progress=lambda *count: counts.append(count))
    assert counts == [(n, 4) for n in (1, 2, 3, 4)]
    assert torch.equal(scores.found.label, wanted.found.label)
    assert torch.allclose(scores.found.edges, wanted.found.edges, atol=1e-3)
    assert scores.sizes.tolist() == [list(size) for size in PICTURES.values()]
    assert (scores.name(0), scores.name(1), scores.classes) == ("one", "1", 4)
    with pytest.raises(DarknetError, match="batch is 0"):
        measure(network(), paths, batch=0)


def test_a_picture_that_is_listed_twice_counts_twice(paths):
    scores = measure(network(), [*paths, paths[0]])
    assert len(scores.sizes) == 5
    assert len(scores.truths) == 10


def test_truths_are_in_pixels(paths):
    scores = measure(network(), paths)
    assert scores.truths.label.tolist() == [0, 1] * 4
    assert scores.truths.edges[0].tolist() == pytest.approx([8, 4.5, 32, 25.5], abs=1e-5)  # of 40 x 30


def test_what_cannot_be_used_is_told_and_left_out(paths):
    label_of(paths[0]).unlink()
    label_of(paths[1]).write_text("7 .5 .5 .1 .1\n")
    Path(paths[2]).write_bytes(b"no picture")
    scores = measure(network(), paths)
    assert len(scores.sizes) == 2
    assert len(scores.truths) == 2  # of the last picture
    assert set(scores.found.image.tolist()) == {0, 1}
    missing, wrong, broken = sorted(scores.problems, key=lambda line: ("have no" not in line, "class" not in line))
    beside = Path(paths[0]).with_suffix(".txt")
    assert missing == f"1 of 4 pictures have no label file, the first of them {label_of(paths[0])} or {beside}"
    assert wrong.startswith(f"{label_of(paths[1])}:1: the class is 7")
    assert broken.startswith(f"{paths[2]}: not a picture")


def test_weights_that_are_no_numbers_are_told(paths):
    damaged = network()
    with torch.no_grad():
        next(damaged.parameters()).fill_(torch.nan)
    with pytest.warns(DarknetWarning, match=r"the weights of layer 0 \[convolutional\] are NaN or infinite"):
        measure(damaged, paths)


def test_nothing_to_measure(paths, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nowhere.txt").write_text("")
    with pytest.raises(DarknetError, match="none of the 1 pictures can be used: nowhere.jpg"):
        measure(network(), ["nowhere.jpg"])
    with pytest.raises(DarknetError, match="none of the 2 pictures has a label file; the first would be"):
        measure(network(), ["a/images/x.jpg", "a/images/y.jpg"])
    with pytest.raises(DarknetError, match="the list is empty"):
        measure(network(), [])
    classifier = load_network(GOLDEN / "layers" / "avgpool_softmax.cfg", GOLDEN / "layers" / "avgpool_softmax.weights")
    with pytest.raises(DarknetError, match="has no layer that gives boxes"):
        measure(classifier, paths)


def test_classes_of_a_tree_through_a_map(paths):
    model = Model(network("boxes_tree"))
    chosen = [9, 0, 3]
    label_what_is_found(model, paths, 0.1, classes=chosen)
    scores = measure(model, paths, thresh=0.1, classes=chosen)
    assert scores.classes == 3
    assert scores.alexeyab(0.1).recall > 0.99


def test_labels_go_through_the_map_of_the_cfg(paths, tmp_path):
    (tmp_path / "two.map").write_text("3\n1\n")
    text = (BOXES / "boxes_region.cfg").read_text().replace("[region]", "[region]\nmap=two.map")
    (tmp_path / "mapped.cfg").write_text(text)
    net = load_network(tmp_path / "mapped.cfg", BOXES / "boxes_region.weights")
    assert measure(net, paths).truths.label.tolist() == [3, 1] * 4
    label_of(paths[0]).write_text("2 .5 .5 .1 .1\n")  # the map has two lines
    assert "the class is 2" in measure(net, paths).problems[0]


def test_class_only_labels_are_no_boxes(paths):
    label_of(paths[0]).write_text("1 0 0 0 0\n2 .5 .5 .1 .1\n")
    labels = read_all(paths[:1], 4)
    assert rows_of(labels.tables[0]).tolist() == [[2, 0.5, 0.5, pytest.approx(0.1), pytest.approx(0.1)]]


def test_class_only_labels_may_be_beyond_the_map(paths):
    label_of(paths[0]).write_text("9 0 0 0 0\n1 .5 .5 .1 .1\n")
    label_of(paths[1]).write_text("2 .5 .5 .1 .1\n")
    labels = read_all(paths[:2], 10, (3, 7))
    assert rows_of(labels.tables[0]).tolist() == [[7, 0.5, 0.5, pytest.approx(0.1), pytest.approx(0.1)]]
    assert labels.tables[1] is None
    assert len(labels.problems) == 1
    label_of(paths[0]).write_text("9 0 0 .1 .1\n")
    assert read_all(paths[:1], 10, (3, 7)).tables[0].label.tolist() == []


@pytest.mark.parametrize("name", ["boxes_region", "boxes_yolo"])
def test_the_mirror_image_of_a_picture_gives_mirrored_boxes(tmp_path, name):
    path = draw_pictures(tmp_path)[0]
    with Image.open(path) as picture:
        pixels = np.asarray(picture.resize((64, 48)))  # the input's size: nothing is drawn on grey
    edges = []
    for name_, array in (("plain", pixels), ("mirrored", pixels[:, ::-1])):
        Image.fromarray(array).save(tmp_path / "images" / f"{name_}.png")
        (tmp_path / "labels" / f"{name_}.txt").write_text("")
        scores = measure(network(name), [str(tmp_path / "images" / f"{name_}.png")], flip=True, thresh=0.05, nms=0)
        edges.append((scores.found.edges, scores.found.score))
    plain, mirrored = edges
    back = torch.stack((64 - mirrored[0][:, 2], mirrored[0][:, 1], 64 - mirrored[0][:, 0], mirrored[0][:, 3]), 1)
    assert len(plain[0]) == len(back) > 100
    assert torch.allclose(plain[1].sort().values, mirrored[1].sort().values, atol=1e-5)
    order, other = (rows.sum(1).argsort() for rows in (plain[0], back))
    assert torch.allclose(plain[0][order].sum(0), back[other].sum(0), rtol=1e-4)


def test_a_symmetric_answer_stays_as_it_is():
    net = network()
    with torch.inference_mode():
        (output,) = net.heads(torch.full((1, 3, 48, 64), 0.5))
    entries = output[0].view(3, 9, *output.shape[2:]).clone()
    entries[:, 0] = 0.5  # x in the middle of its cell
    entries = (entries + entries.flip(-1)) / 2
    same = entries.flatten(0, 1)
    (averaged,) = flip_averaged(net.graph, [torch.stack((same, same))])
    assert torch.allclose(averaged, same)


def test_the_first_yolo_has_no_mirror(paths):
    with pytest.raises(DarknetError, match=r"\[detection\].*cannot be averaged with its mirror image"):
        measure(network("boxes_detection"), paths, flip=True)


def test_readers_are_ahead_but_not_far(paths):
    begun = []

    def views(image):
        begun.append(threading.current_thread())
        return [image[None]]

    opened = open_each(paths * 10, 3, views, ahead=3)
    first = next(opened)
    assert first.path == paths[0]
    assert len(begun) <= 3
    assert threading.main_thread() not in begun
    assert [one.path for one in opened] == (paths * 10)[1:]
    stopped = open_each(paths * 1000, 3, views, ahead=3)
    next(stopped)
    stopped.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pictures")]


def test_the_same_from_a_model_with_names(paths):
    model = darknet_py.load(BOXES / "boxes_region.cfg", BOXES / "boxes_region.weights", names=list("abcd"))
    scores = measure(model, paths)
    assert scores.names == tuple("abcd")
    assert measure(model, paths, names=list("wxyz")).name(3) == "z"
