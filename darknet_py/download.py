"""The weights that pjreddie.com hosts, by name, and how they get here whole.

A folder that :func:`download` fills is laid out like a Darknet checkout, weights at the top and `cfg/` and
`data/` below, so the relative paths inside cfg and .data files hold there. A mirror is laid out the same way,
or flat: MIRROR/yolov2.weights, and MIRROR/cfg/yolov2.cfg or MIRROR/yolov2.cfg.
"""

from __future__ import annotations

import difflib
import hashlib
import http.client
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn
from urllib.parse import urljoin, urlsplit

from darknet_py.errors import DownloadError, os_reason

if TYPE_CHECKING:
    import requests

Progress = Callable[[str, int, "int | None"], None]  # file name, bytes so far, bytes in all where known
ExpectedBytes = Callable[[Path], Collection[int]]  # cfg -> the sizes its weights file may have

# The site moved its files to a host of their own; the old address may answer with the front page instead.
WEIGHTS_HOSTS: Final = ("https://data.pjreddie.com/files", "https://pjreddie.com/media/files")
TEXTS_HOSTS: Final = ("https://raw.githubusercontent.com/pjreddie/darknet/master",)

CHUNK: Final = 1 << 16
MAX_WEIGHTS: Final = 4 << 30
MAX_TEXT: Final = 16 << 20
SPARE_DISK: Final = 16 << 20
MAX_REDIRECTS: Final = 10
LONGEST_PAUSE: Final = 30.0  # seconds
PROGRESS: Final = 1 << 20  # bytes that an attempt must bring to start the count of retries afresh
RETRIED: Final = frozenset({408, 425, 429, *range(500, 600)})
IMPOSTORS: Final = {
    b"<!doctype html": "an HTML page",
    b"<html": "an HTML page",
    b"version https://git-lfs": "a Git LFS pointer",
}


@dataclass(frozen=True)
class Model:
    """One weights file and the texts that go with it, as paths below their hosts."""

    name: str
    weights: str
    cfg: str | None = None  # None: a file of the first layers only, for many networks
    names: str | None = None
    data: str | None = None
    tree: str | None = None
    map: str | None = None
    extra: tuple[str, ...] = ()  # texts that `data` refers to
    digest: str | None = None  # of the weights: "sha256:...", "sha1:..." or "md5:...", where one is published
    size: int | None = None  # of the weights in bytes, where published


@dataclass(frozen=True)
class Downloaded:
    """Where the files of a model are now."""

    name: str
    folder: Path
    weights: Path
    cfg: Path | None = None
    names: Path | None = None
    data: Path | None = None
    tree: Path | None = None
    map: Path | None = None


_COCO = Model("coco", "", names="data/coco.names", data="cfg/coco.data")
_VOC = Model("voc", "", names="data/voc.names", data="cfg/voc.data")
_OPENIMAGES = Model("openimages", "", names="data/openimages.names", data="cfg/openimages.data")
_NINE_K = Model(
    "9k",
    "",
    names="data/9k.names",
    data="cfg/combine9k.data",
    tree="data/9k.tree",
    map="data/coco9k.map",
    extra=("data/9k.labels", "data/inet9k.map"),
)
_IMAGENET = Model(
    "imagenet",
    "",
    names="data/imagenet.shortnames.list",
    data="cfg/imagenet1k.data",
    extra=("data/imagenet.labels.list",),
)
_NETWORKS: Final = (
    (_VOC, "yolov1 yolov1-tiny yolov2-voc yolov2-tiny-voc"),
    (_COCO, "yolov2 yolov2-tiny yolov3 yolov3-tiny yolov3-spp"),
    (_NINE_K, "yolo9000"),
    (_OPENIMAGES, "yolov3-openimages"),
    (_IMAGENET, "alexnet darknet darknet19 darknet19_448 darknet53 darknet53_448 densenet201 extraction"),
    (_IMAGENET, "resnet18 resnet34 resnet50 resnet101 resnet152 resnext50 resnext101-32x4d resnext152-32x4d"),
    (_IMAGENET, "tiny vgg-16"),
    (Model("", ""), "vgg-conv jnet-conv"),
)
_FIRST_LAYERS: Final = "darknet19_448.conv.23 darknet53.conv.74 extraction.conv.weights darknet.conv.weights"
_ELSEWHERE: Final = {"yolov1": "yolov1/yolov1.weights", "yolov1-tiny": "yolov1/tiny-yolov1.weights"}
_DIGESTS: Final = {
    "yolov1": "sha256:df414df832ed10e3f2788df1e0e0ae573976573b97b5eec2c824ab9e5a8ae6d6",
    "yolov2": "sha256:d9945162ed6f54ce1a901e3ec537bdba4d572ecae7873087bd730e5a7942df3f",
    "yolov2-tiny-voc": "sha1:24b4bd049fc4fa5f5e95f684a8967e65c625dff9",
    # Nothing better than MD5 is published for this one: it finds accidents, not forgeries.
    "yolo9000": "md5:d74ee8d5909f3b7446e9b350b4dd0f44",
    "yolov3": "sha256:523e4e69e1d015393a1b0a441cef1d9c7659e3eb2d7e15f793f060a21b32f297",
    "yolov3-tiny": "sha256:dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c",
    "yolov3-spp": "sha256:87a1e8c85c763316f34e428f2295e1db9ed4abcec59dd9544f8052f50de327b4",
    "yolov3-openimages": "sha256:be129d792d8c7cc19b17bcb9d40ced71cdf079bfd246cbd1cfca40568ac74ee1",
    "darknet53.conv.74": "sha256:2495c2690283e4e0bc2050cbd4660b77a8074e14e9c11150c6412fd63db496a7",
}
_SIZES: Final = {
    "yolov2": 203934260,
    "yolov2-tiny": 44948600,
    "yolov2-voc": 202704264,
    "yolov2-tiny-voc": 63471556,
    "yolov3": 248007048,
    "yolov3-tiny": 35434956,
    "yolov3-spp": 252209544,
    "darknet19_448.conv.23": 79327120,
    "darknet53.conv.74": 162482580,
}


def _models() -> Iterator[Model]:
    for common, names in _NETWORKS:
        for name in names.split():
            weights = _ELSEWHERE.get(name, f"{name}.weights")
            digest, size = _DIGESTS.get(name), _SIZES.get(name)
            yield replace(common, name=name, weights=weights, cfg=f"cfg/{name}.cfg", digest=digest, size=size)
    for name in _FIRST_LAYERS.split():
        yield Model(name, name, digest=_DIGESTS.get(name), size=_SIZES.get(name))


MODELS: Final[Mapping[str, Model]] = {model.name: model for model in _models()}


def cache_folder() -> Path:
    """Return where downloads go by default: $DARKNET_PY_CACHE, or else our part of the user's cache."""
    if own := os.environ.get("DARKNET_PY_CACHE"):
        return Path(own).expanduser()
    user = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    return (Path(user).expanduser() if user else Path.home() / ".cache") / "darknet_py"


def download(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    *,
    mirror: str | None = None,
    force: bool = False,
    progress: bool | Progress = False,
    session: requests.Session | None = None,
    timeout: float = 30.0,
    retries: int = 5,
    backoff: float = 0.5,
    expected_bytes: ExpectedBytes | None = None,
    models: Mapping[str, Model] = MODELS,
) -> Downloaded:
    """Fetch a model's weights and texts into `folder`; what is there already stays, unless `force`.

    `timeout` is the longest wait for the next bytes in seconds, `backoff` the pause before the first of the
    `retries`; it doubles. `progress` True shows bars on stderr. A download that breaks off leaves NAME.part
    and goes on from there the next time; downloads into one folder take turns. Raises `DownloadError`.
    """
    import requests  # noqa: PLC0415 - the registry alone stays light

    model = _find(name, models)
    root = Path(folder) if folder is not None else cache_folder()
    if mirror is not None and _scheme(mirror) not in {"http", "https"}:
        raise DownloadError(f"mirror {mirror!r} is not an address that starts with http:// or https://")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root), _reporting(progress) as report, ExitStack() as stack:
            session = session or stack.enter_context(requests.Session())
            line = _Line(session, timeout, retries, backoff, report)
            return _download(model, _Place(root, mirror, force), line, expected_bytes)
    except OSError as error:
        trouble = f"cannot store {name} in {root}: {os_reason(error)}"
        raise DownloadError(f"{trouble}; put that right, or use another folder") from error


def _find(name: str, models: Mapping[str, Model]) -> Model:
    if name in models:
        return models[name]
    near = difflib.get_close_matches(name, models, n=3, cutoff=0.5)
    label = "the nearest are" if near else "there are"
    raise DownloadError(f"no model is called {name!r}; {label} {', '.join(near or models)}")


class _Place(NamedTuple):
    """Where files come from and go to."""

    root: Path
    mirror: str | None
    force: bool

    def addresses(self, path: str, hosts: Collection[str]) -> list[str]:
        if self.mirror is None:
            return [f"{host}/{path}" for host in hosts]
        base = self.mirror.rstrip("/")
        return [f"{base}/{place}" for place in dict.fromkeys((path, path.rpartition("/")[2]))]


def _download(model: Model, place: _Place, line: _Line, expected_bytes: ExpectedBytes | None) -> Downloaded:
    def text(path: str | None) -> Path | None:
        target = place.root / path if path else None
        if path and target and (place.force or not target.exists()):
            _fetch(place.addresses(path, TEXTS_HOSTS), target, _Wanted(target.name, MAX_TEXT), line)
        return target

    cfg, names, data, tree, class_map, *_ = map(
        text, (model.cfg, model.names, model.data, model.tree, model.map, *model.extra)
    )
    sizes: Collection[int] = (model.size,) if model.size else ()
    asker = "the original"
    if cfg and expected_bytes:
        sizes, asker = expected_bytes(cfg), str(cfg)
    target = place.root / Path(model.weights).name
    wanted = _Wanted(target.name, MAX_WEIGHTS, sizes, asker, model.digest)
    if place.force or not target.exists():
        _fetch(place.addresses(model.weights, WEIGHTS_HOSTS), target, wanted, line)
    elif fault := wanted.fault(_size(target), _hashed(target, model.digest).hexdigest()):
        raise DownloadError(f"{target} {fault}; move it away, or force a new download")
    return Downloaded(model.name, place.root, target, cfg, names, data, tree, class_map)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other downloads out of the folder; the lock ends with the process, the empty file stays."""
    with (folder / ".lock").open("ab") as handle:
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415

            msvcrt.locking(handle.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl  # noqa: PLC0415

            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def _reporting(progress: bool | Progress) -> Iterator[Progress]:
    if callable(progress):
        yield progress
        return
    with ExitStack() as bars:
        yield _bars(bars) if progress else lambda _name, _done, _total: None


def _bars(stack: ExitStack) -> Progress:
    from tqdm import tqdm  # noqa: PLC0415

    shown: dict[str, tqdm[NoReturn]] = {}

    def report(name: str, done: int, total: int | None) -> None:
        if name not in shown:
            bar = tqdm(desc=name, total=total, unit="B", unit_scale=True, unit_divisor=1024)
            stack.callback(bar.close)
            shown[name] = bar
        shown[name].update(done - shown[name].n)

    return report


class _Line(NamedTuple):
    """How to talk to servers."""

    session: requests.Session
    timeout: float
    retries: int
    backoff: float
    report: Progress


class _Wanted(NamedTuple):
    """What a file must be before it gets its name."""

    name: str
    limit: int  # bytes
    sizes: Collection[int] = ()  # none: any
    asker: str = ""  # who says which sizes
    digest: str | None = None

    def fault(self, size: int, digest: str | None = None) -> str | None:
        """Say what is wrong with a file of this size and digest."""
        if self.sizes and size not in self.sizes:
            sizes = " or ".join(map(str, sorted(self.sizes)))
            guess = "another model or version, cut short, or a page that says what is wrong"
            return f"has {size} bytes where {self.asker} asks for {sizes}: {guess}"
        algorithm, _, published = (self.digest or "").partition(":")
        if digest is not None and published and digest != published:
            return f"has the {algorithm} {digest}, published is {published}: damaged, or another version"
        return None


class _RefusedError(Exception):
    """This address does not have the file; another may."""


class _BrokenError(Exception):
    """This attempt failed; the next may not."""


def _fetch(urls: Collection[str], target: Path, wanted: _Wanted, line: _Line) -> None:
    """Bring the file from the first address that has it; it gets its name when all is checked."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    reasons = []
    for url in urls:
        reason = _fetch_from(url, part, wanted, line)
        if reason is None:
            part.replace(target)
            _drop(part)
            return
        reasons.append(f"{url}: {reason}")
    advice = f"try again later, use a mirror, or put the file at {target} yourself"
    raise DownloadError(f"could not download {wanted.name}: {'; '.join(reasons)}; {advice}")


def _fetch_from(url: str, part: Path, wanted: _Wanted, line: _Line) -> str | None:
    """Try one address until the part is whole, or return why it cannot be had there."""
    failures, best = 0, _size(part)
    try:
        while (trouble := _trouble(url, part, wanted, line)) is not None:
            # A line that often breaks will do, as long as it brings something now and then.
            failures = 1 if _size(part) >= best + PROGRESS else failures + 1
            best = max(best, _size(part))
            if failures > line.retries:
                return f"{trouble} ({failures} attempts)"
            time.sleep(min(line.backoff * 2 ** (failures - 1), LONGEST_PAUSE))
    except _RefusedError as error:
        return str(error)
    return None


def _trouble(url: str, part: Path, wanted: _Wanted, line: _Line) -> str | None:
    try:
        _attempt(url, part, wanted, line)
    except _BrokenError as error:
        return str(error)
    return None


def _attempt(url: str, part: Path, wanted: _Wanted, line: _Line) -> None:
    saved = _saved(url, part)
    if saved.offset and saved.offset == saved.total:
        _verify(part, wanted, _hashed(part, wanted.digest).hexdigest(), resumed=True)
        return
    with closing(_open(url, _headers(saved), line)) as response:
        _check_status(response, part)
        chunks = _chunks(response)
        total: int | None
        if response.status_code == 206:
            total = _range_total(response, saved, part)
        else:
            saved, total = _Saved(), _length(response)
            head = next(chunks, b"")
            _check_head(response, head, total)
            chunks = chain((head,), chunks)
        _check_total(total, saved.offset, part, wanted)
        if not saved.offset:
            part.unlink(missing_ok=True)
            note = json.dumps({"url": url, "mark": _mark(response), "total": total})
            _note_of(part).write_text(note, encoding="utf-8")
        digest = _write(chunks, part, total, wanted, line)
    _verify(part, wanted, digest, resumed=saved.offset > 0)


class _Saved(NamedTuple):
    """How far earlier attempts got, and what the server then said the file was."""

    offset: int = 0
    mark: str = ""  # its ETag, or else when it was last modified
    total: int | None = None


def _saved(url: str, part: Path) -> _Saved:
    try:
        note = json.loads(_note_of(part).read_text(encoding="utf-8"))
        origin, saved = note["url"], _Saved(part.stat().st_size, str(note["mark"]), note["total"])
        usable = origin == url and (saved.total is None or saved.offset <= saved.total)
    except (OSError, ValueError, TypeError, KeyError):
        usable = False
    return saved if usable else _Saved()


def _note_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _drop(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note_of(part).unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _scheme(url: str) -> str:
    try:
        return urlsplit(url).scheme
    except ValueError:
        return ""


def _headers(saved: _Saved) -> dict[str, str]:
    # identity: compressed bytes would fit neither Content-Length nor the digest.
    headers = {"User-Agent": "darknet-py", "Accept-Encoding": "identity"}
    if saved.offset:
        headers["Range"] = f"bytes={saved.offset}-"
        if saved.mark and not saved.mark.startswith("W/"):
            headers["If-Range"] = saved.mark
    return headers


def _mark(response: requests.Response) -> str:
    return response.headers.get("ETag") or response.headers.get("Last-Modified", "")


def _open(url: str, headers: dict[str, str], line: _Line) -> requests.Response:
    """Send the request and follow redirects, but never from https to http."""
    for _ in range(MAX_REDIRECTS + 1):
        response = _answer(url, headers, line)
        if not response.is_redirect:
            return response
        response.close()
        try:
            target = urljoin(url, line.session.get_redirect_target(response) or "")
        except ValueError:
            target = ""
        if _scheme(target) not in {"https", _scheme(url)}:
            raise _RefusedError(f"redirects to {target[:200]!r}, which is not safe to follow")
        url = target
    raise _RefusedError(f"redirects more than {MAX_REDIRECTS} times")


def _answer(url: str, headers: dict[str, str], line: _Line) -> requests.Response:
    import requests  # noqa: PLC0415

    session = line.session
    try:
        request = session.prepare_request(requests.Request("GET", url, headers=headers))
        ways = session.merge_environment_settings(url, {}, True, None, None)
        verify = True if ways["verify"] is None else ways["verify"]
        # Session.send would read the body of a redirect, however long, before it could be refused.
        return session.get_adapter(url).send(
            request, stream=True, timeout=line.timeout, verify=verify, cert=ways["cert"], proxies=ways["proxies"]
        )
    except requests.exceptions.InvalidURL as error:
        raise _RefusedError("is not an address") from error
    except requests.Timeout as error:
        raise _BrokenError(f"no answer within {line.timeout:g} seconds") from error
    except requests.RequestException as error:
        reason = " ".join(str(error).split()).rpartition(": ")[2].rstrip("\"')>.")
        raise _BrokenError(f"no answer: {reason}") from error


def _check_status(response: requests.Response, part: Path) -> None:
    code = response.status_code
    status = f"{code} {http.client.responses.get(code, '')}".strip()
    if code == 416:  # what is here does not fit what is there
        _drop(part)
    if code == 416 or code in RETRIED:
        raise _BrokenError(status)
    if code not in (200, 206):
        raise _RefusedError(status)
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise _RefusedError("compressed, though that was not asked for")


def _chunks(response: requests.Response) -> Iterator[bytes]:
    import requests  # noqa: PLC0415

    try:
        yield from response.iter_content(CHUNK)
    except requests.RequestException as error:
        raise _BrokenError("stalled" if "timed out" in str(error) else "broke off") from error


def _length(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length")
    if length is None or "Transfer-Encoding" in response.headers:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", length):
        raise _RefusedError(f"says its length is {length[:40]!r}")
    return int(length)


def _range_total(response: requests.Response, saved: _Saved, part: Path) -> int:
    """Return the size of the whole file, if this answer is the rest of the one that began here."""
    answer = response.headers.get("Content-Range", "")
    fields = re.fullmatch(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", answer)
    first, last, total = map(int, fields.groups()) if fields else (-1, -1, -1)
    same = saved.total in (None, total) and _mark(response) in ("", saved.mark)
    if not saved.offset or not same or (first, last) != (saved.offset, total - 1):
        _drop(part)
        raise _BrokenError(f"answered with another part of the file than was asked for ({answer[:80]!r})")
    if _length(response) not in (None, total - first):
        raise _RefusedError("says two different lengths, in Content-Length and Content-Range")
    return total


def _check_head(response: requests.Response, head: bytes, total: int | None) -> None:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    kind = next((kind for mark, kind in IMPOSTORS.items() if start.startswith(mark)), None)
    if kind is None and response.headers.get("Content-Type", "").lower().startswith("text/html"):
        kind = "an HTML page"
    if not head and not total:
        kind = "nothing"
    if kind is not None:
        raise _RefusedError(f"{kind} instead of the file")


def _check_total(total: int | None, offset: int, part: Path, wanted: _Wanted) -> None:
    if total is None:
        return
    if total > wanted.limit:
        raise _RefusedError(f"has {total} bytes; more than {wanted.limit} are not taken")
    if fault := wanted.fault(total):
        raise _RefusedError(fault)
    free = shutil.disk_usage(part.parent).free
    if free < total - offset + SPARE_DISK:
        room = f"{part.parent} has {free} free; make room, or use another folder"
        raise DownloadError(f"{wanted.name} needs {total - offset} more bytes, {room}")


def _write(chunks: Iterator[bytes], part: Path, total: int | None, wanted: _Wanted, line: _Line) -> str:
    """Append what comes to the part and return the digest of the whole part in hex."""
    hasher, done = _hashed(part, wanted.digest), _size(part)
    limit = total if total is not None else max(wanted.sizes, default=wanted.limit)
    line.report(wanted.name, done, total)
    try:
        with part.open("ab") as file:
            for chunk in chunks:
                done += len(chunk)
                if done > limit:
                    _drop(part)
                    raise _RefusedError(f"sends more than {limit} bytes")
                file.write(chunk)
                hasher.update(chunk)
                line.report(wanted.name, done, total)
    except _BrokenError as error:
        raise _BrokenError(f"{error} after {done} of {total or 'unknown'} bytes") from error
    if total is not None and done < total:
        raise _BrokenError(f"broke off after {done} of {total} bytes")
    return hasher.hexdigest()


def _hashed(path: Path, digest: str | None) -> hashlib._Hash:
    """Return a hasher of the algorithm that `digest` names, fed with what is in the file."""
    hasher = hashlib.new(digest.partition(":")[0] if digest else "sha256", usedforsecurity=False)
    if digest and path.exists():
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                hasher.update(chunk)
    return hasher


def _verify(part: Path, wanted: _Wanted, digest: str, *, resumed: bool) -> None:
    if fault := wanted.fault(_size(part), digest):
        _drop(part)
        raise (_BrokenError if resumed else _RefusedError)(fault)
