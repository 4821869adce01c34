"""Data sets as users have them: where lists and labels are, how texts are stored, what files are called."""

from __future__ import annotations

import codecs
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from darknet_py import weights
from darknet_py.cli import main
from darknet_py.network import Network
from darknet_py.network.graph import Graph

CFG = """[net]
batch=2
subdivisions=1
width=32
height=32
channels=3
max_batches=1
[convolutional]
filters=8
size=3
stride=16
pad=1
activation=leaky
[convolutional]
filters=16
size=1
activation=linear
[region]
anchors=.5,.5, 1,1
classes=3
num=2
"""
CLASSIFIER = """[net]
batch=2
subdivisions=1
width=16
height=16
channels=3
max_batches=1
[convolutional]
filters=3
[avgpool]
[softmax]
"""
NETWORK = ["tiny.cfg", "tiny.weights"]
NAME = os.fsdecode(b"caf\xe9.jpg")  # as old archives have names


@pytest.fixture(scope="module")
def kit(tmp_path_factory) -> Path:
    """Networks with weights and names, and a picture with its labels."""
    folder = tmp_path_factory.mktemp("kit")
    for name, text in (("tiny", CFG), ("classes", CLASSIFIER)):
        (folder / f"{name}.cfg").write_text(text)
        network = Network(Graph.read(folder / f"{name}.cfg"), generator=torch.Generator().manual_seed(1))
        weights.save(network, folder / f"{name}.weights")
    (folder / "c.names").write_text("cat\ndog\nowl\n")
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "a.jpg")
    (folder / "a.txt").write_text("0 .5 .5 .3 .3\n")
    return folder


@pytest.fixture
def folder(kit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the kit as the current folder."""
    shutil.copytree(kit, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    write_data("c.data")
    return tmp_path


def write_data(path: str, names: str = "c.names", pictures: str = "list.txt", more: str = "") -> None:
    place = Path(path)
    place.write_text(
        f"classes=3\nnames={names}\ntrain={pictures}\nvalid={pictures}\nbackup=backup\n{more}", encoding="utf-8"
    )


def move_into_set(listed: str = "images/a.jpg") -> None:
    """Put the picture into set/images, its labels into set/labels and a list that names it beside them."""
    for name in ("images", "labels", "lists"):
        Path("set", name).mkdir(parents=True)
    Path("a.jpg").rename("set/images/a.jpg")
    Path("a.txt").rename("set/labels/a.txt")
    Path("set/list.txt").write_text(f"{listed}\n")
    write_data("c.data", pictures="set/list.txt")


def run(*arguments: str) -> int:
    return main([*arguments, "-nogpu"] if arguments[0] in ("detector", "detect", "classifier") else list(arguments))


VERBS = {
    "test": ["detector", "test", "c.data", *NETWORK, "{}", "-thresh", ".1"],
    "predict": ["classifier", "predict", "c.data", "classes.cfg", "classes.weights", "{}"],
    "map": ["detector", "map", "c.data", *NETWORK],
    "valid": ["detector", "valid", "c.data", *NETWORK],
    "recall": ["detector", "recall", "c.data", *NETWORK],
    "train": ["detector", "train", "c.data", "tiny.cfg", "--workers", "0"],
}
ANCHORS = ["detector", "calc_anchors", "c.data", "-num", "1"]


def use(verb: str, pictures: str) -> int:
    return run(*(word.format(pictures) for word in VERBS[verb]))


@pytest.mark.parametrize("verb", VERBS)
def test_a_list_means_the_same_to_every_command(verb, folder, capsys):
    move_into_set()
    assert use(verb, "set/list.txt") == 0
    assert "No such file" not in capsys.readouterr().err


def test_anchors_are_of_the_same_pictures(folder, capsys):
    move_into_set()
    assert main(ANCHORS) == 0
    assert "1 boxes in 1 pictures" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("list_name", "line"),
    [
        ("set/LIST.TXT", "images/a.jpg"),
        ("set/list.list", "images/a.jpg"),
        ("set/lists/list.txt", "images/a.jpg"),  # from the parent of the list's folder
        ("set/list.txt", "images\\a.jpg"),
        ("set/list.txt", '"images/a.jpg"'),
        ("set/list.txt", "  images/a.jpg\r"),
        ("list.txt", "set/images/a.jpg"),
    ],
)
def test_lists_from_elsewhere(list_name, line, folder, capsys):
    move_into_set()
    Path(list_name).write_bytes(f"{line}\n".encode())
    assert use("test", list_name) == 0
    assert "a.jpg: Predicted" in capsys.readouterr().out


def test_a_picture_that_is_nowhere_is_named_as_it_was_written(folder, capsys):
    move_into_set("images/b.jpg")
    assert use("test", "set/list.txt") == 1
    assert capsys.readouterr().err.endswith("darknet-py: images/b.jpg: No such file or directory\n")


ENCODINGS = {
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-8": codecs.BOM_UTF8,
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_texts_with_a_mark_are_read_by_every_command(verb, encoding, folder, capsys):
    Path("list.txt").write_text("a.jpg\r\n")
    for path in map(Path, ("list.txt", "c.names", "a.txt", "c.data", "tiny.cfg", "classes.cfg")):
        path.write_bytes(ENCODINGS[encoding] + path.read_text().encode(encoding))
    assert use(verb, "list.txt") == 0
    printed = capsys.readouterr()
    assert "\0" not in printed.out + printed.err
    if verb == "test":
        assert "cat: " in printed.out


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "predict"])
def test_names_of_files_that_are_no_utf8(verb, folder, capsys):
    shutil.move("a.jpg", NAME)
    shutil.move("a.txt", NAME.replace(".jpg", ".txt"))
    Path("list.txt").write_bytes(os.fsencode(f"{NAME}\n"))
    assert use(verb, "list.txt") == 0
    assert "No such file" not in capsys.readouterr().err


def test_json_of_names_that_are_no_utf8(folder, capsysbinary):
    shutil.move("a.jpg", NAME)
    Path("list.txt").write_bytes(os.fsencode(f"{NAME}\ngone-{NAME}\n"))
    Path("c.names").write_bytes(b"caf\xe9\nle\xf3n\nowl\n")
    assert run("detector", "test", "c.data", *NETWORK, "list.txt", "-thresh", ".1", "--json") == 1
    printed = capsysbinary.readouterr().out
    found, missing = (json.loads(line) for line in printed.decode("ascii").splitlines())
    assert found["filename"] == NAME
    assert {"caf\xe9", "le\xf3n"} & {row["name"] for row in found["objects"]}
    assert missing["filename"] == f"gone-{NAME}"


def test_names_in_latin_1_are_shown_as_they_are_meant(folder, capsys):
    Path("c.names").write_bytes(b"caf\xe9\nle\xf3n\nb\xfcho\n")
    assert use("test", "a.jpg") == 0  # which draws them too
    assert {"caf\xe9", "le\xf3n", "b\xfcho"} & {line.partition(":")[0] for line in capsys.readouterr().out.split("\n")}
    assert use("valid", "a.jpg") == 1  # there is no list yet
    Path("list.txt").write_text("a.jpg\n")
    assert use("valid", "a.jpg") == 0
    assert Path("results/comp4_det_test_caf\xe9.txt").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
@pytest.mark.parametrize("verb", ["test", "predict", "map", "valid", "recall", "train"])
def test_nobody_waits_for_a_pipe_in_a_list(verb, folder, capsys):
    os.mkfifo("f.jpg")
    shutil.copy("a.txt", "f.txt")
    Path("list.txt").write_text("f.jpg\na.jpg\n")
    assert use(verb, "list.txt") == (verb not in ("train", "map"))
    printed = capsys.readouterr()
    assert (printed.err + printed.out).count("f.jpg: it is no regular file\n") == 1
    if verb in ("test", "predict"):
        assert "a.jpg: Predicted" in printed.out + printed.err


@pytest.mark.parametrize("verb", VERBS)
def test_blanks_in_paths(verb, folder, capsys):
    Path("my data").mkdir()
    for name in ("c.names", "list.txt"):
        Path("my data", name).write_text("cat\ndog\nowl\n" if name == "c.names" else "a.jpg\n")
    Path("c.names").unlink()
    write_data("c.data", names=" my data/c.names", pictures="my data/list.txt ", more="results = my results\n")
    assert use(verb, "my data/list.txt") == 0
    if verb == "test":
        assert "cat: " in capsys.readouterr().out
    if verb == "valid":
        assert Path("my results/comp4_det_test_cat.txt").exists()


def test_the_value_without_blanks_counts_first(folder, capsys):
    Path("my data.names").write_text("one\ntwo\nthree\n")
    Path("mydata.names").write_text("cat\ndog\nowl\n")
    write_data("c.data", names="my data.names")
    assert use("test", "a.jpg") == 0
    assert "cat: " in capsys.readouterr().out


def test_a_path_with_blanks_that_is_nowhere_is_named_as_it_was_written(folder, capsys):
    write_data("c.data", names="my data/c.names")
    assert use("test", "a.jpg") == 1
    assert "darknet-py: my data/c.names: cannot be read: No such file" in capsys.readouterr().err
    assert main(["check", "tiny.cfg", "c.data"]) == 1
    assert "names=my data/c.names: it does not exist" in capsys.readouterr().out


def test_weights_go_into_a_folder_with_blanks(folder):
    Path("list.txt").write_text("a.jpg\n")
    write_data("c.data", more="")
    Path("c.data").write_text(Path("c.data").read_text().replace("backup=backup", "backup = my weights"))
    assert use("train", "") == 0
    assert Path("my weights/tiny_final.weights").exists()


@pytest.mark.parametrize("verb", ["map", "recall", "train"])
def test_labels_beside_pictures_in_a_folder_called_images(verb, folder, capsys):
    move_into_set()
    Path("set/labels/a.txt").rename("set/images/a.txt")
    assert use(verb, "") == 0
    assert "label" not in capsys.readouterr().err


def test_messages_say_where_labels_could_be(folder, capsys):
    move_into_set()
    Path("set/labels/a.txt").unlink()
    place = Path("set").resolve()
    assert use("map", "") == 1
    assert f"the first would be {place}/labels/a.txt or {place}/images/a.txt" in capsys.readouterr().err
    assert use("train", "") == 1
    assert f"there are no labels for {place}/images/a.jpg, here or beside it" in capsys.readouterr().err


@pytest.fixture
def other_names(folder: Path) -> None:
    Path("list.txt").write_text("a.jpg\n")
    Path("c.names").write_text("cat\ndog\nowl\n\nbat\n")  # five lines for three classes


@pytest.mark.parametrize("verb", ["test", "map", "valid", "train"])
def test_names_of_other_classes_are_an_error(verb, other_names, capsys):
    assert use(verb, "a.jpg") == 1
    said = "darknet-py: c.names has 5 names, but tiny.cfg has 3 classes; --names-anyway (in Python names_anyway=True)"
    assert said in capsys.readouterr().err
    assert run(*(word.format("a.jpg") for word in VERBS[verb]), "--names-anyway") == 0


def test_a_classifier_has_a_name_for_each_of_its_classes(folder, capsys):
    Path("c.names").write_text("cat\ndog\n")
    assert use("predict", "a.jpg") == 1
    assert "c.names has 2 names, but classes.cfg is a classifier of 3 classes" in capsys.readouterr().err
    Path("c.names").write_text("cat\ndog\nowl\nbat\n")  # it is the first classes of a longer list
    assert use("predict", "a.jpg") == 0


@pytest.mark.parametrize("names", ["cat\ndog\nowl\n\n\n", "cat\ndog\n\n", "cat\n\nowl"])
def test_classes_without_a_name_are_classes(names, folder):
    Path("c.names").write_text(names)
    assert use("test", "a.jpg") == 0


@pytest.mark.parametrize(("verb", "count"), [("detect", 80), ("yolo test", 20)])
def test_verbs_with_names_of_their_own_say_which_verb_takes_others(verb, count, folder, capsys):
    (folder / "cfg").mkdir()
    Path("cfg/coco.data").write_text("names=cfg/coco.names\n")
    Path("cfg/coco.names").write_text("".join(f"{n}\n" for n in range(80)))
    command = [*verb.split(), *NETWORK, "a.jpg", "-nogpu"]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert f"has {count} names, but tiny.cfg has 3 classes" in said
    assert f"{verb!r} has names of its own: use 'detector test DATA' with those of tiny.cfg" in said
    assert main([*command, "--names-anyway"]) == 0


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize("orientation", [1, 6])
def test_orientations_are_told_of_once_a_run(orientation, folder, capfd):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (20, 40)).save(name, exif=exif)
    Path("list.txt").write_text("a.jpg\nb.jpg\n")
    shutil.copy("a.txt", "b.txt")
    told = "--exif turns them upright"
    assert use("test", "list.txt") == 0
    assert capfd.readouterr().err.count(told) == (orientation > 1)
    train = ["detector", "train", "c.data", "tiny.cfg", "-nogpu", "--workers", "2", "--batches", "1"]
    assert main(train) == 0
    printed = capfd.readouterr()
    assert (printed.out + printed.err).count(told) == (orientation > 1)
    assert main([*train, "--exif"]) == 0
    printed = capfd.readouterr()
    assert told not in printed.out + printed.err


def test_the_largest_picture_is_an_option(folder, capsys):
    assert use("test", "a.jpg") == 0
    assert run("detector", "test", "c.data", *NETWORK, "a.jpg", "--max-pixels", "1199") == 1
    assert "a.jpg: 40 x 30 is more than 1199 pixels; see --max-pixels" in capsys.readouterr().err


def test_names_without_a_number_are_found_before_the_work(folder, capsys, monkeypatch):
    monkeypatch.setattr("darknet_py.evaluate.measuring.look", None)  # the work
    Path("list.txt").write_text("a.jpg\n")
    write_data("c.data", more="eval=coco\n")
    assert use("valid", "") == 1
    said = "darknet-py: a.jpg: with eval=coco the name of a picture has to end in a number"
    assert said in capsys.readouterr().err


def findings(
    capsys: pytest.CaptureFixture[str], cfg: str = "tiny.cfg", code: int = 1
) -> list[tuple[str, str, int, str]]:
    """What `check` says of c.data, without that of the cfg."""
    assert main(["check", cfg, "c.data", "--json"]) == code
    problems = json.loads(capsys.readouterr().out)["problems"]
    keys = ("severity", "file", "line", "message")
    return [tuple(one[key] for key in keys) for one in problems if one["file"] not in (cfg, "c.data")]


def make_pictures(*names: str, labels: str = "0 .5 .5 .3 .3\n") -> None:
    for name in names:
        shutil.copy("a.jpg", f"{name}.jpg")
        Path(f"{name}.txt").write_text(labels)


def test_check_reads_pictures_and_labels_as_training_does(folder, capsys):
    Path("train.txt").write_text(
        "\na.jpg\ngone.jpg\nbad.jpg\nfew.jpg\nclass.jpg\npixels.jpg\nmany.jpg\nnone.jpg\nedge.jpg\n"
    )
    make_pictures("bad", "few", "none")
    make_pictures("class", labels="\n3 .5 .5 .3 .3\n0 .5 .5 .3\n")
    make_pictures("pixels", labels="0 20 15 8 8\n")
    make_pictures("many", labels="0 .5 .5 .1 .1\n" * 31)
    make_pictures("edge", labels="0 1.2 .5 .1 .1\n")
    Path("bad.jpg").write_bytes(b"no picture")
    Path("none.txt").unlink()
    Path("few.txt").write_text("0 .5 .5 .1 .1\n" * 30)
    write_data("c.data", pictures="train.txt")
    Path("c.data").write_text(Path("c.data").read_text().replace("valid=train.txt\n", ""))
    formats = "JPEG, PNG, BMP, GIF, PPM, TGA, TIFF, WEBP"
    assert findings(capsys) == [
        ("error", "class.txt", 2, "the class is 3, and has to be an integer from 0 to 2"),
        ("error", "class.txt", 3, "class x y w h were expected, five numbers, but there are 4"),
        ("warning", "edge.txt", None, "box 1 has a value above 1: x y w h are shares of the picture"),
        ("warning", "many.txt", None, "31 boxes; the network learns 30 of a picture, and the rest are left out"),
        ("error", "pixels.txt", 1, "x y w h have to be shares of the picture, from 0 to 1, not 20 15 8 8"),
        ("error", "train.txt", 3, "gone.jpg: No such file or directory"),
        ("error", "train.txt", 4, f"bad.jpg: not a picture in a known format ({formats})"),
        ("error", "train.txt", 9, "there is no label file none.txt; a picture of nothing has an empty one"),
    ]  # fmt: skip


def test_check_finds_pictures_twice_and_in_both_lists(folder, capsys):
    make_pictures("b", "c")
    Path("train.txt").write_text("a.jpg\nb.jpg\na.jpg\na.jpg\n")
    Path("valid.txt").write_text("c.jpg\n./b.jpg\n")
    Path("c.txt").unlink()
    Path("c.data").write_text("classes=3\nnames=c.names\ntrain=train.txt\nvalid=valid.txt\n")
    found = findings(capsys, code=0)
    assert [one for one in found if one[1] == "train.txt"] == [
        ("warning", "train.txt", 3, "this picture is in line 1 of train.txt already; so it is with 1 lines more")
    ]
    assert [one for one in found if one[1] == "valid.txt"] == [
        ("warning", "valid.txt", 1, "there is no label file c.txt; a picture of nothing has an empty one"),
        ("warning", "valid.txt", 2, "this picture is in line 2 of train.txt, to be learnt"),
    ]
    Path("c.data").write_text("classes=3\nnames=c.names\ntrain=train.txt\nvalid=train.txt\n")
    assert ("warning", "train.txt", None, "train= and valid= are this one list") in findings(capsys, code=0)


def test_check_counts_what_it_does_not_show(folder, capsys, monkeypatch):
    monkeypatch.setattr("darknet_py.check.pictures.FEW", 10)  # of more, other processes open them
    Path("list.txt").write_text("".join(f"gone{n}.jpg\n" for n in range(1300)))
    found = [one for one in findings(capsys) if "only" not in one[3]]
    assert [one[:3] for one in found[:2]] == [("warning", "list.txt", None)] * 2
    assert found[0][3] == "train= and valid= are this one list" or found[1][3] == "train= and valid= are this one list"
    assert "and 1,295 more pictures that cannot be read" in (found[0][3], found[1][3])
    assert [one[2] for one in found[2:]] == [1, 2, 3, 4, 5]


def test_check_of_empty_lists_and_classifiers(folder, capsys):
    Path("list.txt").write_text("\n\n")
    assert ("error", "list.txt", None, "the list is empty") in findings(capsys)
    make_pictures("cat1", "dog_cat", "newt")
    Path("list.txt").write_text("cat1.jpg\ndog_cat.jpg\nnewt.jpg\n")
    assert [one for one in findings(capsys, "classes.cfg") if one[2]] == [
        ("warning", "list.txt", 2, "dog_cat.jpg: the path has the names of 2 classes in it: cat, dog"),
        ("error", "list.txt", 3, "newt.jpg: the path has none of the 3 names of classes in it"),
    ]


def test_check_of_a_name_that_no_file_can_have(folder, capsys):
    write_data("c.data", pictures="a" * 300)
    assert main(["check", "tiny.cfg", "c.data"]) == 0
    assert "it does not exist; training needs it" in capsys.readouterr().out
