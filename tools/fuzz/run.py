"""Runs inputs of tools/fuzz in processes that are renewed at intervals; one that dies or hangs is a finding."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Final

from tools.fuzz.judge import Finding, Kind, judge, limit_memory

BLOCK: Final = 1000  # inputs of one process
PATIENCE: Final = 12  # times as long by the clock as an input may take of the processor
FORK: Final = multiprocessing.get_context("fork")  # what is imported need not be imported again


@dataclass(frozen=True)
class Run:
    """What processes are to do."""

    seed: int
    jobs: int
    seconds: float
    folder: Path
    keep: Path | None = None

    @property
    def log(self) -> Path:
        """What processes write to their standard error."""
        return self.folder / "stderr"

    def path(self, kind: Kind, index: int, suffix: str) -> Path:
        """Where an input lies while it is read."""
        return self.folder / f"{kind.name}-{self.seed}-{index}{suffix}"


@dataclass
class _Worker:
    """A process, and how far it is."""

    process: multiprocessing.process.BaseProcess
    inbox: Connection
    block: range
    done: int = 0  # of the block
    since: float = field(default_factory=time.monotonic)
    over: bool = False


def run(kind: Kind, indexes: range, work: Run) -> Iterator[tuple[int, Finding | None]]:
    """Try inputs; gives every finding, and None after every block, with how many inputs have been tried."""
    blocks = deque(indexes[start : start + BLOCK] for start in range(0, len(indexes), BLOCK))
    workers: list[_Worker] = []
    tried = 0
    try:
        while blocks or workers:
            while blocks and len(workers) < work.jobs:
                workers.append(_started(kind, blocks.popleft(), work))
            wait([worker.inbox for worker in workers], timeout=1)
            for worker in list(workers):
                before = worker.done
                for finding in _heard(kind, worker, work):
                    yield tried, _kept(finding, kind, work)
                tried += worker.done - before
                if not worker.over:
                    continue
                workers.remove(worker)
                worker.process.join()
                if rest := worker.block[worker.done :]:
                    blocks.appendleft(rest)
                yield tried, None
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.join()


def _started(kind: Kind, block: range, work: Run) -> _Worker:
    inbox, outbox = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_try_all, args=(kind, block, work, outbox))
    process.start()
    outbox.close()
    return _Worker(process, inbox, block)


def _try_all(kind: Kind, block: range, work: Run, outbox: Connection) -> None:
    """What a process does: the verdict on each input, in order; it ends early where one has taken much memory."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with work.log.open("wb") as log:
        os.dup2(log.fileno(), 2)  # C libraries write there, and Python what ends this process
    limit_memory(2 * kind.spare)
    for index in block:
        sample = kind.sample(work.seed, index)
        path = work.path(kind, index, sample.suffix)
        path.write_bytes(sample.data)
        finding = judge(kind, index, path, work.seconds)
        outbox.send(finding)
        if finding is None:
            path.unlink()
        elif finding.what.startswith(("memory", "hang", "MemoryError")):
            return


def _heard(kind: Kind, worker: _Worker, work: Run) -> Iterator[Finding]:
    """What a process has said since, and what its end or its silence means."""
    try:
        while worker.inbox.poll():
            finding: Finding | None = worker.inbox.recv()
            worker.done, worker.since = worker.done + 1, time.monotonic()
            if finding is not None:
                yield finding
    except EOFError:
        worker.over = True
        worker.process.join()
        if not worker.process.exitcode:
            return
        what = f"end: the process ended with {worker.process.exitcode}"
    else:
        if time.monotonic() - worker.since < PATIENCE * work.seconds:
            return
        worker.over = True
        worker.process.kill()
        what = f"hang: no answer within {PATIENCE * work.seconds:g} seconds"
    if worker.done < len(worker.block):
        worker.done += 1
        yield Finding(kind.name, worker.block[worker.done - 1], what, trace=_end_of(work.log))


def _end_of(log: Path) -> str:
    return log.read_bytes()[-2000:].decode(errors="replace") if log.exists() else ""


def _kept(finding: Finding, kind: Kind, work: Run) -> Finding:
    """The finding, with its input where it stays."""
    path = next(work.folder.glob(f"{kind.name}-{work.seed}-{finding.index}.*"), None)
    if work.keep is None or path is None:
        return finding
    work.keep.mkdir(parents=True, exist_ok=True)
    return replace(finding, file=str(shutil.copy(path, work.keep)))
