"""Requests that follow safe redirects only, and give up on connections that are too slow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urljoin

from darknet_py.download.addresses import scheme_of, shown_url

if TYPE_CHECKING:
    import requests

CHUNK: Final = 1 << 16
MAX_REDIRECTS: Final = 10
MEASURED: Final = 60.0  # seconds over which the speed of a connection is measured


class RefusedError(Exception):
    """This address does not have the file; another may."""


class BrokenError(Exception):
    """This attempt failed; the next may not."""


class Client(NamedTuple):
    """Talks to servers within limits of time and speed."""

    session: requests.Session
    timeout: float  # the longest wait for the next bytes, in seconds
    slowest: float = 0.0  # the fewest bytes per second

    def get(self, url: str, headers: dict[str, str]) -> requests.Response:
        """Send a request and follow redirects, but never from https to http."""
        said = ""
        for _ in range(MAX_REDIRECTS + 1):
            try:
                response = _in_time(partial(self._send, url, headers), max(self.timeout, MEASURED))
            except RefusedError as error:
                raise RefusedError(f"{said}{error}") from error
            if not response.is_redirect:
                return response
            response.close()
            try:
                target = urljoin(url, self.session.get_redirect_target(response) or "")
            except ValueError:
                target = ""
            said = f"redirects to {shown_url(target)[:200]!r}, which "
            if scheme_of(target) not in {"https", scheme_of(url)}:
                raise RefusedError(f"{said}is not safe to follow")
            url = target
        raise RefusedError(f"redirects more than {MAX_REDIRECTS} times")

    def _send(self, url: str, headers: dict[str, str]) -> requests.Response:
        import requests  # noqa: PLC0415

        session = self.session
        try:
            request = session.prepare_request(requests.Request("GET", url, headers=headers))
            ways = session.merge_environment_settings(url, {}, True, None, None)
            verify = True if ways["verify"] is None else ways["verify"]
            # Session.send would read the whole body of a redirect before it could be refused.
            return session.get_adapter(url).send(
                request, stream=True, timeout=self.timeout, verify=verify, cert=ways["cert"], proxies=ways["proxies"]
            )
        except ValueError as error:  # from requests, urllib3 or the encoding of names
            raise RefusedError("is not an address") from error
        except requests.Timeout as error:
            raise BrokenError(f"no answer within {self.timeout:g} seconds") from error
        except requests.RequestException as error:
            reason = " ".join(str(error).split()).rpartition(": ")[2].rstrip("\"')>.")
            raise BrokenError(f"no answer: {shown_url(reason)}") from error

    def chunks(self, response: requests.Response) -> Iterator[bytes]:
        """The chunks of a body as they arrive; raises `BrokenError` if too few bytes arrive in a minute."""
        import urllib3  # noqa: PLC0415

        start, came = time.monotonic(), 0
        try:
            while chunk := response.raw.read1(CHUNK):
                yield chunk
                came, passed = came + len(chunk), time.monotonic() - start
                if passed >= MEASURED:
                    if came < self.slowest * passed:
                        raise BrokenError(f"brought less than {self.slowest:g} bytes a second")
                    start, came = time.monotonic(), 0
        except urllib3.exceptions.HTTPError as error:
            stalled = isinstance(error, urllib3.exceptions.ReadTimeoutError)
            raise BrokenError("stalled" if stalled else "broke off") from error


def _in_time(ask: Callable[[], requests.Response], seconds: float) -> requests.Response:
    """The answer, or `BrokenError` if its head takes longer, even if it keeps trickling in."""
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
        raise BrokenError(f"no answer within {seconds:g} seconds") from None
    if isinstance(answer, Exception):
        raise answer
    return answer
