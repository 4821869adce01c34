from __future__ import annotations

import pickle
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image

from darknet_py.cfg import DataFile
from darknet_py.data import ClassifierData, DataWarning, DetectionData, Key
from darknet_py.data.base import DRAWS
from darknet_py.errors import CfgError, DarknetError
from darknet_py.network.graph import Graph
from darknet_py.pictures import files
from tests.support.made import list_data, make_data, make_picture, region_graph

FILES = Path("/proc/self/fd")
CLASSIFIER = """
[net]
width=32
height=32
channels=3
angle=7
[convolutional]
filters={classes}
[avgpool]
[softmax]
{more}
"""
V1 = """
[net]
width=32
height=32
channels=3
[connected]
output=60
[detection]
classes=5
coords=4
side=2
num=2
jitter={jitter}
"""
YOLO = "[net]\nwidth=32\nheight=32\nchannels=3\n[convolutional]\nfilters=25\n[yolo]\nclasses=20\nmax=7\n{}\n"


def detection(data: DataFile, more: str = "", **options: object) -> DetectionData:
    return DetectionData.from_cfg(region_graph(more), data, **options)


def boxes(truth: torch.Tensor, coords: int = 4) -> torch.Tensor:
    rows = truth.view(-1, coords + 1)
    return rows[rows[:, 0] != 0]


def test_a_sample(tmp_path: Path) -> None:
    data = detection(make_data(tmp_path))
    image, truth = data[Key(5, 64, 48)]
    assert image.shape == (3, 48, 64)
    assert image.dtype == truth.dtype == torch.float32
    assert image.min() >= 0
    assert image.max() <= 1
    assert truth.shape == (30 * 5,)
    assert len(boxes(truth)) == 1
    assert len(data.problems) == 0


def test_a_key_gives_the_same_whatever_came_before(tmp_path: Path) -> None:
    made = make_data(tmp_path)
    first, second = detection(made, seed=4), detection(made, seed=4)
    expected = [first[Key(n, 64, 48)] for n in range(8)]
    for n in (7, 3, 3, 0):
        image, truth = second[Key(n, 64, 48)]
        assert torch.equal(image, expected[n][0])
        assert torch.equal(truth, expected[n][1])
    other = detection(made, seed=5)[Key(3, 64, 48)][0]
    assert not torch.equal(other, expected[3][0])


def test_samples_follow_the_size_of_the_key_and_draw_all_pictures(tmp_path: Path) -> None:
    data = detection(make_data(tmp_path))
    assert data[Key(0, 96, 32)][0].shape == (3, 32, 96)
    labels = [int(boxes(data[Key(n, 16, 16)][1])[0, 4]) for n in range(60)]
    assert set(labels) == set(range(6))
    assert labels != sorted(labels)


def test_labels_come_in_random_order_and_no_more_than_thirty(tmp_path: Path) -> None:
    data = detection(make_data(tmp_path, 1, "".join(f"{n % 20} .5 .5 .2 .{n + 10}\n" for n in range(50))))
    first, second = (boxes(data[Key(n, 64, 48)][1]) for n in (0, 1))
    assert len(first) == len(second) == 30
    assert first[:, 4].tolist() != second[:, 4].tolist()
    assert set(first[:, 3].tolist()) != set(second[:, 3].tolist())


def test_pictures_of_nothing(tmp_path: Path) -> None:
    data = detection(make_data(tmp_path, labels=""))
    assert not data[Key(0, 64, 48)][1].any()
    assert len(data.problems) == 0


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_are_those_of_the_network(tmp_path: Path, channels: int) -> None:
    data = DetectionData.from_cfg(region_graph(channels=channels), make_data(tmp_path))
    assert data[Key(0, 64, 48)][0].shape == (channels, 48, 64)


def test_two_channels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DarknetError, match="1, 3 or 4 channels, but the network takes 2"):
        DetectionData.from_cfg(region_graph(channels=2), make_data(tmp_path))


def test_the_first_yolo_gets_a_grid(tmp_path: Path) -> None:
    data = DetectionData.from_cfg(Graph.parse(V1.format(jitter=0.2)), make_data(tmp_path, 4))
    image, truth = data[Key(0, 32, 32)]
    assert image.shape == (3, 32, 32)
    cells = truth.view(4, 10)
    assert cells[:, 0].sum() == 1
    assert cells[:, 1:6].sum() == 1


def test_yolo_has_as_many_truths_as_it_says(tmp_path: Path) -> None:
    data = DetectionData.from_cfg(Graph.parse(YOLO.format("")), make_data(tmp_path))
    assert data[Key(0, 32, 32)][1].shape == (7 * 5,)


def test_a_map_says_how_many_classes_labels_have(tmp_path: Path) -> None:
    (tmp_path / "x.map").write_text("0\n" * 25)
    made = make_data(tmp_path, 1, "24 .5 .5 .5 .5\n")
    data = DetectionData.from_cfg(Graph.parse(YOLO.format(f"map={tmp_path / 'x.map'}")), made)
    assert boxes(data[Key(0, 32, 32)][1])[0, 4] == 24
    (tmp_path / "labels/0.txt").write_text("25 .5 .5 .5 .5\n")
    with pytest.raises(DarknetError, match="the class is 25, and has to be an integer from 0 to 24"):
        data[Key(0, 32, 32)]


def test_a_tree_takes_pictures_with_a_class_alone(tmp_path: Path) -> None:
    (tmp_path / "x.tree").write_text("".join(f"n{n} -1\n" for n in range(20)))
    made = make_data(tmp_path, 1, "3 0 0 0 0\n")
    truth = detection(made, f"tree={tmp_path / 'x.tree'}")[Key(0, 64, 48)][1]
    assert truth[:5].tolist() == [999999] * 4 + [3]
    with pytest.raises(DarknetError, match=r"0\.txt:1: .* \[region\] with a tree"):
        detection(made)[Key(0, 64, 48)]


def test_a_map_is_not_for_classes_alone(tmp_path: Path) -> None:
    (tmp_path / "x.tree").write_text("".join(f"n{n} -1\n" for n in range(20)))
    (tmp_path / "x.map").write_text("7\n9\n")
    keys = f"tree={tmp_path / 'x.tree'}\nmap={tmp_path / 'x.map'}"
    made = make_data(tmp_path, 1, "19 0 0 0 0\n")
    assert detection(made, keys)[Key(0, 64, 48)][1][:5].tolist() == [999999] * 4 + [19]
    for line, last in (("20 0 0 0 0", 19), ("2 .5 .5 .5 .5", 1)):
        (tmp_path / "labels/0.txt").write_text(line)
        with pytest.raises(DarknetError, match=f"the class is .*, and has to be an integer from 0 to {last}"):
            detection(made, keys)[Key(0, 64, 48)]


def test_joint_lists_of_boxes_and_of_classes_alone(tmp_path: Path) -> None:
    (tmp_path / "x.tree").write_text("".join(f"n{n} -1\n" for n in range(20)))
    with_boxes, alone = make_data(tmp_path / "a", 3), make_data(tmp_path / "b", 3, "1{n} 0 0 0 0\n")
    paths = [(Path(str(made.path("train")))).read_text() for made in (with_boxes, alone)]
    data = detection(list_data(tmp_path, *paths), f"tree={tmp_path / 'x.tree'}")
    truths = [boxes(data[Key(n, 32, 32)][1])[0].tolist() for n in range(40)]
    assert {int(truth[4]) for truth in truths} == {0, 1, 2, 10, 11, 12}
    assert all((truth[0] == 999999) == (truth[4] >= 10) for truth in truths)


@pytest.mark.parametrize(
    ("cfg", "said"),
    [
        (CLASSIFIER.format(classes=3, more=""), r"\[softmax\] learns no boxes"),
        (V1.format(jitter=0.5), "jitter=0.5 has to be from 0 on and below 0.5"),
        (
            V1.format(jitter=0.2).replace("coords=4", "coords=9").replace("=60", "=100"),
            "coords=9: label files have four",
        ),
        (YOLO.format("jitter=1"), "jitter=1 has to be"),
        (YOLO.format("jitter=-.1"), "jitter=-0.1 has to be"),
        (YOLO.format("").replace("filters=25\n[yolo]", "filters=26\n[region]\ncoords=5"), "label files have no masks"),
    ],
)
def test_networks_that_cannot_learn_boxes(tmp_path: Path, cfg: str, said: str) -> None:
    with pytest.raises(CfgError, match=said):
        DetectionData.from_cfg(Graph.parse(cfg), make_data(tmp_path))


# Problems.


def test_bad_pictures_and_labels_are_reported_once_and_others_drawn(tmp_path: Path) -> None:
    made = make_data(tmp_path, 10)
    (tmp_path / "images/1.png").unlink()
    (tmp_path / "images/2.png").write_bytes(b"no picture")
    (tmp_path / "labels/3.txt").unlink()
    (tmp_path / "labels/4.txt").write_text("0 .5 .5 .5 .5\n20 .5 .5 .5 .5\n1 .5\n")
    (tmp_path / "labels/5.txt").write_text("5 nan .5 .5 .5\n")
    (tmp_path / "images/6.png").unlink()
    (tmp_path / "images/6.png").mkdir()
    reports: list[str] = []
    data = detection(made, report=reports.append)
    labels = {int(boxes(data[Key(n, 16, 16)][1])[0, 4]) for n in range(200)}
    assert labels == {0, 7, 8, 9}
    starts = ["images/1.png: No such file", "images/2.png: not a picture", "labels/3.txt: there are no labels for"]
    starts += ["labels/4.txt:2: the class is 20", "labels/4.txt:3: class x y w h", "labels/5.txt:1: x y w h"]
    starts += ["images/6.png: Is a directory"]
    assert len(reports) == len(starts)
    assert all(any(report.startswith(f"{tmp_path}/{start}") for report in reports) for start in starts)
    assert not any("\n" in report for report in reports)


def test_problems_are_warnings_where_no_one_else_takes_them(tmp_path: Path) -> None:
    made = make_data(tmp_path, 2)
    (tmp_path / "labels/1.txt").write_text("bad\n")
    data = detection(made)
    with pytest.warns(DataWarning, match=r"1\.txt:1: class x y w h were expected") as caught:
        _ = [data[Key(n, 16, 16)] for n in range(20)]
    assert len(caught) == 1


def test_one_good_picture_among_many_is_found(tmp_path: Path) -> None:
    made = make_data(tmp_path, 1, "7 .5 .5 .5 .5\n")
    paths = [f"{tmp_path}/images/gone{n}.png" for n in range(600)]
    paths[123] = (tmp_path / "train.list").read_text().strip()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        data = detection(list_data(tmp_path, *paths))
        assert all(boxes(data[Key(n, 16, 16)][1])[0, 4] == 7 for n in range(3))
    assert made.source.endswith("made.data")


def test_only_bad_pictures_are_an_error(tmp_path: Path) -> None:
    data = detection(list_data(tmp_path, *(f"{tmp_path}/images/gone{n}.jpg" for n in range(2000))))
    with pytest.raises(DarknetError, match=r"train\.list: none of the pictures tried can be used; the first: .*gone"):
        data[Key(0, 16, 16)]
    assert DRAWS < 2000


def test_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_data(tmp_path, 2)
    (tmp_path / "train.list").write_bytes(b"\xef\xbb\xbf\r\nimages/0.png\r\n\r\n  images/1.png  \r\n")
    made = list_data(tmp_path)
    (tmp_path / "train.list").write_bytes(b"\xef\xbb\xbf\r\nimages/0.png\r\n\r\n  images/1.png  \r\n")
    data = detection(made)
    assert data.paths == ("images/0.png", "images/1.png")
    assert len(boxes(data[Key(0, 16, 16)][1])) == 1  # from the folder of the list
    monkeypatch.chdir(tmp_path)
    assert len(boxes(data[Key(0, 16, 16)][1])) == 1


def test_lists_that_are_empty_or_not_there(tmp_path: Path) -> None:
    made = list_data(tmp_path, "", " ")
    with pytest.raises(CfgError, match=r"train\.list: the list is empty"):
        detection(made)
    (tmp_path / "train.list").unlink()
    with pytest.raises(CfgError, match=r"train\.list: cannot be read: No such file"):
        detection(made)
    with pytest.raises(CfgError, match=r"x\.data: there is no train="):
        detection(DataFile("x.data", ()))


@pytest.mark.skipif(not FILES.is_dir(), reason="this system does not show the files of a process")
def test_no_file_stays_open(tmp_path: Path) -> None:
    made = make_data(tmp_path, 4, suffix=".jpg")
    (tmp_path / "images/1.jpg").write_bytes((tmp_path / "images/1.jpg").read_bytes()[:200])
    (tmp_path / "labels/2.txt").write_text("bad")
    data = detection(made, report=lambda _: None)
    data[Key(0, 16, 16)]
    before = len(list(FILES.iterdir()))
    for n in range(50):
        data[Key(n, 16, 16)]
    assert len(list(FILES.iterdir())) == before


def test_data_sets_can_be_sent_to_other_processes(tmp_path: Path) -> None:
    data = detection(make_data(tmp_path), report=lambda _: None)
    copy = pickle.loads(pickle.dumps(data))
    assert torch.equal(copy[Key(3, 32, 32)][0], data[Key(3, 32, 32)][0])


# Classifiers.


def classifier_data(folder: Path, *names: str, labels: str = "cat\ndog\nbird\n", more: str = "") -> DataFile:
    (folder / "x.names").write_text(labels)
    for n, name in enumerate(names):
        make_picture(folder / name, n)
    return list_data(folder, *names, more=f"labels={folder / 'x.names'}\n{more}")


def classifier(made: DataFile, classes: int = 3, more: str = "", **options: object) -> ClassifierData:
    return ClassifierData.from_cfg(Graph.parse(CLASSIFIER.format(classes=classes, more=more)), made, **options)


def test_classes_are_named_by_paths(tmp_path: Path) -> None:
    data = classifier(classifier_data(tmp_path, "cat/1.png", "2_dog.png"))
    found = [data[Key(n, 32, 32)] for n in range(20)]
    assert {tuple(truth.tolist()) for _, truth in found} == {(1, 0, 0), (0, 1, 0)}
    assert found[0][0].shape == (3, 32, 32)
    assert data[Key(0, 48, 48)][0].shape == (3, 48, 48)
    assert len(data.problems) == 0


def test_paths_without_or_with_several_classes(tmp_path: Path) -> None:
    reports: list[str] = []
    data = classifier(classifier_data(tmp_path, "catdog.png", "fish.png", "bird.png"), report=reports.append)
    truths = {tuple(data[Key(n, 32, 32)][1].tolist()) for n in range(30)}
    assert truths == {(1, 1, 0), (0, 0, 1)}
    assert len(reports) == 2
    several, none = sorted(reports)
    assert several.endswith("catdog.png: the path has the names of 2 classes in it, and all count: cat, dog")
    assert none.endswith("fish.png: the path has none of the 3 names of classes in it")


def test_one_class_may_be_absent(tmp_path: Path) -> None:
    data = classifier(classifier_data(tmp_path, "cat.png", "fish.png", labels="cat\n"), classes=1)
    assert {data[Key(n, 32, 32)][1].item() for n in range(20)} == {0, 1}
    assert len(data.problems) == 0


def test_empty_names_are_in_no_path(tmp_path: Path) -> None:
    data = classifier(classifier_data(tmp_path, "cat.png", labels="cat\n\nbird"))
    assert data[Key(0, 32, 32)][1].tolist() == [1, 0, 0]


@pytest.mark.parametrize("where", ["cfg", "data"])
def test_a_tree_of_the_cfg_or_of_the_data_file(tmp_path: Path, where: str) -> None:
    (tmp_path / "x.tree").write_text("cat -1\ndog -1\nbird 0\n")
    key = f"tree={tmp_path / 'x.tree'}"
    made = classifier_data(tmp_path, "bird.png", more=key if where == "data" else "")
    data = classifier(made, more=key if where == "cfg" else "")
    assert data[Key(0, 32, 32)][1].tolist() == [1, 0, 1]


@pytest.mark.parametrize("classes", [2, 4])
def test_classes_have_to_be_those_of_the_network(tmp_path: Path, classes: int) -> None:
    made = classifier_data(tmp_path, "cat.png", more="classes=3")
    with pytest.raises(CfgError, match=f"3 classes and {min(3, classes)} names, but the network gives {classes}"):
        classifier(made, classes)


def test_a_classifier_needs_labels(tmp_path: Path) -> None:
    with pytest.raises(CfgError, match="there is no labels="):
        classifier(list_data(tmp_path, "x.png"))


def test_pictures_are_read_as_everywhere(tmp_path: Path) -> None:
    """The middle of a picture, without any chance but the mirror."""
    made = classifier_data(tmp_path, "cat.png")
    graph = Graph.parse(CLASSIFIER.format(classes=3, more="").replace("angle=7", "center=1"))
    Image.new("RGB", (32, 32)).save(tmp_path / "cat.png")
    make_picture(tmp_path / "cat.png", 5, 32, 32)
    image = ClassifierData.from_cfg(graph, made)[Key(0, 32, 32)][0]
    expected = files.read(tmp_path / "cat.png")
    assert min((image - expected).abs().max(), (image - expected.flip(-1)).abs().max()) < 1e-6
    shutil.rmtree(tmp_path)
