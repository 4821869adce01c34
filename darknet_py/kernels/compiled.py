"""Compiles the library of C kernels once with the machine's compiler and keeps it in the user's cache.

The file's name has digests of its sources and of its content: an incomplete library is not loaded, nor one that others
could have written. If a compiler takes too long or its result cannot be loaded, a file says so, and holds until it is
deleted or another compiler is used.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

from darknet_py import files
from darknet_py.errors import DarknetError, shown

with contextlib.suppress(ImportError):  # missing on Windows, where nothing is compiled
    import fcntl

SOURCES = [Path(__file__).with_name(name) for name in ("kernel.h", "winograd.c", "narrow.c", "letterbox.c")]
FLAGS = ("-std=gnu11", "-O3", "-march=native", "-fno-predictive-commoning", "-fopenmp", "-fPIC", "-Wno-psabi")
X86_FLAGS = ("-mprefer-vector-width=512",)
SECONDS = 60  # for all of it
WORK = "compiling-"  # start of the names of temporary folders
LOG = logging.getLogger("darknet_py")


def opened(functions: Callable[[ctypes.CDLL], ctypes.CDLL]) -> ctypes.CDLL | None:
    """The result of `functions` for the cached library, compiled if need be; None if that fails."""
    try:
        command = shlex.split(os.environ.get("CC") or "gcc")
        folder = files.private(files.cache_folder())
        return loaded(command, machine_flags(), folder, functions)
    except (OSError, ValueError, DarknetError, subprocess.SubprocessError):
        return None


def loaded(
    command: Sequence[str], flags: Sequence[str], folder: Path, functions: Callable[[ctypes.CDLL], ctypes.CDLL]
) -> ctypes.CDLL:
    """The library of this source, machine and command in `folder`; raises what `opened` catches."""
    key = _key(command, flags)
    with contextlib.suppress(OSError, AttributeError):
        return functions(ctypes.CDLL(str(_found(folder, key))))
    with _alone(folder):
        with contextlib.suppress(OSError, AttributeError):  # another process has compiled it meanwhile
            return functions(ctypes.CDLL(str(_found(folder, key))))
        refused = folder / f"refused-{key}.txt"
        if refused.exists():
            _tell(refused.read_text(encoding="utf-8"))
            raise DarknetError("it failed before")
        LOG.warning("darknet-py: compiling the C kernels for this processor: it takes a few seconds, once")
        try:
            return functions(ctypes.CDLL(str(compiled(command, flags, folder))))
        except subprocess.TimeoutExpired:
            _refuse(refused, f"{command[0]} took longer than {SECONDS} s")
            raise
        except (AttributeError, OSError) as error:
            if not isinstance(error, AttributeError) and error.errno is not None:
                raise  # a full disk, no such compiler
            _refuse(refused, f"what {command[0]} made cannot be loaded")
            raise DarknetError("it cannot be loaded") from error


def compiled(command: Sequence[str], flags: Sequence[str], folder: Path) -> Path:
    """Compile a new library into `folder` and return its path."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=WORK) as work:
        whole, kernels = Path(work, "kernels.so"), [source for source in SOURCES if source.suffix == ".c"]
        objects = [f"{work}/{source.stem}.o" for source in kernels]
        made = [(*flags, "-c", str(source), "-o", to) for source, to in zip(kernels, objects, strict=True)]
        # Linked without -fopenmp, it uses the OpenMP that torch has loaded: a second one would compete for the cores.
        end = time.monotonic() + SECONDS
        for arguments in (*made, ("-shared", *objects, "-o", str(whole))):
            _run((*command, *arguments), end - time.monotonic())
        whole.chmod(0o600)
        digest = hashlib.sha256(whole.read_bytes()).hexdigest()[:32]
        return whole.rename(folder / f"kernels-{_key(command, flags)}-{digest}.so")


def machine_flags() -> tuple[str, ...]:
    """The command that compiles the kernels on this machine."""
    return FLAGS + (X86_FLAGS if platform.machine() == "x86_64" else ())


def _key(command: Sequence[str], flags: Sequence[str]) -> str:
    """The digest of everything that a library depends on.

    The size and time of the command's files stand for the compiler's version, because asking the compiler is slow.
    """
    programs = []
    for word in command:
        if (program := shutil.which(word)) is not None:
            info = Path(program).resolve().stat()
            programs.append(f"{program} {info.st_size} {info.st_mtime_ns}")
    sources = (source.read_text(encoding="utf-8") for source in SOURCES)
    processor = told_of_processor("flags", "Features") or platform.processor()
    told = "\n".join((*command, *programs, *flags, platform.machine(), processor, *sources))
    return hashlib.sha256(told.encode()).hexdigest()[:20]


def _found(folder: Path, key: str) -> Path:
    """The intact library of a key that belongs to us, or `FileNotFoundError`; removes others of that key."""
    for path in folder.glob(f"kernels-{key}-*.so"):
        with contextlib.suppress(OSError):
            info = path.lstat()
            ours = stat.S_ISREG(info.st_mode) and info.st_uid == os.getuid() and not info.st_mode & 0o022
            if ours and hashlib.sha256(path.read_bytes()).hexdigest()[:32] == path.stem.rpartition("-")[2]:
                return path
            shutil.rmtree(path) if stat.S_ISDIR(info.st_mode) else path.unlink()
    raise FileNotFoundError


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process compiles in a folder, and remove the leftovers of killed ones."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot lock folders
            fcntl.flock(handle, fcntl.LOCK_EX)
            for work in folder.glob(f"{WORK}*"):
                shutil.rmtree(work, ignore_errors=True)
        yield
    finally:
        os.close(handle)


def _run(command: Sequence[str], seconds: float) -> None:
    """Run a command; it and its children are killed when the time is over."""
    no = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=no, stdout=no, stderr=no, start_new_session=True)  # noqa: S603
    try:
        code = process.wait(max(seconds, 0))
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if code:
        raise subprocess.CalledProcessError(code, command)


def _refuse(path: Path, reason: str) -> None:
    text = f"{reason}; delete {path} to try again, or name another compiler in CC"
    path.write_text(text, encoding="utf-8")
    _tell(text)


def _tell(reason: str) -> None:
    LOG.warning("darknet-py: the C kernels are not compiled: %s", shown(reason, 300))


@cache
def told_of_processor(*starts: str) -> str:
    """The first line of /proc/cpuinfo with this start."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:  # reading all of it is slow with many processors
            return next((line for line in file if line.startswith(starts)), "")
    except OSError:
        return ""
