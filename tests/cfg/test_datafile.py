"""The small files around a cfg: .data, .names, lists, and where they are looked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darknet_py.cfg import datafile as data_module
from darknet_py.cfg import find_file, read_data, read_list, read_names
from darknet_py.cfg.datafile import DataFile
from darknet_py.cfg.grammar import parse_data
from darknet_py.errors import CfgError, CfgWarning
from tests.support.places import OFFICIAL, needs_official


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def data_of(text: str, source: str = "x.data") -> DataFile:
    return DataFile(source, parse_data(text, source))


def test_a_data_file_is_keys_and_values(tmp_path):
    path = write(tmp_path / "voc.data", "classes= 20\ntrain  = /home/pj reddie/train.txt\r\n# c\nnames = voc.names\n")
    data = read_data(path)
    assert data.source == str(path)
    assert data.get("train") == "/home/pjreddie/train.txt"  # Darknet removes blanks from paths too
    assert data.get("valid") is None
    assert data.get("valid", "test.txt") == "test.txt"
    assert data.integer("classes", 2) == 20
    assert data.integer("top", 2) == 2


def test_of_a_repeated_key_the_first_holds():
    assert data_of("names=a\nnames=b").get("names") == "a"


def test_numbers_are_read_as_atoi_does():
    data = data_of("classes=80#coco\ntop=five")
    assert data.integer("classes", 2) == 80
    with pytest.raises(CfgError, match=r"x\.data:2: top=five: an integer was expected"):
        data.integer("top", 5)


def test_what_stands_behind_a_number_is_worth_a_warning():
    with pytest.warns(CfgWarning, match=r"^x\.data:1: classes: ',5' after the number 1 is ignored$"):
        assert data_of("classes=1,5").integer("classes", 2) == 1


def test_a_data_file_has_no_sections():
    with pytest.raises(CfgError, match=r"x\.data:1: a \.data file has no \[sections\]"):
        data_of("[net]\nclasses=1")


def test_a_line_that_is_no_entry_warns():
    with pytest.warns(CfgWarning, match=r"x\.data:1: 'classes' is not key=value; ignored"):
        assert data_of("classes").integer("classes", 2) == 2


def test_an_empty_data_file_has_no_keys(tmp_path):
    data = read_data(write(tmp_path / "x.data", ""))
    assert data.entries == ()
    assert data.names() == ()
    assert data.path("names", "labels") is None


def test_files_that_are_not_there_are_cfg_errors(tmp_path):
    for read in (read_data, read_names, read_list):
        with pytest.raises(CfgError, match=r"no\.txt: cannot be read: No such file or directory"):
            read(tmp_path / "no.txt")
        with pytest.raises(CfgError, match="cannot be read"):
            read(tmp_path)


def test_binary_data_files_are_refused(tmp_path):
    with pytest.raises(CfgError, match="this is not a text file"):
        read_data(write(tmp_path / "x.data", b"\0\1\2"))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("dog\ncat\n", ("dog", "cat")),
        ("dog\ncat", ("dog", "cat")),
        ("dog\r\ncat\r\n", ("dog", "cat")),
        ("\ufefftraffic light\n  cat \n", ("traffic light", "  cat")),
        ("dog\n\ncat\n", ("dog", "", "cat")),
        ("dog\n\n", ("dog", "")),
        ("\n", ("",)),
        ("", ()),
        ("na\u00efve\n", ("na\u00efve",)),
        ("#1\n;2\n[3]\n", ("#1", ";2", "[3]")),
    ],
)
def test_names_are_lines(text, names, tmp_path):
    assert read_names(write(tmp_path / "x.names", text)) == names


@given(st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=5), min_size=1, max_size=9))
def test_names_come_back_as_they_are_written(tmp_path_factory, names):
    path = write(tmp_path_factory.getbasetemp() / "any.names", "\n".join(names) + "\n")
    assert read_names(path) == tuple(names)


def test_names_may_stand_under_labels(tmp_path):
    write(tmp_path / "x.names", "dog\ncat\n")
    write(tmp_path / "y.names", "bird\n")
    source = str(tmp_path / "x.data")
    assert data_of("labels=x.names", source).names() == ("dog", "cat")
    assert data_of("labels=x.names\nnames=y.names", source).names() == ("bird",)


def test_a_list_has_a_path_a_line(tmp_path):
    path = write(tmp_path / "list.txt", "a b.jpg\n\n  /c.png\r\n\n")
    assert read_list(path) == ("a b.jpg", "/c.png")
    with pytest.raises(CfgError, match=r"empty\.txt: the list is empty"):
        read_list(write(tmp_path / "empty.txt", "\n \n"))


def test_lists_and_names_have_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(data_module, "LIST_BYTES", 8)
    with pytest.raises(CfgError, match="larger than 8 bytes"):
        read_list(write(tmp_path / "list.txt", "123456789"))


def test_a_named_file_is_looked_for_here_then_beside_the_file_then_above_it(tmp_path, monkeypatch):
    named_by = write(tmp_path / "project" / "cfg" / "x.data", "names=data/x.names")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert find_file("data/x.names", str(named_by)) == Path("data/x.names")  # for the error message
    above = write(tmp_path / "project" / "data" / "x.names", "")
    assert find_file("data/x.names", str(named_by)).samefile(above)
    beside = write(tmp_path / "project" / "cfg" / "data" / "x.names", "")
    assert find_file("data/x.names", str(named_by)).samefile(beside)
    first = write(here / "data" / "x.names", "")
    assert find_file("data/x.names", str(named_by)).samefile(first)
    assert find_file(str(above), str(named_by)) == above
    assert read_data(named_by).path("labels", "names").samefile(first)


def test_a_file_that_is_named_by_a_relative_path_works_too(tmp_path, monkeypatch):
    write(tmp_path / "cfg" / "x.data", "names=data/x.names")
    write(tmp_path / "data" / "x.names", "dog\n")
    monkeypatch.chdir(tmp_path / "cfg")
    assert read_data("x.data").names() == ("dog",)


@pytest.mark.parametrize("name", ["a" * 5000, "a/" * 3000, "~nobody/x", "\0"])
def test_names_that_no_file_can_have_are_not_found(name, tmp_path):
    assert find_file(name, str(tmp_path / "x.data")) == Path(name)


def test_a_name_too_long_is_a_cfg_error(tmp_path):
    with pytest.raises(CfgError, match="cannot be read"):
        data_of(f"names={'a' * 5000}", str(tmp_path / "x.data")).names()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may enter every folder")
def test_a_folder_that_cannot_be_entered_is_passed_over(tmp_path, monkeypatch):
    closed = tmp_path / "data"
    write(closed / "x.names", "")
    closed.chmod(0)
    monkeypatch.chdir(tmp_path)
    try:
        assert find_file("data/x.names", str(tmp_path / "x.data")) == Path("data/x.names")
    finally:
        closed.chmod(0o700)


@needs_official
@pytest.mark.parametrize(
    ("name", "classes", "first", "last"),
    [
        ("coco", 80, "person", "toothbrush"),
        ("voc", 20, "aeroplane", "tvmonitor"),
        ("openimages", 601, "Tortoise", "Helmet"),
    ],
)
def test_official_data_files_lead_to_their_names(name, classes, first, last, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = read_data(OFFICIAL / "cfg" / f"{name}.data")
    assert data.integer("classes", 2) == classes
    path = data.path("names", "labels")
    if not path.exists():
        pytest.skip(f"{path} is not here")
    names = data.names()
    assert (names[0], names[-1], len(names)) == (first, last, classes)
