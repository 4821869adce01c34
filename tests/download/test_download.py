from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from darknet_py.download import MODELS, Downloaded, Model, attempt, client, download, official, transfer
from darknet_py.errors import DownloadError
from darknet_py.files import cache_folder
from tests.support.places import OFFICIAL, ROOT

BODY = bytes(i * i % 251 for i in range(40_000))
SHA256 = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
HTML = b"\xef\xbb\xbf\r\n  <!DOCTYPE html><html><title>Survival</title></html>"
NET = Model("net", "net.weights", cfg="cfg/net.cfg", names="data/net.names")
LAYERS = Model("layers.conv.3", "layers.conv.3")  # no texts: one request is one file


class Site(ThreadingHTTPServer):
    """Files by path; `plays` holds, for a path, what the next requests get instead of a good answer."""

    daemon_threads = False  # closing waits for every answer

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files: dict[str, bytes] = {}
        self.plays: dict[str, list[Callable[[Answer], None]]] = defaultdict(list)
        self.seen: list[tuple[str, str | None]] = []  # path, Range
        self.over = threading.Event()

    def paths(self) -> list[str]:
        return [path for path, _ in self.seen]

    def ranges(self, path: str = "/layers.conv.3") -> list[str | None]:
        return [asked for seen, asked in self.seen if seen == path]

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is what some tests want."""


class Answer(BaseHTTPRequestHandler):
    server: Site

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers["Range"]))
        plays = self.server.plays[self.path]
        (plays.pop(0) if plays else serve)(self)


def serve(
    answer: Answer,
    *,
    stop: int | None = None,
    stall: bool = False,
    ranges: bool = True,
    careless: bool = False,
    etag: str | None = "own",
    headers: dict[str, str | None] | None = None,
) -> None:
    """Send the file, from the byte asked for; or only `stop` bytes of it, or with other `headers`."""
    body = answer.server.files.get(answer.path)
    if body is None:
        answer.send_error(404)
        return
    etag = f'"{hashlib.md5(body).hexdigest()}"' if etag == "own" else etag
    asked = answer.headers["Range"] if ranges else None
    if asked and (careless or answer.headers["If-Range"] in (None, etag)):
        first = int(asked.removeprefix("bytes=").removesuffix("-"))
        if first >= len(body):
            answer.send_error(416)
            return
        fields = {"Content-Range": f"bytes {first}-{len(body) - 1}/{len(body)}"}
        answer.send_response(206)
    else:
        first, fields = 0, {}
        answer.send_response(200)
    fields |= {"Content-Length": str(len(body) - first), "Content-Type": "application/octet-stream"}
    fields |= {"ETag": etag} if etag else {}
    for key, value in (fields | (headers or {})).items():
        if value is not None:
            answer.send_header(key, value)
    answer.end_headers()
    answer.wfile.write(body[first:] if stop is None else body[first : first + stop])
    if stall:
        answer.wfile.flush()
        answer.server.over.wait(5)


def status(code: int) -> Callable[[Answer], None]:
    return lambda answer: answer.send_error(code)


def redirect(target: str) -> Callable[[Answer], None]:
    def play(answer: Answer) -> None:
        answer.send_response(302)
        answer.send_header("Location", target)
        answer.send_header("Content-Length", "0")
        answer.end_headers()

    return play


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        server.files = {
            "/net.weights": BODY,
            "/cfg/net.cfg": b"[net]\nwidth=32\n",
            "/data/net.names": b"cat\ndog\n",
            "/layers.conv.3": BODY,
        }
        yield server
        server.over.set()
        server.shutdown()
    thread.join()


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CHUNK", 512)
    monkeypatch.setenv("NO_PROXY", "*")


def get(site: Site, folder: Path, model: Model = LAYERS, **options: Any) -> Downloaded:
    options = {"mirror": site.url, "retries": 2, "backoff": 0.001, "timeout": 5.0} | options
    return download(model.name, folder, models={model.name: model}, **options)


def refusal(site: Site, folder: Path, model: Model = LAYERS, **options: Any) -> str:
    with pytest.raises(DownloadError) as caught:
        get(site, folder, model, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert not (folder / model.weights).exists()
    return message


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock"}


def begin(site: Site, folder: Path, size: int = 9000) -> None:
    """Leave a part that a broken download would leave."""
    site.plays["/layers.conv.3"] = [partial(serve, stop=size)]
    assert "broke off" in refusal(site, folder, retries=0)
    assert 0 < (folder / "layers.conv.3.part").stat().st_size <= size
    site.seen.clear()


# What is asked for, and where it goes


def test_fetches_texts_and_weights_into_the_layout_of_a_checkout(site: Site, tmp_path: Path) -> None:
    got = get(site, tmp_path / "new" / "folder", NET)
    root = tmp_path / "new" / "folder"
    assert got == Downloaded("net", root, root / "net.weights", cfg=root / "cfg/net.cfg", names=root / "data/net.names")
    assert got.weights.read_bytes() == BODY
    assert got.cfg is not None
    assert got.cfg.read_bytes() == site.files["/cfg/net.cfg"]
    assert leftovers(root) == {"net.weights", "cfg", "data"}
    assert leftovers(root / "cfg") == {"net.cfg"}


def test_mirrors_may_be_flat(site: Site, tmp_path: Path) -> None:
    site.files = {"/m/net.weights": BODY, "/m/net.cfg": b"[net]\n"}
    model = Model("net", "old/net.weights", cfg="cfg/net.cfg")
    got = get(site, tmp_path, model, mirror=f"{site.url}/m/")
    assert got.weights.read_bytes() == BODY
    assert site.paths() == ["/m/cfg/net.cfg", "/m/net.cfg", "/m/old/net.weights", "/m/net.weights"]


def test_extra_texts_come_along(site: Site, tmp_path: Path) -> None:
    site.files |= {"/data/a.tree": b"a -1\n", "/data/a.labels": b"n1\n"}
    got = get(site, tmp_path, Model("net", "net.weights", tree="data/a.tree", extra=("data/a.labels",)))
    assert got.tree == tmp_path / "data/a.tree"
    assert (tmp_path / "data/a.labels").read_bytes() == b"n1\n"


@pytest.mark.parametrize(
    "play", [status(404), status(403), lambda a: (a.server.files.update({a.path: HTML}), serve(a))]
)
def test_the_second_host_is_asked_where_the_first_has_no_such_file(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, play: Callable[[Answer], None]
) -> None:
    monkeypatch.setattr(official, "WEIGHTS_HOSTS", (f"{site.url}/new", f"{site.url}/old"))
    monkeypatch.setattr(official, "TEXTS_HOSTS", (f"{site.url}/texts",))
    site.files = {
        "/old/net.weights": BODY,
        "/texts/cfg/net.cfg": b"[net]\n",
        "/texts/data/net.names": b"cat\n",
    }
    site.plays["/new/net.weights"] = [play]
    assert get(site, tmp_path, NET, mirror=None).weights.read_bytes() == BODY
    assert site.paths()[-2:] == ["/new/net.weights", "/old/net.weights"]


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    with pytest.raises(DownloadError, match=r"^no model is called 'yolo2'; the nearest are yolov2, yolo"):
        download("yolo2")
    with pytest.raises(DownloadError, match=r"there are net$"):
        download("qqqqqq", models={"net": NET})


@pytest.mark.parametrize("mirror", ["ftp://host/x", "file:///etc", "host/x", "", "http:/\\[", "http://[::1"])
def test_mirrors_are_http(tmp_path: Path, mirror: str) -> None:
    with pytest.raises(DownloadError, match=r"mirror .* (http|address)|not an address"):
        download("net", tmp_path, mirror=mirror, models={"net": NET}, retries=0)


def test_what_is_there_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    model = Model("net", "net.weights", cfg="cfg/net.cfg", digest=SHA256, size=len(BODY))
    first = get(site, tmp_path, model)
    site.seen.clear()
    assert get(site, tmp_path, model, expected_bytes=lambda _: (len(BODY),)) == first
    assert site.seen == []
    assert get(site, tmp_path, model, force=True) == first
    assert site.paths() == ["/cfg/net.cfg", "/net.weights"]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Model("net", "net.weights", size=77), "40000 bytes where the original asks for 77"),
        (Model("net", "net.weights", digest="sha1:" + "0" * 40), "has the sha1 .*, published is 0000"),
    ],
)
def test_a_wrong_file_that_is_there_is_left_alone(site: Site, tmp_path: Path, model: Model, words: str) -> None:
    (tmp_path / "net.weights").write_bytes(BODY)
    with pytest.raises(DownloadError, match=rf"{words}.*force"):
        get(site, tmp_path, model)
    assert (tmp_path / "net.weights").read_bytes() == BODY
    assert site.seen == []


def test_a_failed_forced_download_keeps_the_old_file(site: Site, tmp_path: Path) -> None:
    (tmp_path / "layers.conv.3").write_bytes(b"old")
    site.plays["/layers.conv.3"] = [status(404)]
    with pytest.raises(DownloadError, match="404 Not Found"):
        get(site, tmp_path, force=True)
    assert (tmp_path / "layers.conv.3").read_bytes() == b"old"


# Going on


@pytest.mark.parametrize("at", [0, 1, 511, 512, 513, 20_000, 39_999])
@pytest.mark.parametrize("stall", [False, True])
def test_wherever_it_breaks_the_file_is_the_same(site: Site, tmp_path: Path, at: int, stall: bool) -> None:
    site.plays["/layers.conv.3"] = [partial(serve, stop=at, stall=stall), partial(serve, stop=at // 2)]
    model = Model("layers.conv.3", "layers.conv.3", digest=SHA256)
    assert get(site, tmp_path, model, timeout=0.1 if stall else 5.0).weights.read_bytes() == BODY
    assert len(site.seen) >= 2
    assert leftovers(tmp_path) == {"layers.conv.3"}


def test_a_line_that_breaks_all_the_time_gets_there(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "PROGRESS", 4000)
    site.plays["/layers.conv.3"] = [partial(serve, stop=5000)] * 7
    assert get(site, tmp_path, retries=1).weights.read_bytes() == BODY
    starts = [int(asked[6:-1]) for asked in site.ranges()[1:] if asked]
    assert starts == sorted(set(starts))
    assert len(starts) == 7


def test_a_later_call_goes_on_from_the_part(site: Site, tmp_path: Path) -> None:
    begin(site, tmp_path)
    offset = (tmp_path / "layers.conv.3.part").stat().st_size
    assert get(site, tmp_path).weights.read_bytes() == BODY
    assert site.ranges() == [f"bytes={offset}-"]


def test_a_server_that_ignores_ranges_starts_over(site: Site, tmp_path: Path) -> None:
    begin(site, tmp_path)
    site.plays["/layers.conv.3"] = [partial(serve, ranges=False)]
    assert get(site, tmp_path).weights.read_bytes() == BODY
    assert len(site.seen) == 1


@pytest.mark.parametrize("careless", [False, True], ids=["If-Range", "no If-Range"])
@pytest.mark.parametrize("size", [len(BODY), len(BODY) + 5])
def test_a_file_that_changed_meanwhile_starts_over(site: Site, tmp_path: Path, careless: bool, size: int) -> None:
    begin(site, tmp_path)
    site.files["/layers.conv.3"] = changed = (BODY[::-1] + b"12345")[:size]
    site.plays["/layers.conv.3"] = [partial(serve, careless=careless)]
    assert get(site, tmp_path).weights.read_bytes() == changed


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_mark_the_length_decides(site: Site, tmp_path: Path, etag: str | None) -> None:
    plays = site.plays["/layers.conv.3"]
    plays += [partial(serve, stop=9000, etag=etag), partial(serve, etag=etag)]
    assert get(site, tmp_path).weights.read_bytes() == BODY
    (tmp_path / "layers.conv.3").unlink()
    plays.append(partial(serve, stop=9000, etag=etag))
    refusal(site, tmp_path, retries=0)
    site.files["/layers.conv.3"] = changed = BODY[::-1] + b"more"
    plays += [partial(serve, etag=etag), partial(serve, etag=etag)]
    assert get(site, tmp_path).weights.read_bytes() == changed
    assert [asked is None for asked in site.ranges()] == [True, False, True, False, True]


@pytest.mark.parametrize(
    "wrong",
    [None, "bytes 0-39999/40000", "bytes 9000-9999/40000", "bytes */40000", "bytes 1-2", "tokens 9-9/9"],
)
def test_another_range_than_asked_for_starts_over(site: Site, tmp_path: Path, wrong: str | None) -> None:
    begin(site, tmp_path)
    site.plays["/layers.conv.3"] = [partial(serve, headers={"Content-Range": wrong})]
    assert get(site, tmp_path).weights.read_bytes() == BODY
    assert site.ranges()[1:] == [None]


def test_a_range_nobody_asked_for_is_refused(site: Site, tmp_path: Path) -> None:
    def play(answer: Answer) -> None:
        answer.send_response(206)
        answer.send_header("Content-Range", "bytes 0-3/4")
        answer.end_headers()
        answer.wfile.write(b"abcd")

    site.plays["/layers.conv.3"] = [play] * 2
    assert "another part of the file" in refusal(site, tmp_path, retries=1)


def test_a_part_longer_than_the_file_starts_over(site: Site, tmp_path: Path) -> None:
    begin(site, tmp_path)
    site.files["/layers.conv.3"] = BODY[:100]
    site.plays["/layers.conv.3"] = [partial(serve, careless=True)]  # 416
    assert get(site, tmp_path).weights.read_bytes() == BODY[:100]


def test_a_whole_part_only_needs_its_name(site: Site, tmp_path: Path) -> None:
    begin(site, tmp_path)
    (tmp_path / "layers.conv.3.part").write_bytes(BODY)
    assert get(site, tmp_path).weights.read_bytes() == BODY
    assert site.seen == []


def test_a_damaged_part_is_found_by_the_digest(site: Site, tmp_path: Path) -> None:
    begin(site, tmp_path)
    part = tmp_path / "layers.conv.3.part"
    part.write_bytes(b"?" * part.stat().st_size)
    model = Model("layers.conv.3", "layers.conv.3", digest=SHA256)
    assert get(site, tmp_path, model).weights.read_bytes() == BODY
    assert site.ranges()[1:] == [None]


@pytest.mark.parametrize("note", ["", "[]", "{}", "null", '{"url": 1, "mark": 2, "total": "x"}', "\0"])
def test_a_part_with_a_damaged_note_starts_over(site: Site, tmp_path: Path, note: str) -> None:
    begin(site, tmp_path)
    (tmp_path / "layers.conv.3.part.json").write_text(note)
    assert get(site, tmp_path).weights.read_bytes() == BODY
    assert site.ranges() == [None]


def test_the_part_of_another_address_starts_over(site: Site, tmp_path: Path) -> None:
    begin(site, tmp_path)
    note = tmp_path / "layers.conv.3.part.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"url": "http://elsewhere/"}))
    assert get(site, tmp_path).weights.read_bytes() == BODY
    assert site.ranges() == [None]


def test_ctrl_c_leaves_a_part_to_go_on_from(site: Site, tmp_path: Path) -> None:
    def interrupt(_name: str, done: int, _total: int | None) -> None:
        if done > 10_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(site, tmp_path, progress=interrupt)
    assert leftovers(tmp_path) == {"layers.conv.3.part", "layers.conv.3.part.json"}
    assert get(site, tmp_path).weights.read_bytes() == BODY
    assert site.ranges()[1].startswith("bytes=10")


def test_threads_take_turns(site: Site, tmp_path: Path) -> None:
    site.plays["/layers.conv.3"] = [partial(serve, stop=9000)]
    results: list[Downloaded] = []
    threads = [threading.Thread(target=lambda: results.append(get(site, tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 1
    assert results[0].weights.read_bytes() == BODY
    assert len(results) == 4
    assert len(site.seen) == 2


# Servers that fail


@pytest.mark.parametrize("code", [500, 503, 429])
def test_passing_faults_are_tried_again(site: Site, tmp_path: Path, code: int) -> None:
    site.plays["/layers.conv.3"] = [status(code), status(code)]
    assert get(site, tmp_path).weights.read_bytes() == BODY
    site.plays["/layers.conv.3"] = [status(code)] * 3
    (tmp_path / "layers.conv.3").unlink()
    assert f"{site.url}/layers.conv.3: {code} " in refusal(site, tmp_path)


def test_a_missing_file_is_not_asked_for_again(site: Site, tmp_path: Path) -> None:
    site.files.clear()
    message = refusal(site, tmp_path)
    assert f"could not download layers.conv.3: {site.url}/layers.conv.3: 404 Not Found; try again" in message
    assert len(site.seen) == 1


def test_a_server_that_stalls_is_given_up(site: Site, tmp_path: Path) -> None:
    site.plays["/layers.conv.3"] = [partial(serve, stop=9000, stall=True)] * 2
    message = refusal(site, tmp_path, timeout=0.1, retries=1)
    assert "stalled after " in message
    assert " of 40000 bytes (2 attempts)" in message


def test_a_server_that_never_answers_is_given_up(site: Site, tmp_path: Path) -> None:
    site.plays["/layers.conv.3"] = [lambda answer: answer.server.over.wait(5)]
    assert "no answer within 0.1 seconds" in refusal(site, tmp_path, timeout=0.1, retries=0)


def test_no_server_at_all(tmp_path: Path) -> None:
    with Site() as closed:
        pass
    assert "no answer: [Errno" in refusal(closed, tmp_path, retries=1)


def test_pauses_double_up_to_a_limit(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(transfer.time, "sleep", pauses.append)
    site.plays["/layers.conv.3"] = [status(500)] * 9
    refusal(site, tmp_path, retries=8, backoff=0.5)
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_redirects_are_followed_and_keep_the_range(site: Site, tmp_path: Path) -> None:
    begin(site, tmp_path)
    site.files["/moved"] = BODY
    site.plays["/layers.conv.3"] = [redirect("/moved")]
    assert get(site, tmp_path).weights.read_bytes() == BODY
    assert site.ranges("/moved") == site.ranges()


def test_a_redirect_loop_ends(site: Site, tmp_path: Path) -> None:
    site.plays["/layers.conv.3"] = [redirect("/layers.conv.3")] * 50
    assert "redirects more than 10 times" in refusal(site, tmp_path)
    assert len(site.seen) == 11


def test_the_body_of_a_redirect_is_not_read(site: Site, tmp_path: Path) -> None:
    def play(answer: Answer) -> None:
        answer.send_response(302)
        answer.send_header("Location", "/net.weights")
        answer.send_header("Content-Length", "999999999")
        answer.end_headers()
        answer.server.over.wait(5)

    site.plays["/layers.conv.3"] = [play]
    assert get(site, tmp_path, retries=0, timeout=0.5).weights.read_bytes() == BODY


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://[::1"])
def test_redirects_to_other_schemes_are_refused(site: Site, tmp_path: Path, target: str) -> None:
    site.plays["/layers.conv.3"] = [redirect(target)]
    assert "not safe to follow" in refusal(site, tmp_path)


class FromSafeToUnsafe(requests.adapters.BaseAdapter):
    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target

    def send(self, request: requests.PreparedRequest, **_: object) -> requests.Response:  # type: ignore[override]
        response = requests.Response()
        response.status_code, response.url, response.request = 302, str(request.url), request
        response.headers["Location"] = self.target
        response.raw = SimpleNamespace(release_conn=lambda: None, close=lambda: None)
        response._content = b""
        return response

    def close(self) -> None:
        pass


def test_redirects_from_https_to_http_are_refused(site: Site, tmp_path: Path) -> None:
    with requests.Session() as session:
        session.mount("https://", FromSafeToUnsafe(f"{site.url}/layers.conv.3"))
        message = refusal(site, tmp_path, mirror="https://safe.example", session=session)
    assert f"redirects to '{site.url}/layers.conv.3', which is not safe" in message
    assert site.seen == []


# Answers that are not the file


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (HTML, "application/octet-stream", "an HTML page instead of the file"),
        (b"\n<HTML lang=en>", "application/octet-stream", "an HTML page instead of the file"),
        (BODY, "Text/HTML; charset=utf-8", "an HTML page instead of the file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "text/plain", "a Git LFS pointer instead of"),
        (b"", "text/plain", "nothing instead of the file"),
    ],
)
def test_impostors_are_named(site: Site, tmp_path: Path, body: bytes, kind: str, words: str) -> None:
    site.files["/layers.conv.3"] = body
    site.plays["/layers.conv.3"] = [partial(serve, headers={"Content-Type": kind})]
    model = Model("layers.conv.3", "layers.conv.3", digest=SHA256, size=len(BODY))
    assert words in refusal(site, tmp_path, model)
    assert leftovers(tmp_path) == set()


def test_an_html_page_does_not_cost_the_part(site: Site, tmp_path: Path) -> None:
    begin(site, tmp_path)
    site.plays["/layers.conv.3"] = [partial(serve, ranges=False, headers={"Content-Type": "text/html"})]
    assert "an HTML page" in refusal(site, tmp_path)
    assert get(site, tmp_path).weights.read_bytes() == BODY
    assert site.ranges()[1] is not None


def test_the_digest_is_checked(site: Site, tmp_path: Path) -> None:
    site.files["/layers.conv.3"] = BODY[:-1] + b"!"
    for algorithm in ("sha256", "sha1", "md5"):
        published = hashlib.new(algorithm, BODY).hexdigest()
        model = Model("layers.conv.3", "layers.conv.3", digest=f"{algorithm}:{published}", size=len(BODY))
        assert f"published is {published}: damaged" in refusal(site, tmp_path, model)
        assert leftovers(tmp_path) == set()


def test_the_size_must_be_one_the_cfg_allows(site: Site, tmp_path: Path) -> None:
    def sizes(cfg: Path) -> tuple[int, int]:
        assert cfg == tmp_path / "cfg/net.cfg"
        return len(BODY) + 4, len(BODY)

    assert get(site, tmp_path, NET, expected_bytes=sizes).weights.read_bytes() == BODY
    (tmp_path / "net.weights").unlink()
    message = refusal(site, tmp_path, NET, expected_bytes=lambda _: (84, 80))
    assert f"has 40000 bytes where {tmp_path / 'cfg/net.cfg'} asks for 80 or 84: another model" in message
    assert leftovers(tmp_path) == {"cfg", "data"}


def test_without_a_length_the_size_is_checked_at_the_end(site: Site, tmp_path: Path) -> None:
    silent = partial(serve, headers={"Content-Length": None})
    site.plays["/net.weights"] = [silent] * 3
    assert get(site, tmp_path, NET).weights.read_bytes() == BODY
    (tmp_path / "net.weights").unlink()
    assert "has 40000 bytes where" in refusal(site, tmp_path, NET, expected_bytes=lambda _: (50_000,))
    message = refusal(site, tmp_path, NET, expected_bytes=lambda _: (30_000, 29_996))
    assert "sends more than 30000 bytes" in message
    assert leftovers(tmp_path) == {"cfg", "data"}


def test_a_length_longer_than_the_body_is_a_break(site: Site, tmp_path: Path) -> None:
    site.plays["/layers.conv.3"] = [partial(serve, headers={"Content-Length": "40001"}, ranges=False)] * 3
    assert " of 40001 bytes (3 attempts)" in refusal(site, tmp_path)


@pytest.mark.parametrize(
    ("known", "words"),
    [({"size": 40_000}, "has 39999 bytes where"), ({"digest": SHA256}, "published is")],
)
def test_a_length_shorter_than_the_body_is_found_by_what_is_known(
    site: Site, tmp_path: Path, known: dict[str, Any], words: str
) -> None:
    site.plays["/layers.conv.3"] = [partial(serve, headers={"Content-Length": "39999"})] * 2
    assert words in refusal(site, tmp_path, Model("layers.conv.3", "layers.conv.3", **known))
    assert get(site, tmp_path).weights.read_bytes() == BODY[:39_999]  # nothing known: it is what was announced


def test_two_lengths_are_refused(site: Site, tmp_path: Path) -> None:
    begin(site, tmp_path)
    site.plays["/layers.conv.3"] = [partial(serve, headers={"Content-Length": "7"})]
    assert "two different lengths" in refusal(site, tmp_path)


@pytest.mark.parametrize("length", ["x", "-1", "9" * 5000])
def test_lengths_that_are_no_numbers_are_refused(site: Site, tmp_path: Path, length: str) -> None:
    site.plays["/layers.conv.3"] = [partial(serve, headers={"Content-Length": length})] * 3
    message = refusal(site, tmp_path)
    assert "says its length is" in message
    assert len(message) < 400


def test_absurd_sizes_are_refused(site: Site, tmp_path: Path) -> None:
    site.plays["/layers.conv.3"] = [partial(serve, headers={"Content-Length": str((4 << 30) + 1)})]
    assert "has 4294967297 bytes; more than 4294967296 are not taken" in refusal(site, tmp_path)
    site.files["/cfg/net.cfg"] = b"#" * 1000
    site.plays["/cfg/net.cfg"] = [partial(serve, headers={"Content-Length": str((16 << 20) + 1)})]
    assert "more than 16777216 are not taken" in refusal(site, tmp_path, NET)


def test_compressed_answers_are_refused(site: Site, tmp_path: Path) -> None:
    site.plays["/layers.conv.3"] = [partial(serve, headers={"Content-Encoding": "gzip"})]
    assert "compressed, though that was not asked for" in refusal(site, tmp_path)


def test_the_disk_must_have_room(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    assert "needs 40000 more bytes" in refusal(site, tmp_path)
    assert leftovers(tmp_path) == set()


def test_a_folder_that_cannot_be_written(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match=r"cannot store layers.conv.3 in .*file.*: .*; put that right"):
        get(site, tmp_path / "file" / "folder")


# Progress, cache, registry


def test_progress_is_told(site: Site, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    get(site, tmp_path, NET, progress=lambda *values: told.append(values))
    weights = [values for values in told if values[0] == "net.weights"]
    assert weights[0] == ("net.weights", 0, 40_000)
    assert weights[-1] == ("net.weights", 40_000, 40_000)
    assert [done for _, done, _ in weights] == sorted(done for _, done, _ in weights)
    assert {name for name, _, _ in told} == {"net.cfg", "net.names", "net.weights"}


def test_bars_go_to_stderr_and_silence_is_the_default(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    get(site, tmp_path)
    assert capsys.readouterr() == ("", "")
    site.plays["/layers.conv.3"] = [partial(serve, stop=9000, ranges=False)]
    get(site, tmp_path, force=True, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "layers.conv.3: 100%" in err


def test_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
    monkeypatch.delenv(user, raising=False)
    monkeypatch.delenv("DARKNET_PY_CACHE", raising=False)
    assert cache_folder() == Path.home() / ".cache" / "darknet_py"
    monkeypatch.setenv(user, str(tmp_path / "user"))
    assert cache_folder() == tmp_path / "user" / "darknet_py"
    monkeypatch.setenv("DARKNET_PY_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_the_cache_is_the_default(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKNET_PY_CACHE", str(tmp_path / "own"))
    models = {"layers.conv.3": LAYERS}
    assert download("layers.conv.3", mirror=site.url, models=models).folder == tmp_path / "own"


def test_every_entry_is_sound() -> None:
    lengths = {"sha256": 64, "sha1": 40, "md5": 32}
    for name, model in MODELS.items():
        assert model.name == name
        assert model.weights.split("/")[-1]
        assert model.cfg is None or model.cfg == f"cfg/{name}.cfg"
        if model.digest is not None:
            algorithm, _, value = model.digest.partition(":")
            assert len(value) == lengths[algorithm]
            assert bytes.fromhex(value).hex() == value
        if model.size is not None:
            assert model.size % 4 == 0
    files = [Path(model.weights).name for model in MODELS.values()]
    assert len(set(files)) == len(files)


@pytest.mark.skipif(not OFFICIAL.is_dir(), reason="the official cfg and data files are not here")
def test_every_text_exists_upstream() -> None:
    for model in MODELS.values():
        for path in (model.cfg, model.names, model.data, model.tree, model.map, *model.extra):
            assert path is None or (OFFICIAL / path).is_file(), (model.name, path)


def test_the_registry_alone_is_light() -> None:
    code = "import sys, darknet_py.download as d; print(len(d.MODELS), {'requests', 'tqdm'} & set(sys.modules))"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == f"{len(MODELS)} set()"
