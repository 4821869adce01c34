"""tools/datasets/voc.py: the numbers of Darknet's voc_label.py, and what it does with files that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from darknet_py.data.labels import label_path, read_labels
from tools.datasets import voc as tool

OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{0}</xmin><ymin>{1}</ymin>
<xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"""


def annotation(*objects: str, size: tuple[int, int] = (353, 500)) -> str:
    width, height = size
    return f"<annotation><size><width>{width}</width><height>{height}</height></size>{''.join(objects)}</annotation>"


def thing(name: str, *box: object, difficult: int = 0) -> str:
    return OBJECT.format(*box, name=name, difficult=difficult)


@pytest.fixture
def devkit(tmp_path, monkeypatch):
    """A devkit with two years; 000001 has the numbers of the first picture of VOC 2007."""
    monkeypatch.chdir(tmp_path)
    years = {"2007": {"train": ["000001"], "val": ["000002"], "test": ["000003"]}, "2012": {"train": ["2008_000001"]}}
    for year, sets in years.items():
        folder = tmp_path / "VOCdevkit" / f"VOC{year}"
        (folder / "Annotations").mkdir(parents=True)
        (folder / "ImageSets/Main").mkdir(parents=True)
        for name, pictures in sets.items():
            (folder / f"ImageSets/Main/{name}.txt").write_text("".join(f"{picture}\n" for picture in pictures))
            for picture in pictures:
                (folder / f"Annotations/{picture}.xml").write_text(annotation(thing("cat", 10, 20, 110, 220)))
    first = annotation(thing("dog", 48, 240, 195, 371), thing("person", 8, 12, 352, 498))
    (tmp_path / "VOCdevkit/VOC2007/Annotations/000001.xml").write_text(first)
    return tmp_path / "VOCdevkit"


@pytest.fixture
def run(devkit, capsys):
    def run(*arguments: object) -> tuple[int, list[str], list[str]]:
        code = tool.main([str(argument) for argument in (devkit, *arguments)])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return run


def test_labels_are_those_of_the_script(run, devkit) -> None:
    code, out, err = run()
    assert (code, err) == (0, [])
    assert (devkit / "VOC2007/labels/000001.txt").read_text() == (  # what voc_label.py writes for it
        "11 0.34135977337110485 0.609 0.4164305949008499 0.262\n14 0.5070821529745043 0.508 0.9745042492917847 0.972\n"
    )
    assert out == [
        "2007_train.txt: 1 pictures", "2007_val.txt: 1 pictures", "2007_test.txt: 1 pictures",
        "2012_train.txt: 1 pictures", "train.txt: 3 pictures", "train.all.txt: 4 pictures",
    ]  # fmt: skip


def test_lists_are_those_of_the_script(run, devkit) -> None:
    assert run("--out", ".")[0] == 0
    picture = {name: f"{devkit}/VOC{year}/JPEGImages/{name}.jpg" for year, name in (
        ("2007", "000001"), ("2007", "000002"), ("2007", "000003"), ("2012", "2008_000001"))}  # fmt: skip
    a, b, c, d = picture.values()
    for name, lines in {
        "2007_train": [a], "2007_val": [b], "2007_test": [c], "2012_train": [d], "train": [a, b, d],
        "train.all": [a, b, c, d],
    }.items():  # fmt: skip
        assert Path(f"{name}.txt").read_text().splitlines() == lines
    assert not Path("2012_val.txt").exists()
    assert len(read_labels(label_path(a))) == 2


def test_difficult_and_unknown_objects_are_left_out(run, devkit) -> None:
    path = devkit / "VOC2007/Annotations/000001.xml"
    hard = thing("dog", 1, 1, 50, 50, difficult=1)
    path.write_text(annotation(hard, thing("unicorn", 1, 1, 9, 9), thing("cat", 1, 1, 353, 500)))
    code, out, _ = run()
    assert code == 0
    assert out[-1] == "objects of 1 other names are left out: unicorn (1)"
    label = devkit / "VOC2007/labels/000001.txt"
    assert [line.split()[0] for line in label.read_text().splitlines()] == ["7"]
    code, _, err = run("--difficult")
    assert code == 1
    assert err[0] == f"{path}: {label} is there and says something else; --force writes over it"
    assert "2007_train.txt is there and says something else" in err[1]  # it would be without that picture
    assert run("--difficult", "--force")[0] == 0
    assert [line.split()[0] for line in label.read_text().splitlines()] == ["11", "7"]


def test_years_sets_and_names(run, devkit) -> None:
    Path("my.names").write_text("dog\nperson\n")
    Path("lists").mkdir()
    code, out, _ = run("--years", "2007", "--sets", "train", "--names", "my.names", "--out", "lists")
    assert code == 0
    assert out[0] == "lists/2007_train.txt: 1 pictures"
    assert not (devkit / "VOC2012/labels").exists()
    assert [line[0] for line in (devkit / "VOC2007/labels/000001.txt").read_text().splitlines()] == ["0", "1"]


def test_the_folder_above_the_devkit_will_do_and_a_second_run_changes_nothing(run, devkit, capsys) -> None:
    assert run()[0] == 0
    label = devkit / "VOC2007/labels/000001.txt"
    before = label.stat().st_mtime_ns
    assert tool.main([str(devkit.parent)]) == 0
    assert label.stat().st_mtime_ns == before


LAUGHS = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><annotation>&b;</annotation>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "this is no XML: "),
        ("<annotation>", "this is no XML: "),
        (LAUGHS, "it has a document type, which annotations have not"),
        (LAUGHS.encode("utf-16"), "it has a document type, which annotations have not"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "it has a document type"),
        ('<?xml version="1.0" encoding="nothing"?><annotation/>', "this is no XML: "),
        ("<annotation/>", "an <annotation> has no <size/width>"),
        (annotation(size=(0, 5)), "the size is 0 x 5"),
        (annotation(thing("dog", 1, 2, 3, "x")), "dog: numbers were expected, not 1, 3, 2, x"),
        (annotation(thing("dog", 1, 2, "nan", 3)), "dog: numbers were expected"),
        (annotation("<object><name>dog</name></object>"), "an <object> has no <bndbox/xmin>"),
        (annotation("<object/>"), "an <object> has no <name>"),
        ("<a>" * 200_000, "this is no XML: "),
    ],
)
def test_a_file_that_is_wrong_is_named_and_the_rest_goes_on(run, devkit, text, message) -> None:
    path = devkit / "VOC2007/Annotations/000001.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    code, _, err = run()
    assert code == 1
    assert len(err) == 1
    assert err[0].startswith(f"{path}: {message}")
    assert Path("train.txt").read_text().count("\n") == 2
    assert not (devkit / "VOC2007/labels/000001.txt").exists()


def test_missing_and_large_annotations(run, devkit) -> None:
    (devkit / "VOC2007/Annotations/000001.xml").unlink()
    with (devkit / "VOC2007/Annotations/000002.xml").open("wb") as file:
        file.truncate(tool.MAX_BYTES + 1)
    code, _, err = run()
    assert code == 1
    assert err[0].endswith("000001.xml: No such file or directory")
    assert "000002.xml: larger than" in err[1]


def test_what_is_no_devkit(run, devkit, tmp_path, capsys) -> None:
    assert run("--years", "1999")[2] == [f"voc: {devkit} has no VOC1999"]
    assert "has no nothing.txt" in run("--sets", "nothing")[2][0]
    (devkit / "VOC2007/ImageSets/Main/train.txt").write_text("../../elsewhere\n")
    assert "'../../elsewhere' is no name of a picture" in run()[2][0]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert tool.main([str(empty)]) == 1
    assert "is no VOCdevkit: it has no folder such as VOC2007" in capsys.readouterr().err
