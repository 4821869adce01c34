"""One file, whole, from the first of several addresses that has it; this knows nothing of models."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urljoin, urlsplit

from darknet_py.errors import DownloadError
from darknet_py.files.signatures import answer_of

if TYPE_CHECKING:
    import requests

Progress = Callable[[str, int, "int | None"], None]  # file name, bytes so far, bytes in all where known

CHUNK: Final = 1 << 16
SPARE_DISK: Final = 16 << 20
MAX_REDIRECTS: Final = 10
LONGEST_PAUSE: Final = 30.0  # seconds
PROGRESS: Final = 1 << 20  # bytes that an attempt must bring to start the count of retries afresh
MEASURED: Final = 60.0  # seconds over which the speed of a line is taken
RETRIED: Final = frozenset({408, 425, 429, *range(500, 600)})
_USER: Final = re.compile(  # up to the last @ before the path, or anywhere where a password has a slash in it
    r"(?<=://)(?:(?P<user>[^\s/?#:]*)(?P<word>:[^\s/?#]*)?|(?P<name>[^\s/?#:]*):(?!\d+[/?#])\S*)@"
)


class Line(NamedTuple):
    """How to talk to servers."""

    session: requests.Session
    timeout: float
    retries: int
    backoff: float
    report: Progress
    slowest: float = 0.0  # bytes a second that must come


class Wanted(NamedTuple):
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


def fetch(urls: Collection[str], target: Path, wanted: Wanted, line: Line) -> None:
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
        reasons.append(f"{shown_url(url)}: {reason}")
    advice = f"try again later, use a mirror, or put the file at {target} yourself"
    raise DownloadError(f"could not download {wanted.name}: {'; '.join(reasons)}; {advice}")


def _fetch_from(url: str, part: Path, wanted: Wanted, line: Line) -> str | None:
    """Try one address until the part is whole, or return why it cannot be had there."""
    failures, best = 0, size_of(part)
    try:
        while (trouble := _trouble(url, part, wanted, line)) is not None:
            # A line that often breaks will do, as long as it brings something now and then.
            failures = 1 if size_of(part) >= best + PROGRESS else failures + 1
            best = max(best, size_of(part))
            if failures > line.retries:
                return f"{trouble} ({failures} attempts)"
            time.sleep(min(line.backoff * 2 ** (failures - 1), LONGEST_PAUSE))
    except _RefusedError as error:
        return str(error)
    return None


def _trouble(url: str, part: Path, wanted: Wanted, line: Line) -> str | None:
    try:
        _attempt(url, part, wanted, line)
    except _BrokenError as error:
        return str(error)
    return None


def _attempt(url: str, part: Path, wanted: Wanted, line: Line) -> None:
    saved = _saved(url, part)
    if saved.offset and saved.offset == saved.total:
        _verify(part, wanted, hashed(part, wanted.digest).hexdigest(), resumed=True)
        return
    with closing(_open(url, _headers(saved), line)) as response:
        _check_status(response, part)
        chunks = _chunks(response, line)
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
            note = json.dumps({"url": shown_url(url), "mark": _mark(response), "total": total})
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
        usable = origin == shown_url(url) and (saved.total is None or saved.offset <= saved.total)
    except (OSError, ValueError, TypeError, KeyError):
        usable = False
    return saved if usable else _Saved()


def _note_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _drop(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note_of(part).unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """Return the size in bytes, 0 where there is no file."""
    return path.stat().st_size if path.exists() else 0


def shown_url(text: str) -> str:
    """Return the text with passwords of addresses hidden, and users without one, which may be keys."""

    def hide(found: re.Match[str]) -> str:
        user = found["name"] if found["name"] is not None else found["user"] if found["word"] else ""
        return f"{user}:***@" if user else "***@"

    return _USER.sub(hide, text)


def scheme_of(url: str) -> str:
    """Return the scheme of an address, or nothing where it is none."""
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


def _open(url: str, headers: dict[str, str], line: Line) -> requests.Response:
    """Send the request and follow redirects, but never from https to http."""
    said = ""
    for _ in range(MAX_REDIRECTS + 1):
        try:
            response = _in_time(partial(_answer, url, headers, line), max(line.timeout, MEASURED))
        except _RefusedError as error:
            raise _RefusedError(f"{said}{error}") from error
        if not response.is_redirect:
            return response
        response.close()
        try:
            target = urljoin(url, line.session.get_redirect_target(response) or "")
        except ValueError:
            target = ""
        said = f"redirects to {shown_url(target)[:200]!r}, which "
        if scheme_of(target) not in {"https", scheme_of(url)}:
            raise _RefusedError(f"{said}is not safe to follow")
        url = target
    raise _RefusedError(f"redirects more than {MAX_REDIRECTS} times")


def _answer(url: str, headers: dict[str, str], line: Line) -> requests.Response:
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
    except ValueError as error:  # of requests, of urllib3 or of the encoding of names
        raise _RefusedError("is not an address") from error
    except requests.Timeout as error:
        raise _BrokenError(f"no answer within {line.timeout:g} seconds") from error
    except requests.RequestException as error:
        reason = " ".join(str(error).split()).rpartition(": ")[2].rstrip("\"')>.")
        raise _BrokenError(f"no answer: {shown_url(reason)}") from error


def _in_time(ask: Callable[[], requests.Response], seconds: float) -> requests.Response:
    """The answer, or `_BrokenError` where its head takes longer, however steadily it drips in."""
    answers: SimpleQueue[requests.Response | Exception] = SimpleQueue()
    late = threading.Event()

    def work() -> None:
        try:
            answer = ask()
        except Exception as error:  # noqa: BLE001 - it is raised below
            answers.put(error)
            return
        answers.put(answer)
        if late.is_set():
            answer.close()

    threading.Thread(target=work, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except Empty:
        late.set()
        raise _BrokenError(f"no answer within {seconds:g} seconds") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


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


def _chunks(response: requests.Response, line: Line) -> Iterator[bytes]:
    """What comes, as it comes; raises `_BrokenError` where that is too little in a minute."""
    import urllib3  # noqa: PLC0415

    start, came = time.monotonic(), 0
    try:
        while chunk := response.raw.read1(CHUNK):
            yield chunk
            came, passed = came + len(chunk), time.monotonic() - start
            if passed >= MEASURED:
                if came < line.slowest * passed:
                    raise _BrokenError(f"brought less than {line.slowest:g} bytes a second")
                start, came = time.monotonic(), 0
    except urllib3.exceptions.HTTPError as error:
        stalled = isinstance(error, urllib3.exceptions.ReadTimeoutError)
        raise _BrokenError("stalled" if stalled else "broke off") from error


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
    kind = answer_of(head)
    if kind is None and response.headers.get("Content-Type", "").lower().startswith("text/html"):
        kind = "an HTML page"
    if not head and not total:
        kind = "nothing"
    if kind is not None:
        raise _RefusedError(f"{kind} instead of the file")


def _check_total(total: int | None, offset: int, part: Path, wanted: Wanted) -> None:
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


def _write(chunks: Iterator[bytes], part: Path, total: int | None, wanted: Wanted, line: Line) -> str:
    """Append what comes to the part and return the digest of the whole part in hex."""
    hasher, done = hashed(part, wanted.digest), size_of(part)
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


def hashed(path: Path, digest: str | None) -> hashlib._Hash:
    """Return a hasher of the algorithm that `digest` names, fed with what is in the file."""
    hasher = hashlib.new(digest.partition(":")[0] if digest else "sha256", usedforsecurity=False)
    if digest and path.exists():
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                hasher.update(chunk)
    return hasher


def _verify(part: Path, wanted: Wanted, digest: str, *, resumed: bool) -> None:
    if fault := wanted.fault(size_of(part), digest):
        _drop(part)
        raise (_BrokenError if resumed else _RefusedError)(fault)
