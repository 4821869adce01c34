"""Addresses that are none, passwords in addresses, and servers that drip."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from darknet_py.cli import main
from darknet_py.download import client, download
from darknet_py.download.addresses import shown_url
from darknet_py.errors import DownloadError
from tests.download.test_download import BODY, LAYERS, Site, redirect, serve, site  # noqa: F401 - a fixture

MODELS = {LAYERS.name: LAYERS}
LONG = "a" * 70
NO_ADDRESSES = [
    f"http://{LONG}.b", "http://a..b", "http://.b", "http://a b", "http://[::1", "http://[1::z]", "http://host:99999",
    "http://host:port", "http://", "http:///path", f"http://é{LONG}.b", "http://\udce9.b", "http://a\x00b",
    "http://" + "a" * 300,
]  # fmt: skip


def get(folder: Path, mirror: str, **options: object) -> None:
    download(LAYERS.name, folder, mirror=mirror, models=MODELS, retries=0, **options)


@pytest.mark.parametrize("mirror", NO_ADDRESSES)
def test_a_mirror_that_is_no_address_is_one_line(tmp_path, mirror, capsys):
    with pytest.raises(DownloadError, match="is not an address"):
        get(tmp_path, mirror)
    assert main(["download", "yolov2", "--folder", str(tmp_path), "--mirror", mirror]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("darknet-py: ")


@pytest.mark.parametrize("target", [f"http://{LONG}.b/x", "http://a..b/x", "http://host:99999/x", "http://é" + LONG])
def test_a_redirect_to_what_is_no_address(site: Site, tmp_path, target):  # noqa: F811
    site.plays["/layers.conv.3"].append(redirect(target.encode().decode("latin-1")))
    with pytest.raises(DownloadError, match=r"redirects to '.+', which is not an address"):
        get(tmp_path, site.url)


@pytest.mark.parametrize("mirror", ["file:///etc", "ftp://host/x", "/srv/files", "host", "data:,x"])
def test_other_kinds_of_addresses_are_refused(tmp_path, mirror):
    with pytest.raises(DownloadError, match="is not an address that starts with http:// or https://"):
        get(tmp_path, mirror)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["ftp://host/x", "file:///etc/passwd"])
def test_redirects_to_them_too(site: Site, tmp_path, target):  # noqa: F811
    site.plays["/layers.conv.3"].append(redirect(target))
    with pytest.raises(DownloadError, match="which is not safe to follow"):
        get(tmp_path, site.url)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:secret@host/x", "http://user:***@host/x"),
        ("http://user:se@cr:et@host:80/x@y", "http://user:***@host:80/x@y"),
        ("https://token@host/x", "https://***@host/x"),
        ("https://:secret@host", "https://***@host"),
        ("http://user:sec/ret@host/x", "http://user:***@host/x"),
        ("http://host:8080/a@b and https://host/c@d", "http://host:8080/a@b and https://host/c@d"),
        ("at http://a:b@c, then ftp://d:e@f", "at http://a:***@c, then ftp://d:***@f"),
        ("no address @ all", "no address @ all"),
    ],
)
def test_passwords_are_hidden(text, shown):
    assert shown_url(text) == shown


@pytest.mark.parametrize(
    "mirror",
    ["http://user:secret@127.0.0.1:1", f"http://user:secret@{LONG}.b", "ftp://user:secret@host", "user:secret@host"],
)
def test_no_error_has_a_password(tmp_path, mirror):
    with pytest.raises(DownloadError) as raised:
        get(tmp_path, mirror)
    assert "secret" not in str(raised.value)
    assert "***@" in str(raised.value)


def test_no_note_has_a_password_and_the_rest_still_comes(site: Site, tmp_path):  # noqa: F811
    mirror = site.url.replace("//", "//user:secret@")
    site.plays["/layers.conv.3"].append(lambda answer: serve(answer, stop=9000))
    with pytest.raises(DownloadError) as raised:
        get(tmp_path, mirror)
    note = (tmp_path / "layers.conv.3.part.json").read_text()
    assert "secret" not in str(raised.value) + note
    assert json.loads(note)["url"].startswith("http://user:***@127.0.0.1")
    get(tmp_path, mirror.replace("secret", "other"))
    assert (tmp_path / "layers.conv.3").read_bytes() == BODY
    assert site.ranges() == [None, "bytes=9000-"]


def test_a_redirect_with_a_password(site: Site, tmp_path):  # noqa: F811
    site.plays["/layers.conv.3"].append(redirect("ftp://user:secret@host/x"))
    with pytest.raises(DownloadError, match=r"redirects to 'ftp://user:\*\*\*@host/x'"):
        get(tmp_path, site.url)


class Clock:
    """Time that goes on by `step` seconds whenever somebody looks."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def at_speed(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    monkeypatch.setattr(client, "CHUNK", 512)
    monkeypatch.setattr(client, "time", SimpleNamespace(monotonic=Clock(step), sleep=lambda _: None))


def test_a_server_that_drips_is_left(site: Site, tmp_path, monkeypatch):  # noqa: F811
    at_speed(monkeypatch, 10.0)  # between two looks at most 512 bytes come
    with pytest.raises(DownloadError, match=r"brought less than 1024 bytes a second after \d+ of 40000 bytes"):
        get(tmp_path, site.url, slowest=1024)
    assert 0 < (tmp_path / "layers.conv.3.part").stat().st_size < len(BODY)


@pytest.mark.parametrize(("step", "slowest"), [(10.0, 0), (10.0, 1), (0.1, 1024)])
def test_a_server_that_is_only_slow_is_not(site: Site, tmp_path, monkeypatch, step, slowest):  # noqa: F811
    at_speed(monkeypatch, step)
    get(tmp_path, site.url, slowest=slowest)
    assert (tmp_path / "layers.conv.3").read_bytes() == BODY


def test_single_bytes_are_looked_at_as_they_come(site: Site, tmp_path, monkeypatch):  # noqa: F811
    """Each read gives what is there: a server that sends a byte now and then is seen to do so."""
    monkeypatch.setattr(client, "CHUNK", 1 << 16)
    seen, more = [], threading.Event()

    def drip(answer) -> None:
        answer.send_response(200)
        answer.send_header("Content-Length", str(len(BODY)))
        answer.end_headers()
        answer.wfile.write(BODY[:1])
        answer.wfile.flush()
        more.wait(5)
        answer.wfile.write(BODY[1:])

    def progress(_name: str, done: int, _total: int | None) -> None:
        seen.append(done)
        if done == 1:
            more.set()

    site.plays["/layers.conv.3"].append(drip)
    get(tmp_path, site.url, progress=progress)
    assert seen[:2] == [0, 1]


def test_a_head_that_drips_is_left(site: Site, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(client, "MEASURED", 0.2)

    def drip(answer) -> None:
        with suppress(OSError):  # the client has gone
            while not answer.server.over.wait(0.02):
                answer.wfile.write(b"H")

    site.plays["/layers.conv.3"].append(drip)
    with pytest.raises(DownloadError, match=r"no answer within 0\.2 seconds"):
        get(tmp_path, site.url, timeout=0.1)
