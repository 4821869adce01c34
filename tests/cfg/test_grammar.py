"""The text of cfg files: what Darknet accepts is accepted, and nothing else than `CfgError` comes of the rest."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darknet_py import cfg
from darknet_py.cfg.grammar import MAX_BYTES, MAX_LINES, MAX_SECTIONS, parse, parse_data
from darknet_py.cfg.section import Entry, Section
from darknet_py.errors import CfgError, CfgWarning, Location
from darknet_py.network.graph import Graph
from tests.support.places import GOLDEN, needs_official, official_cfgs

SHIPPED = sorted((Path(__file__).parents[2] / "cfg").glob("*.cfg"))
RECORDED = sorted((GOLDEN / "layers").glob("*.cfg"))
SECONDS = 20  # far above what any text here takes


def content(sections: tuple[Section, ...]) -> list[tuple[str, list[tuple[str, str]]]]:
    """What sections say, without the places."""
    return [(section.type, [(entry.key, entry.value) for entry in section.entries]) for section in sections]


def pairs(text: str) -> list[tuple[str, str]]:
    (section,) = parse(f"[net]\n{text}")
    return [(entry.key, entry.value) for entry in section.entries]


@pytest.mark.parametrize(
    "text",
    [
        "batch=1\nwidth=416",
        "batch = 1\nwidth = 416",
        "\tbatch\t=\t1\n  width = 4 16  ",
        "ba tch=1\nwi\tdth=4\t1 6",
        "batch=1\n\n\n   \nwidth=416\n\n",
        "# a comment\nbatch=1\n; another\nwidth=416\n#",
        "   # blanks come before it\nbatch=1\n\t;so here\nwidth=416",
        "#batch=2\n#[net]\n;=\nbatch=1\nwidth=416",
        "batch=1\r\nwidth=416\r\n",
        "batch=1\rwidth=416\r",
        "batch=1\r\r\nwidth=416",
    ],
)
def test_blanks_comments_and_line_ends_change_nothing(text):
    assert pairs(text) == [("batch", "1"), ("width", "416")]


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("filters=40#32", "filters", "40#32"),
        ("filters=40 # 32", "filters", "40#32"),
        ("filters=40;32", "filters", "40;32"),
        ("tree=data/a=b.tree", "tree", "data/a=b.tree"),
        ("size==3", "size", "=3"),
        ("mask = 0, 1,\t2", "mask", "0,1,2"),
        ("names=[x].names", "names", "[x].names"),
        ("a\u00a0b=1", "a\u00a0b", "1"),
        ("a=1\f2\v3\x854\u20285", "a", "1\f2\v3\x854\u20285"),
    ],
)
def test_a_value_is_all_that_follows_the_first_equals_sign(line, key, value):
    assert pairs(line) == [(key, value)]


def test_headers_may_have_blanks_too():
    assert [section.type for section in parse(" [ net ]\n[conv\t]\n[con volutional]")] == [
        "net", "conv", "convolutional",
    ]  # fmt: skip


def test_comments_may_come_before_the_first_section():
    assert content(parse("# one\n\n;two\n[net]\nbatch=1\n")) == [("net", [("batch", "1")])]


def test_a_key_given_twice_is_kept_twice_and_the_first_is_found():
    (section,) = parse("[net]\nbatch=1\nwidth=2\nbatch=3")
    assert [entry.value for entry in section.entries] == ["1", "2", "3"]
    assert section.find("batch") == Entry("batch", "1", Location("<cfg>", 2))
    assert section.find("height") is None


def test_places_count_lines_as_an_editor_does():
    sections = parse("\ufeff# comment\r\n\r\n[net]\r\nbatch=1\r\n;\r\nwidth=2\r\n\r\n[conv]\r\nsize=3", "a/b.cfg")
    assert [section.where for section in sections] == [Location("a/b.cfg", 3), Location("a/b.cfg", 8)]
    assert [str(entry.where) for section in sections for entry in section.entries] == [
        "a/b.cfg:4", "a/b.cfg:6", "a/b.cfg:9",
    ]  # fmt: skip


@given(st.lists(st.sampled_from(["", "#c", ";", "\t ", "k=v", "[conv]", " a = b"]), max_size=30))
def test_every_place_is_the_line_it_stands_in(lines):
    for section in parse("\n".join(("[net]", *lines))):
        assert ["[net]", *lines][section.where.line - 1] == f"[{section.type}]"
        for entry in section.entries:
            assert lines[entry.where.line - 2].replace(" ", "") == str(entry)


@pytest.mark.parametrize("line", ["width", "width=", "=416", "="])
def test_a_line_that_is_no_entry_is_passed_over_with_a_warning(line):
    with pytest.warns(CfgWarning, match=rf"x\.cfg:2: '{line}' is not key=value; ignored") as caught:
        (section,) = parse(f"[net]\n{line}\nbatch=1", "x.cfg")
    assert caught[0].message.where == Location("x.cfg", 2)
    assert content((section,)) == [("net", [("batch", "1")])]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.cfg: there is no section in this file"),
        ("\n \n\t\n", "x.cfg: there is no section in this file"),
        ("# only a comment", "x.cfg: there is no section in this file"),
        ("\ufeff", "x.cfg: there is no section in this file"),
        ("batch=1\n[net]", "x.cfg:1: 'batch=1' stands before the first section, such as [net]"),
        ("# c\n\n junk \n[net]", "x.cfg:3: 'junk' stands before the first section, such as [net]"),
        ("[net", "x.cfg:1: '[net' is no section header such as [convolutional]"),
        ("[net]\n[conv\nsize=1", "x.cfg:2: '[conv' is no section header such as [convolutional]"),
        ("[net] # comment", "x.cfg:1: '[net]#comment' is no section header such as [convolutional]"),
        ("[]", "x.cfg:1: '[]' is no section header such as [convolutional]"),
        ("[ ]\nbatch=1", "x.cfg:1: '[]' is no section header such as [convolutional]"),
        ("[", "x.cfg:1: '[' is no section header such as [convolutional]"),
        ("[net]\n\0", "x.cfg: this is not a text file"),
    ],
)
def test_what_is_no_cfg_is_refused_with_its_place(text, message):
    with pytest.raises(CfgError) as caught:
        parse(text, "x.cfg")
    assert str(caught.value) == message


def test_messages_stay_short():
    with pytest.raises(CfgError) as caught:
        parse("x" * 1_000_000)
    assert len(str(caught.value)) < 200
    with pytest.warns(CfgWarning) as warned:
        parse("[net]\n" + "x" * 1_000_000)
    assert len(str(warned[0].message)) < 200


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("x" * 10_000_000, id="10 MB without a line end"),
        pytest.param("[net]\n" * 1_700_000, id="10 MB of sections"),
        pytest.param("#\n" * 5_000_000, id="10 MB of comments"),
        pytest.param("[a]\n" * (MAX_BYTES // 4), id="as many sections as fit"),
        pytest.param("[net]\n" + "a\n" * (MAX_BYTES // 2 - 3), id="as many lines as fit"),
        pytest.param("[net]\n" * 100_000, id="100,000 sections"),
        pytest.param("[net]\n" * (MAX_SECTIONS + 1), id="one section too many"),
        pytest.param("[net]\n" + "a=1\n" * MAX_LINES, id="one line too many"),
    ],
)
def test_a_text_beyond_the_limits_is_refused_in_seconds(text):
    start = time.monotonic()
    with pytest.raises(CfgError):
        parse(text)
    assert time.monotonic() - start < SECONDS


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[net]\n" * MAX_SECTIONS, id="sections"),
        pytest.param("[net]\n#" + "x" * (MAX_BYTES - 10), id="bytes"),
        pytest.param("[net]\n" + "\n" * (MAX_LINES - 2) + "a=1", id="lines"),
    ],
)
def test_a_text_at_the_limits_is_parsed_in_seconds(text):
    start = time.monotonic()
    assert parse(text)
    assert time.monotonic() - start < SECONDS


def test_a_section_of_very_many_keys_takes_seconds():
    unknown = "".join(f"x{n}=1\n" for n in range(40_000))
    text = "[net]\nwidth=8\nheight=8\nchannels=3\n[conv]\n" + unknown + "size=1\n" * 40_000
    start = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CfgWarning)
        Graph.parse(text)
    assert time.monotonic() - start < SECONDS


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf[net]\nbatch=1",
        b"# Andr\xe9's network\n[net]\nbatch=1\n",
        "# \u7f51\u7edc\n[net]\nbatch=1\n".encode(),
        b"[net]\r\nbatch=1\r\n",
    ],
)
def test_files_with_other_encodings_are_read(data, tmp_path):
    assert content(cfg.read(write(tmp_path / "x.cfg", data))) == [("net", [("batch", "1")])]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "there is no section in this file"),
        (bytes(range(256)) * 4, "this is not a text file"),
        ("[net]\nbatch=1".encode("utf-16-le"), "this is not a text file, or UTF-16 without its mark"),
        (b"#" * (MAX_BYTES + 1), f"larger than {MAX_BYTES} bytes; is this the right file?"),
    ],
)
def test_files_that_are_no_cfg_are_refused(data, message, tmp_path):
    path = write(tmp_path / "x.cfg", data)
    with pytest.raises(CfgError, match=re.escape(f"{path}: {message}")):
        cfg.read(path)


def test_a_file_that_cannot_be_read_is_a_cfg_error(tmp_path):
    with pytest.raises(CfgError, match=r"no\.cfg: cannot be read: No such file or directory"):
        cfg.read(tmp_path / "no.cfg")
    with pytest.raises(CfgError, match=r"cannot be read: "):
        cfg.read(tmp_path)
    with pytest.raises(CfgError, match=r"cannot be read: "):
        cfg.read(tmp_path / ("x" * 5000))


def test_a_data_text_is_entries_alone():
    assert [str(entry) for entry in parse_data(" classes = 80\n# c\nnames=a.names")] == ["classes=80", "names=a.names"]
    assert parse_data("") == ()
    with pytest.raises(CfgError, match=r"x\.data:2: a \.data file has no \[sections\]"):
        parse_data("classes=1\n[net]\n", "x.data")


@needs_official
def test_official_files_come_back_from_the_writer():
    for path in official_cfgs():
        sections = cfg.read(path)
        assert content(parse(cfg.dumps(sections))) == content(sections), path


@pytest.mark.parametrize("path", [*RECORDED, *SHIPPED], ids=lambda path: path.name)
def test_files_come_back_from_the_writer(path):
    sections = cfg.read(path)
    assert content(parse(cfg.dumps(sections))) == content(sections)
    assert cfg.dumps(parse(cfg.dumps(sections))) == cfg.dumps(sections)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from(" \t\r\n#;=[]ab1,.\0\ufeff\u2028\u0663"), max_size=60))
def test_any_text_comes_back_from_the_writer_or_is_a_cfg_error(text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CfgWarning)
        try:
            sections = parse(f"[net]\n{text}")
        except CfgError as error:
            assert "\n" not in str(error)
        else:
            assert content(parse(cfg.dumps(sections))) == content(sections)


NUMBERS = (
    "-1", "0", "1", "2", "7", "1.5", "-3.7", ".5", "1e3", "1e999", "nan", "inf", "0x10", "", ",", "1,", ",1", "1,2,",
    "2147483647", "-2147483648", "2147483648", "65536", "99999999999999999999", "40#32", "\u0663", "x",
)  # fmt: skip
CHARACTERS = st.text(st.sampled_from("[]=#;,-+.019eE aconvnet\t\r\n\0\u00e9"), max_size=6)
SEEDS = [path.read_text() for path in (*RECORDED, *SHIPPED)]
Mutation = Callable[[list[str], int, st.DrawFn], None]


def delete(lines: list[str], n: int, _draw: st.DrawFn) -> None:
    del lines[n]


def duplicate(lines: list[str], n: int, draw: st.DrawFn) -> None:
    lines.insert(draw(st.integers(0, len(lines))), lines[n])


def swap(lines: list[str], n: int, draw: st.DrawFn) -> None:
    m = draw(st.integers(0, len(lines) - 1))
    lines[n], lines[m] = lines[m], lines[n]


def scribble(lines: list[str], n: int, draw: st.DrawFn) -> None:
    at = draw(st.integers(0, len(lines[n])))
    end = draw(st.integers(at, min(len(lines[n]), at + 3)))
    lines[n] = lines[n][:at] + draw(CHARACTERS) + lines[n][end:]


def renumber(lines: list[str], _n: int, draw: st.DrawFn) -> None:
    numbered = [n for n, line in enumerate(lines) if "=" in line]
    if numbered:
        n = draw(st.sampled_from(numbered))
        key, _, value = lines[n].partition("=")
        values = value.split(",")
        values[draw(st.integers(0, len(values) - 1))] = draw(st.sampled_from(NUMBERS))
        lines[n] = f"{key}={','.join(values)}"


MUTATIONS: tuple[Mutation, ...] = (delete, duplicate, swap, scribble, renumber, renumber)


@st.composite
def mutated_texts(draw: st.DrawFn) -> str:
    lines = draw(st.sampled_from(SEEDS)).split("\n")
    for _ in range(draw(st.integers(1, 6))):
        if lines:
            draw(st.sampled_from(MUTATIONS))(lines, draw(st.integers(0, len(lines) - 1)), draw)
    return "\n".join(lines)


@settings(max_examples=400, deadline=None)
@given(mutated_texts(), st.booleans())
def test_a_mutated_cfg_is_a_graph_or_a_cfg_error(text, strict):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CfgWarning)
        try:
            graph = Graph.parse(text, "x.cfg", strict=strict)
        except CfgError as error:
            assert str(error).startswith("x.cfg")
            assert "\n" not in str(error)
            assert len(str(error)) < 500
        else:
            assert graph.largest_live_set > 0
            assert graph.stride > 0
            assert all(node.shape.size > 0 and min(node.shape) >= 0 and node.operations >= 0 for node in graph.nodes)
