"""`detector valid`, `valid2`, `recall`, `map` and `classifier valid`: what they write and print.

The numbers marked as recorded are what upstream's CPU build wrote for the same pictures, weights and commands.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from darknet_py import weights
from darknet_py.cli import main
from darknet_py.errors import DarknetError
from darknet_py.evaluate.writers import COCO_IDS, Target, coco_number, write_coco, write_imagenet, write_voc
from darknet_py.predict.detections import Detections
from tests.support.places import GOLDEN
from tests.support.recordings import load_network, use_cpu_formula
from tests.support.scored import draw_pictures

# Recorded: lines of a file, sums of its columns after the name, and its first and last line.
VOC = {
    "n1": (1372, (153.253, 32519.833, 23254.514, 42347.448, 31043.355)),
    "n2": (1382, (134.751, 32693.325, 23223.654, 42510.858, 31136.622)),
    "n3": (1348, (189.526, 31908.179, 23013.900, 41460.037, 30693.236)),
    "n4": (1381, (303.404, 32810.187, 23341.873, 42517.989, 31225.520)),
}
VOC_FIRST = "pic_007_0 0.089037 16.745682 6.942831 18.886936 9.183275"
VOC_LAST = "pic_0010_3 0.067539 27.614077 1.000000 42.132790 25.443960"
COCO = (3738, (5735.0, 9344.0, 85523.652, 45534.669, 27434.930, 48202.257, 919.964))
COCO_FIRST = '{"image_id":0, "category_id":1, "bbox":[17.241796, 15.464432, 22.758204, 14.535568], "score":0.453909},'
COCO_LAST = '{"image_id":3, "category_id":4, "bbox":[47.964886, 10.162961, 3.474907, 9.957477], "score":0.078879}'
RECALL = """\
    0     0     2\tRPs/Img: 314.00\tIOU: 34.14%\tRecall:0.00%
    1     0     4\tRPs/Img: 318.00\tIOU: 34.86%\tRecall:0.00%
    2     0     6\tRPs/Img: 321.00\tIOU: 35.41%\tRecall:0.00%
    3     0     8\tRPs/Img: 324.00\tIOU: 34.87%\tRecall:0.00%
"""
CLASSES = """\
images/pic_007_0.jpg, 0, 0.084608, 0.072021, 
0: top 1: 0.000000, top 3: 0.000000
images/pic_008_1.jpg, 1, 0.082793, 0.072592, 
1: top 1: 0.000000, top 3: 0.000000
images/pic_009_2.jpg, 3, 0.082690, 0.069515, 
2: top 1: 0.000000, top 3: 0.000000
images/pic_0010_3.jpg, 2, 0.077470, 0.070059, 
3: top 1: 0.000000, top 3: 0.250000
"""  # noqa: W291 - the C program ends its lines so
TOP_THREE = {  # recorded: of the other ways to look at a picture, after each of the four
    "valid10": "1.000000 0.500000 0.333333 0.250000",
    "validfull": "0.000000 0.000000 0.000000 0.250000",
    "validmulti": "0.000000 0.000000 0.000000 0.000000",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with pictures, labels, networks that compute as the CPU build does, and .data files."""
    monkeypatch.chdir(tmp_path)
    draw_pictures(tmp_path)
    (tmp_path / "valid.txt").write_text("".join(f"images/pic_00{n}.jpg\n" for n in ("7_0", "8_1", "9_2", "10_3")))
    (tmp_path / "n.names").write_text("".join(f"n{n}\n" for n in range(1, 5)))
    (tmp_path / "classes.names").write_text("\n".join(["007", "008_1", "010", "pic", *"abcdef"]))
    for kind in ("voc", "coco", "imagenet"):
        text = f"classes=4\nvalid=valid.txt\nnames=n.names\nresults=results\neval={kind}\n"
        (tmp_path / f"{kind}.data").write_text(text)
    (tmp_path / "classes.data").write_text("classes=10\nvalid=valid.txt\nlabels=classes.names\ntop=3\n")
    return tmp_path


def take(folder, path, name):
    """A recorded network into the folder."""
    net = load_network(path / f"{name}.cfg", path / f"{name}.weights")
    with torch.no_grad():
        use_cpu_formula(net)
    weights.save(net, folder / f"{name}.weights")
    (folder / f"{name}.cfg").write_bytes((path / f"{name}.cfg").read_bytes())
    return [f"{name}.cfg", f"{name}.weights", "-nogpu"]


@pytest.fixture
def region(folder):
    return take(folder, GOLDEN / "boxes", "boxes_region")


def sums(rows):
    return np.array(rows, float).sum(0)


def test_voc_files(folder, region, capsys):
    assert main(["detector", "valid", "voc.data", *region]) == 0
    files = {f"results/comp4_det_test_{name}.txt": wanted for name, wanted in VOC.items()}
    assert {str(path.relative_to(folder)) for path in (folder / "results").iterdir()} == set(files)
    for file, (count, totals) in files.items():
        rows = [line.split() for line in (folder / file).read_text().splitlines()]
        assert len(rows) == count
        assert sums([row[1:] for row in rows]) == pytest.approx(totals, abs=0.05)
    first = (folder / "results" / "comp4_det_test_n1.txt").read_text().splitlines()[0].split()
    last = (folder / "results" / "comp4_det_test_n1.txt").read_text().splitlines()[-1].split()
    for mine, wanted in ((first, VOC_FIRST.split()), (last, VOC_LAST.split())):
        assert mine[0] == wanted[0]
        assert list(map(float, mine[1:])) == pytest.approx(list(map(float, wanted[1:])), abs=2e-5)
        assert [len(number) for number in mine] == [len(number) for number in wanted]
    out, err = capsys.readouterr()
    assert out.startswith("5483 boxes in 4 pictures: 4 files, results/comp4_det_test_n1.txt to comp4_det_test_n4.txt")
    assert "Total Detection Time" in err


def test_coco_file(folder, capsys):
    yolo = take(folder, GOLDEN / "boxes", "boxes_yolo")
    assert main(["detector", "valid", "coco.data", *yolo, "-out", "mine", "--json"]) == 0
    text = (folder / "results" / "mine.json").read_text()
    rows = [[row["image_id"], row["category_id"], *row["bbox"], row["score"]] for row in json.loads(text)]
    assert len(rows) == COCO[0]
    assert sums(rows) == pytest.approx(COCO[1], abs=0.05)
    lines = text.splitlines()
    assert (lines[0], lines[-1]) == ("[", "]")
    for mine, wanted in ((lines[1], COCO_FIRST), (lines[-2], COCO_LAST)):
        assert mine.split('"bbox"')[0] == wanted.split('"bbox"')[0]
        assert len(mine) == len(wanted)
    record = json.loads(capsys.readouterr().out)
    assert (record["files"], record["pictures"], record["detections"]) == (["results/mine.json"], 4, 3738)


def test_recall(region, capsys):
    assert main(["detector", "recall", "voc.data", *region]) == 0
    assert capsys.readouterr().out == RECALL
    assert main(["detector", "recall", "voc.data", *region, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["pictures"], record["truths"], record["recall"]) == (4, 8, 0)
    assert record["average_iou"] == pytest.approx(0.3487, abs=5e-5)


def test_classifier_valid(folder, capsys):
    network = take(folder, GOLDEN / "layers", "avgpool_softmax")
    assert main(["classifier", "valid", "classes.data", *network]) == 0
    assert capsys.readouterr().out == CLASSES
    for verb, values in TOP_THREE.items():
        assert main(["classifier", verb, "classes.data", *network, "-batch", "3"]) == 0
        lines = capsys.readouterr().out.splitlines()
        wanted = values.split()
        assert lines == [f"{n}: top 1: 0.000000, top 3: {value}" for n, value in enumerate(wanted)]
    assert main(["classifier", "valid", "classes.data", *network, "-t", "10", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"pictures": 4, "top_1": 0.0, "top": 10, "top_k": 1.0}


def test_classifier_of_a_tree(folder, capsys):
    (folder / "t.tree").write_text((GOLDEN / "boxes" / "tiny.tree").read_text())
    layers = "[net]\nwidth=13\nheight=11\nchannels=3\n\n[convolutional]\nfilters=10\nactivation=linear\n\n"
    (folder / "t.cfg").write_text(f"{layers}[avgpool]\n\n[softmax]\ntree=t.tree\n")
    with (folder / "t.weights").open("wb") as file:
        bias = np.zeros(10, "<f4")
        bias[0] = 3  # root_a
        file.write(weights.Header().pack() + bias.tobytes() + np.zeros((10, 3), "<f4").tobytes())
    text = (folder / "classes.data").read_text().replace("top=3", "top=1")
    names = (folder / "t.tree").read_text().split()[::2]
    (folder / "classes.names").write_text("\n".join(names))
    (folder / "classes.data").write_text(text)
    assert main(["classifier", "valid", "classes.data", "t.cfg", "t.weights", "-nogpu"]) == 0
    values = capsys.readouterr().out.splitlines()[0].split(", ")
    assert values[1:4] == ["-1", "0.000000", "0.000000"]  # no name in the path; root_a and root_b are no leaves
    (folder / "leaves.txt").write_text("root_a\nroot_b\n")
    (folder / "classes.data").write_text(f"{text}leaves=leaves.txt\n")
    assert main(["classifier", "valid", "classes.data", "t.cfg", "t.weights", "-nogpu"]) == 0
    values = capsys.readouterr().out.splitlines()[0].split(", ")
    exponents = np.exp([3, 0, 0])
    assert float(values[2]) == pytest.approx(exponents[0] / exponents.sum(), abs=1e-6)


def test_map(folder, region, capsys):
    assert main(["detector", "map", "voc.data", *region, "-iou_thresh", "0.3", "-pr", "pr.png"]) == 0
    out, err = capsys.readouterr()
    assert " detections_count = 5483, unique_truth_count = 8" in out
    assert "class_id = 1, name = n2, ap = " in out
    assert " mean average precision (mAP@0.30) = " in out
    assert "VOC 2007" in out
    assert "AP50" in out
    assert not err
    with Image.open(folder / "pr.png") as chart:
        assert chart.size[0] > 500
    assert main(["detector", "map", "voc.data", *region, "-points", "11", "-thresh", "0.1", "-flip", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["pictures"], record["truths"]) == (4, 8)
    assert (record["alexeyab"]["points"], record["alexeyab"]["thresh"]) == (11, 0.1)


def test_flip_is_not_the_same(folder, region):
    assert main(["detector", "valid", "voc.data", *region]) == 0
    plain = (folder / "results" / "comp4_det_test_n1.txt").read_text()
    assert main(["detector", "valid2", "voc.data", *region, "-thresh", "0.1"]) == 0
    averaged = (folder / "results" / "comp4_det_test_n1.txt").read_text()
    assert 0 < len(averaged.splitlines()) < len(plain.splitlines())


def test_a_map_gives_the_classes_of_a_tree(folder, capsys):
    (folder / "tiny.tree").write_bytes((GOLDEN / "boxes" / "tiny.tree").read_bytes())
    tree = take(folder, GOLDEN / "boxes", "boxes_tree")
    (folder / "two.map").write_text("9\n3\n")
    (folder / "n.names").write_text("a\nb\n")  # those of the map
    (folder / "imagenet.data").write_text((folder / "imagenet.data").read_text() + "map=two.map\n")
    assert main(["detector", "valid", "imagenet.data", *tree]) == 0
    rows = [line.split() for line in (folder / "results" / "imagenet-detection.txt").read_text().splitlines()]
    assert {row[1] for row in rows} == {"1", "2"}
    assert {row[0] for row in rows} == {"1", "2", "3", "4"}
    assert main(["detector", "map", "imagenet.data", *tree, "--json"]) == 0


def test_unreadable_pictures_are_told_and_the_rest_goes_on(folder, region, capsys):
    (folder / "images" / "pic_008_1.jpg").write_bytes(b"no")
    (folder / "labels" / "pic_007_0.txt").write_text("cat .5 .5 .1 .1\n")
    (folder / "labels" / "pic_009_2.txt").unlink()
    for command in ("valid", "recall", "map"):
        code = main(["detector", command, "imagenet.data", *region])
        err = capsys.readouterr().err
        assert "images/pic_008_1.jpg: not a picture" in err
        assert code == (command != "map")
    rows = (folder / "results" / "imagenet-detection.txt").read_text().splitlines()
    assert {row.split()[0] for row in rows} == {"1", "3", "4"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("valid=valid.txt\n", ""), "voc.data: there is no valid=, the list of pictures to look at"),
        (("valid=valid.txt", "valid=gone.txt"), "gone.txt: cannot be read: No such file or directory"),
        (("names=n.names", ""), "there are 0 names for 4 classes, and every class has a file"),
        (("names=n.names", "names=three"), "three has 3 names, but boxes_region.cfg has 4 classes"),
        (("names=n.names", "names=twice"), "two classes are named 'a'"),
        (("names=n.names", "names=away"), "'comp4_det_test_../../b.txt' is no name of a file"),
        (("eval=voc", "map=two.map"), "voc.data: there is a map=, but the network has no tree"),
    ],
)
def test_mistakes_in_the_data_file_are_one_line(folder, region, capsys, change, said):
    (folder / "three").write_text("a\nb\nc\n")
    (folder / "twice").write_text("a\nb\nc\na\n")
    (folder / "away").write_text("a\n../../b\nc\nd\n")
    (folder / "two.map").write_text("0\n1\n")
    (folder / "voc.data").write_text((folder / "voc.data").read_text().replace(*change))
    assert main(["detector", "valid", "voc.data", *region]) == 1
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not list(folder.glob("results/*"))


def test_a_classifier_needs_as_many_names_as_classes(folder, capsys):
    network = take(folder, GOLDEN / "layers", "avgpool_softmax")
    (folder / "classes.data").write_text("classes=11\nvalid=valid.txt\nlabels=classes.names\n")
    assert main(["classifier", "valid", "classes.data", *network]) == 1
    assert "classes.data: classes=11, but classes.names has 10 names" in capsys.readouterr().err
    (folder / "n.names").write_text("".join(f"n{n}\n" for n in range(30)))
    (folder / "classes.data").write_text("valid=valid.txt\nlabels=n.names\n")
    assert main(["classifier", "valid", "classes.data", *network]) == 1
    assert "there are 30 names of classes, but the network gives 10" in capsys.readouterr().err


def test_labels_without_a_box_have_no_map(folder, region, capsys):
    for path in (folder / "labels").iterdir():
        path.write_text("")
    assert main(["detector", "map", "voc.data", *region]) == 1
    assert "valid.txt: the label files of its pictures name not a single box" in capsys.readouterr().err


def found_in(size, *rows):
    table = torch.tensor([row[2:] for row in rows], dtype=torch.float64).reshape(-1, 4)
    labels = torch.tensor([row[0] for row in rows], dtype=torch.int64)
    scores = torch.tensor([row[1] for row in rows], dtype=torch.float32)
    return Detections(table, scores, labels, ("",) * len(rows), size)


def test_boxes_are_cut_off_at_the_border_as_in_c(tmp_path):
    found = found_in((100, 50), (1, 0.25, -10, -5, 30, 60), (0, 0.5, 90, 40, 99.5, 49.5))
    rows = [(6, "a/b.c/x_12.3.jpg", found)]
    target = Target(tmp_path / "made" / "here")
    write_voc(rows, target, ["one", "two"], 2)
    write_imagenet(rows, target, [], 2)
    write_coco(rows, target, [], 2)
    files = {path.name: path.read_text() for path in target.folder.iterdir()}
    assert files == {
        "comp4_det_test_one.txt": "x_12 0.500000 91.000000 41.000000 100.000000 50.000000\n",
        "comp4_det_test_two.txt": "x_12 0.250000 1.000000 1.000000 31.000000 50.000000\n",
        "imagenet-detection.txt": "7 2 0.250000 0.000000 0.000000 30.000000 50.000000\n"
        "7 1 0.500000 90.000000 40.000000 99.500000 49.500000\n",
        "coco_results.json": '[\n{"image_id":12, "category_id":2, "bbox":[0.000000, 0.000000, 30.000000, 50.000000], '
        '"score":0.250000},\n{"image_id":12, "category_id":1, "bbox":[90.000000, 40.000000, 9.500000, 9.500000], '
        '"score":0.500000}\n]\n',
    }


def test_nothing_found_is_still_json(tmp_path):
    (path,) = write_coco([(0, "1.jpg", found_in((5, 5)))], Target(tmp_path, "none"), [], 80)
    assert json.loads(path.read_text()) == []


def test_an_error_on_the_way_leaves_old_results(tmp_path):
    def rows():
        yield 0, "1.jpg", found_in((5, 5), (0, 0.5, 0, 0, 1, 1))
        raise DarknetError("stop")

    for write in (write_voc, write_coco, write_imagenet):
        (path,) = write([(0, "1.jpg", found_in((5, 5), (0, 0.5, 0, 0, 1, 1)))], Target(tmp_path), ["a"], 1)
        before = path.read_bytes()
        with pytest.raises(DarknetError, match="stop"):
            write(rows(), Target(tmp_path), ["a"], 1)
        assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 3


def test_numbers_and_classes_of_coco(tmp_path):
    assert len(COCO_IDS) == 80
    assert (COCO_IDS[0], COCO_IDS[11], COCO_IDS[79]) == (1, 13, 90)
    assert coco_number("my_pictures/COCO_val2014_000000000139.jpg") == 139
    assert coco_number("coco_2017/000000000139.jpg") == 139
    with pytest.raises(DarknetError, match="has to end in a number"):
        coco_number("dog.jpg")
    with pytest.raises(DarknetError, match="COCO has 80 classes, and this network 81"):
        write_coco([], Target(tmp_path), [], 81)
