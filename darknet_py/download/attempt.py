"""One request for a file, or for the rest of it after an attempt that was interrupted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from typing import Final

from darknet_py.download.answer import Answer
from darknet_py.download.client import BrokenError, Client, RefusedError
from darknet_py.download.part import Part, Saved
from darknet_py.download.progress import FileProgress
from darknet_py.download.wanted import Wanted
from darknet_py.errors import DownloadError

SPARE_DISK: Final = 16 << 20


class Attempt:
    """An attempt to fetch a file from one address; `run` returns when it is complete and correct."""

    def __init__(self, url: str, part: Part, wanted: Wanted, client: Client, report: FileProgress) -> None:
        self.url, self.part, self.wanted, self.client, self.report = url, part, wanted, client, report
        self.saved = part.saved(url)

    def run(self) -> None:
        """Fetch what is missing; raises `BrokenError` if another attempt may help, otherwise `RefusedError`."""
        if self.saved.is_whole:
            digest = self.wanted.hasher(self.part.path).hexdigest()
        else:
            with closing(self.client.get(self.url, self._headers())) as response:
                digest = self._take(Answer(response))
        if fault := self.wanted.fault(self.part.size, digest):
            self.part.drop()
            raise (BrokenError if self.saved.offset else RefusedError)(fault)

    def _headers(self) -> dict[str, str]:
        # identity: compressed bytes would match neither Content-Length nor the digest.
        headers = {"User-Agent": "darknet-py", "Accept-Encoding": "identity"}
        if self.saved.offset:
            headers["Range"] = f"bytes={self.saved.offset}-"
            if self.saved.mark and not self.saved.mark.startswith("W/"):
                headers["If-Range"] = self.saved.mark
        return headers

    def _take(self, answer: Answer) -> str:
        """Check the answer, write its body into the part and return the digest of the whole part in hex."""
        if answer.does_not_fit:
            self.part.drop()
        answer.check_status()
        chunks = self.client.chunks(answer.response)
        total: int | None
        if answer.is_part:
            total = self._total_of_rest(answer)
        else:
            self.saved, total = Saved(), answer.length
            head = next(chunks, b"")
            answer.check_head(head, total)
            chunks = chain((head,), chunks)
        self._check_total(total)
        if not self.saved.offset:
            self.part.begin(self.url, answer.mark, total)
        return self._write(chunks, total)

    def _total_of_rest(self, answer: Answer) -> int:
        """The size of the whole file, if this answer continues the part that is here."""
        saved, (first, last, total) = self.saved, answer.range
        same = saved.total in (None, total) and answer.mark in ("", saved.mark)
        if not saved.offset or not same or (first, last) != (saved.offset, total - 1):
            self.part.drop()
            raise BrokenError(f"answered with another part of the file than was asked for ({answer.range_text[:80]!r})")
        if answer.length not in (None, total - first):
            raise RefusedError("says two different lengths, in Content-Length and Content-Range")
        return total

    def _check_total(self, total: int | None) -> None:
        if total is None:
            return
        if total > self.wanted.limit:
            raise RefusedError(f"has {total} bytes; more than {self.wanted.limit} are not taken")
        if fault := self.wanted.fault(total):
            raise RefusedError(fault)
        folder, missing = self.part.path.parent, total - self.saved.offset
        free = shutil.disk_usage(folder).free
        if free < missing + SPARE_DISK:
            room = f"{folder} has {free} free; make room, or use another folder"
            raise DownloadError(f"{self.wanted.name} needs {missing} more bytes, {room}")

    def _write(self, chunks: Iterator[bytes], total: int | None) -> str:
        name, part = self.wanted.name, self.part
        hasher, done = self.wanted.hasher(part.path), part.size
        limit = total if total is not None else self.wanted.most
        self.report(name, done, total)
        try:
            with part.path.open("ab") as file:
                for chunk in chunks:
                    done += len(chunk)
                    if done > limit:
                        part.drop()
                        raise RefusedError(f"sends more than {limit} bytes")
                    file.write(chunk)
                    hasher.update(chunk)
                    self.report(name, done, total)
        except BrokenError as error:
            raise BrokenError(f"{error} after {done} of {total or 'unknown'} bytes") from error
        if total is not None and done < total:
            raise BrokenError(f"broke off after {done} of {total} bytes")
        return hasher.hexdigest()
