"""The mark under what an error means: on a terminal alone, fit for it, and at the right place."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from darknet_py.cli import caret, main
from darknet_py.cli.caret import place, point, pointed
from darknet_py.errors import CfgError, DarknetError, Location

NET = "[net]\nwidth=32\nheight=32\nchannels=3\n"
CONVOLUTION = "[convolutional]\nfilters=8\nsize=1\nstride=1\nactivation=linear\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines_of(text: str, tmp_path: Path, monkeypatch, *command: str) -> list[str]:
    """What a command prints on a terminal about a cfg."""
    (tmp_path / "my.cfg").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stderr", Terminal())
    assert main([*(command or ("summary", "my.cfg", "--strict"))]) == 1
    return sys.stderr.getvalue().splitlines()


def marked(shown: list[str]) -> str:
    """What stands above the mark."""
    line, mark = shown
    return line[mark.index("^") : len(mark)]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (f"{NET}[convolutional]\nfiltres=8\n", "filtres"),
        (f"{NET}[convolutional]\n  fil tres = 8\n", "fil tres"),
        (f"{NET}[convolutional]\nfilters = ab c \n", "ab c"),
        (f"{NET}{CONVOLUTION}filters=9\n", "filters"),
        (f"{NET}[convolutionl]\nfilters=8\n", "[convolutionl]"),
        (f"{NET}[convolutional\nfilters=8\n", "[convolutional"),
        (f"a=1\n{NET}", "a=1"),
        (f"{NET.replace('width=32', 'width = -1')}{CONVOLUTION}", "-1"),
        (f"{NET}{CONVOLUTION}[route]\nlayers=-40\n", "[route]"),
        (f"{NET}{CONVOLUTION}[region]\nanchors=1,2,x\n", "1,2,x"),
    ],
)
def test_the_place_is_marked(text, meant, tmp_path, monkeypatch):
    message, *shown = lines_of(text, tmp_path, monkeypatch)
    assert message.startswith("darknet-py: my.cfg:")
    assert marked(shown) == meant


def test_a_data_file_is_shown_too(tmp_path, monkeypatch):
    (tmp_path / "my.data").write_text("names = my.names\ntop = some\n")
    (tmp_path / "my.names").write_text("a\n")
    command = ("classifier", "predict", "my.data", "my.cfg", "my.weights", "a.png")
    message, *shown = lines_of(NET, tmp_path, monkeypatch, *command)
    assert message == "darknet-py: my.data:2: top=some: an integer was expected"
    assert shown == ["    top = some", "          ^~~~"]


def test_the_path_is_no_part_of_the_message(tmp_path):
    path = tmp_path / "size=1 'b'.cfg"
    path.write_text("size=1 b\n")
    terminal = Terminal()
    point(CfgError("wrong", Location(str(path), 1)), terminal)
    assert terminal.getvalue() == "    size=1 b\n    ^~~~~~~~\n"


def test_scripts_get_one_line(tmp_path):
    (tmp_path / "my.cfg").write_text(f"{NET}[convolutional]\nfilters=x\n")
    command = [sys.executable, "-m", "darknet_py", "summary", "my.cfg"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        DarknetError("no place"),
        CfgError("no place"),
        CfgError("the whole file", Location("my.cfg")),
        CfgError("a text", Location("<cfg>", 1)),
        CfgError("a line that is not there", Location("my.cfg", 3)),
        CfgError("an empty line", Location("my.cfg", 2)),
        CfgError("a folder", Location(".", 1)),
        CfgError("no path", Location("a\0b", 1)),
    ],
)
def test_nothing_is_shown_where_there_is_nothing_to_see(error, tmp_path, monkeypatch):
    (tmp_path / "my.cfg").write_text("a=1\n\n")
    monkeypatch.chdir(tmp_path)
    terminal = Terminal()
    point(error, terminal)
    assert terminal.getvalue() == ""


def test_large_files_are_left_alone(tmp_path, monkeypatch):
    (tmp_path / "list").write_text("a\n" * 100)
    monkeypatch.setattr(caret, "MAX_BYTES", 199)
    terminal = Terminal()
    point(CfgError("too much", Location(str(tmp_path / "list"), 1)), terminal)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_lines_are_counted_as_they_are_read(ends, tmp_path):
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbf" + ends.join(["a=1", "b=2", ""]).encode())
    terminal = Terminal()
    point(CfgError("'b=2': wrong", Location(str(tmp_path / "a"), 2)), terminal)
    assert terminal.getvalue() == "    b=2\n      ^\n"


def test_what_controls_a_terminal_is_escaped():
    line = "a\x1b[2J\t=\x07b\u202e"
    shown, mark = pointed(line, place(line, "'nothing': wrong"), 80).split("\n")
    assert shown.isprintable() or "\u202e" in shown
    assert not {"\x1b", "\x07", "\t"} & set(shown)
    assert len(mark) == len(shown)


@pytest.mark.parametrize("columns", [0, 10, 25, 40, 80])
@pytest.mark.parametrize(("start", "end"), [(0, 3), (0, 1000), (498, 503), (997, 1000), (200, 800)])
def test_long_lines_are_cut_around_the_place(start, end, columns):
    line = "".join(chr(ord("a") + n % 26) for n in range(1000))
    shown, mark = pointed(line, (start, end), columns).split("\n")
    assert max(len(shown), len(mark)) <= max(columns - 1, 24)
    meant = shown[mark.index("^") : len(mark)]
    assert meant == line[start:end] or (meant.startswith(line[start : start + 3]) and "..." in meant)
    assert meant[-3:] == line[end - 3 : end]


@pytest.mark.parametrize(
    ("line", "message", "meant"),
    [
        ("size = x", "my.cfg:1: [a] 'size=x': a number was expected", "x"),
        ("size = 9", "my.cfg:1: [a] size=9 is larger than the input", "9"),
        ("size = 9", "my.cfg:1: [a] size: 9 is odd", "9"),
        ("size = 9", "my.cfg:1: [a] resize=9 is odd", "size = 9"),
        ("size = 9", "my.cfg:1: [a] has no key 'size'; did you mean 'sizes'?", "size"),
        ("  size 9 ", "my.cfg:1: 'size9' is not key=value", "size 9"),
        ("size =", "my.cfg:1: 'size=' is not key=value", "size ="),
        ("=", "my.cfg:1: nothing", "="),
        ("n0  p  ", "my.tree:1: the parent's number was expected, not 'p'", "p"),
        ("a" + " " * 9999 + "b", "my.tree:1: 'a" + " " * 99 + "c'", "a" + " " * 9999 + "b"),
    ],
)
def test_what_a_message_means(line, message, meant):
    start, end = place(line, message)
    assert line[start:end] == meant


def test_wide_letters_take_two_columns():
    assert pointed("類=x", (2, 3), 80) == "    類=x\n       ^"
