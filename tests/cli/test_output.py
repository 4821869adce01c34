"""What commands print: nothing that files, paths and arguments say controls a terminal."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import darknet_py
from darknet_py import weights
from darknet_py.cli import main
from darknet_py.cli.output import Plain, bar, plain_output, raw
from tests.support.networks import TINY_REGION

EVIL = "\x1b]0;PWNED\x07\x9b2J\x7f\u202e"  # the title of a window, a cleared screen, DEL, text from right to left
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network, a picture and a tree whose names and contents have control characters."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.cfg").write_text(TINY_REGION, encoding="utf-8")
    Path("evil.cfg").write_text(TINY_REGION + f"[x{EVIL}]\ny=1\n", encoding="utf-8")
    Path("key.cfg").write_text(TINY_REGION.replace("classes=2", f"classes=2{EVIL}\nx{EVIL}=1"), encoding="utf-8")
    Path("c.names").write_text(f"a{EVIL}\nb{EVIL}\n", encoding="utf-8")
    Path("c.data").write_text(f"classes=2\nnames=c.names\ntrain={EVIL}\nx{EVIL}=1\n", encoding="utf-8")
    Path("c.tree").write_text(f"a{EVIL} -1\nb{EVIL} 0\n", encoding="utf-8")
    Path("lines").write_text(f"a{EVIL} b{EVIL}\n", encoding="utf-8")
    Path(f"no{EVIL}.weights").write_bytes(b"short")
    weights.save(darknet_py.load("tiny.cfg", device="cpu").network, "tiny.weights")
    picture = b"P6 4 4 255\n" + bytes(48)
    Path(f"p{EVIL}.ppm").write_bytes(picture)
    Path("list.txt").write_text(f"p{EVIL}.ppm\nno{EVIL}.png\n", encoding="utf-8")
    return tmp_path


TEST = ("detector", "test", "c.data", "tiny.cfg", "tiny.weights")


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "arguments",
    [
        ("summary", "evil.cfg"),
        ("summary", "key.cfg"),
        ("check", "evil.cfg"),
        ("check", "tiny.cfg", "c.data"),
        ("check", "tiny.cfg", f"no{EVIL}.weights"),
        (*TEST, "list.txt", "-thresh", "0"),
        (*TEST, "list.txt", "-thresh", "0", "-json"),
        (*TEST, f"p{EVIL}.ppm", "-out", f"no{EVIL}/{EVIL}.png"),
        (*TEST, f"no{EVIL}.png"),
        (*TEST, f"-no{EVIL}"),
        (*TEST, "-i", EVIL),
        (f"no{EVIL}", "such"),
        ("detector", f"no{EVIL}"),
        ("tree", "print", "c.tree"),
        ("tree", "check", "c.tree", "--names", "c.names"),
        ("tree", "build", "lines", f"new{EVIL}"),
        ("inspect", f"no{EVIL}.weights"),
        ("convert", "tiny.cfg", f"no{EVIL}.weights", f"o{EVIL}.pt"),
        ("convert", "tiny.cfg", "tiny.weights", f"o{EVIL}.pt"),
        ("download", EVIL),
        ("download", "tiny", "--mirror", EVIL),
        ("partial", "tiny.cfg", f"no{EVIL}.weights", "o.weights", "1"),
        ("visualize", "tiny.cfg", "-out", f"f{EVIL}.png"),
        ("detector", "train", "c.data", "tiny.cfg"),
        ("detector", "demo", "c.data", "tiny.cfg", "tiny.weights", f"no{EVIL}.mp4"),
    ],
)
def test_nothing_controls_a_terminal(here, capsys, arguments):
    main(arguments)
    out, err = capsys.readouterr()
    assert out + err
    assert CONTROL.findall(out + err) == []


@pytest.mark.filterwarnings("default")
def test_json_stays_json(here, capsys):
    main((*TEST, "list.txt", "-thresh", "0", "-json"))
    good, bad = map(json.loads, capsys.readouterr().out.splitlines())
    assert good["filename"] == f"p{EVIL}.ppm"
    assert good["objects"][0]["name"] in {f"a{EVIL}", f"b{EVIL}"}
    assert bad["filename"] == f"no{EVIL}.png"


def test_lines_and_tabs_stay():
    stream = io.StringIO()
    plain = Plain(stream)
    assert plain.write("a\tb\r\n\udce9é\u2028") == len("a\tb\r\n\udce9é\u2028")
    plain.writelines(["c\x1b", "\n"])
    assert stream.getvalue() == "a\tb\\r\n\\udce9é\\u2028c\\x1b\n"
    assert raw(plain) is stream
    assert raw(stream) is stream


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bars_move_as_ever(monkeypatch: pytest.MonkeyPatch):
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with plain_output():
        with bar(total=2, disable=None) as shown:
            shown.update(1)
            with shown.external_write_mode():
                sys.stdout.write("a line\n")
                assert err.getvalue().endswith("\r")  # the bar has made room for it
        assert sys.stdout is not out
    assert (sys.stdout, sys.stderr) == (out, err)
    assert "\r" in err.getvalue()
    assert "\\r" not in err.getvalue()


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text there")
@pytest.mark.parametrize("more", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"LC_ALL": "C"}])
def test_names_that_a_plain_terminal_cannot_show(here, more):
    Path(os.fsdecode(b"caf\xe9\x9b.ppm")).write_bytes(b"P6 4 4 255\n" + bytes(48))
    Path("c.names").write_text("a\nä→\n", encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-m", "darknet_py", *TEST, os.fsdecode(b"caf\xe9\x9b.ppm"), "-thresh", "0"],
        capture_output=True, timeout=60, check=False, env={**os.environ, **more},
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert rb"caf\udce9\udc9b.ppm: Predicted" in ended.stdout
    assert CONTROL.search(ended.stdout.decode()) is None
