"""Files that are read are files."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from darknet_py import files


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
