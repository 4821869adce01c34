"""Files that are read are files."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from darknet_py import files
from darknet_py.errors import DarknetError
from darknet_py.files import cache_folder


def test_a_file_is_opened(tmp_path: Path):
    path = tmp_path / "a"
    path.write_bytes(b"some bytes")
    with files.opened(path) as file:
        assert file.read() == b"some bytes"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_nobody_waits_for_a_pipe(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file") as caught:
        files.opened(tmp_path / "pipe")
    assert caught.value.filename == str(tmp_path / "pipe")


def test_folders_devices_and_sockets_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(IsADirectoryError):
        files.opened(tmp_path)
    with pytest.raises(OSError, match="no regular file"):
        files.opened(os.devnull)
    monkeypatch.chdir(tmp_path)  # the name of a socket has to be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(OSError, match="No such device|no regular file"):
            files.opened("socket")


@pytest.mark.parametrize("path", ["a\0b", "\ud800"])
def test_names_that_no_file_can_have(path: str):
    with pytest.raises(OSError, match="null|surrogates") as caught:
        files.opened(path)
    assert caught.value.filename == path


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has LOCALAPPDATA")
def test_where_what_is_kept_goes(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DARKNET_PY_CACHE", raising=False)
    usual = tmp_path / ".cache" / "darknet_py"
    for text, folder in (("", usual), ("here", usual), ("../x", usual), ("~/c", tmp_path / "c/darknet_py")):
        monkeypatch.setenv("XDG_CACHE_HOME", text)
        assert cache_folder() == folder
    monkeypatch.chdir(tmp_path)
    for text, folder in (("~/own", tmp_path / "own"), ("own", tmp_path / "own"), ("/own", Path("/own"))):
        monkeypatch.setenv("DARKNET_PY_CACHE", text)
        assert cache_folder() == folder
    monkeypatch.setenv("DARKNET_PY_CACHE", "~nobody-has-this-name/own")
    with pytest.raises(DarknetError, match="DARKNET_PY_CACHE can name a folder"):
        cache_folder()
