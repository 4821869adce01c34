"""Fetches one complete file from the first of several addresses that has it; knows nothing of models."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path
from typing import Final, NamedTuple

from darknet_py.download.addresses import shown_url
from darknet_py.download.attempt import Attempt
from darknet_py.download.client import BrokenError, Client, RefusedError
from darknet_py.download.part import Part
from darknet_py.download.progress import FileProgress
from darknet_py.download.wanted import Wanted
from darknet_py.errors import DownloadError

LONGEST_PAUSE: Final = 30.0  # seconds
PROGRESS: Final = 1 << 20  # an attempt with more bytes resets the count of retries


class Transfer(NamedTuple):
    """How files are fetched: by which client, with how many retries, and who gets reports."""

    client: Client
    retries: int
    backoff: float  # seconds before the first retry; they double
    report: FileProgress

    def fetch(self, urls: Collection[str], target: Path, wanted: Wanted) -> None:
        """Fetch the file from the first address that has it; it gets its name after all checks."""
        target.parent.mkdir(parents=True, exist_ok=True)
        part, reasons = Part(target), []
        for url in urls:
            reason = self._fetch_from(url, part, wanted)
            if reason is None:
                part.finish()
                return
            reasons.append(f"{shown_url(url)}: {reason}")
        advice = f"try again later, use a mirror, or put the file at {target} yourself"
        raise DownloadError(f"could not download {wanted.name}: {'; '.join(reasons)}; {advice}")

    def _fetch_from(self, url: str, part: Part, wanted: Wanted) -> str | None:
        """Try one address until the file is complete, or return why it cannot be fetched there."""
        failures, best = 0, part.size
        while True:
            try:
                Attempt(url, part, wanted, self.client, self.report).run()
            except RefusedError as error:
                return str(error)
            except BrokenError as error:
                # An unstable connection will do, as long as it makes progress.
                failures = 1 if part.size >= best + PROGRESS else failures + 1
                if failures > self.retries:
                    return f"{error} ({failures} attempts)"
            else:
                return None
            best = max(best, part.size)
            time.sleep(min(self.backoff * 2 ** (failures - 1), LONGEST_PAUSE))
