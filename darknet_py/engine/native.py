"""The C kernel: compiled once by the machine's own compiler and kept in the user's cache; used where that works."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from ctypes import POINTER, Structure, c_float, c_ssize_t, c_void_p
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("winograd.c")
FLAGS = ("-std=gnu11", "-O3", "-march=native", "-mprefer-vector-width=512", "-fopenmp", "-fPIC", "-shared", "-Wno-psabi")
SECONDS = 60


class Job(Structure):
    """The sizes of one convolution; the `Job` of winograd.c."""

    _fields_ = [(name, c_ssize_t) for name in ("n", "h", "w", "c", "k", "superblock", "block", "packed", "threads")] + [
        ("slope", c_float),
        ("from_slope", c_float),
    ]  # fmt: skip  # noqa: RUF012


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernel, or None where there is no compiler for it; DARKNET_PY_NATIVE=0 goes without."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc")
    if os.environ.get("DARKNET_PY_NATIVE") == "0" or sys.platform != "linux" or compiler is None:
        return None
    try:
        path = _cached(compiler)
        kernel = ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError):
        return None
    job, size, pointer = POINTER(Job), c_ssize_t, c_void_p
    kernel.column.restype, kernel.column.argtypes = size, ()
    kernel.workspace.restype, kernel.workspace.argtypes = size, (job,)
    kernel.pack.restype, kernel.pack.argtypes = None, (pointer, pointer, size, size)
    kernel.convolve.restype, kernel.convolve.argtypes = None, (job, *(pointer,) * 6)
    return kernel


def _cached(compiler: str) -> Path:
    """Where the library is, after compiling it if this machine has none of this source yet."""
    folder = _folder()
    told = "\n".join((compiler, *FLAGS, platform.machine(), _processor(), SOURCE.read_text(encoding="utf-8")))
    path = folder / f"winograd-{hashlib.sha256(told.encode()).hexdigest()[:20]}.so"
    if path.exists():
        return path
    handle, made = tempfile.mkstemp(suffix=".so", dir=folder)
    os.close(handle)
    try:
        subprocess.run((compiler, *FLAGS, str(SOURCE), "-o", made), check=True, capture_output=True, timeout=SECONDS)  # noqa: S603
        Path(made).replace(path)
    finally:
        Path(made).unlink(missing_ok=True)
    return path


def _folder() -> Path:
    """A folder for the library that no other user writes to; raises `OSError` where there can be none."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "darknet_py"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = folder.stat()
    if info.st_uid != os.getuid() or info.st_mode & 0o022:
        raise PermissionError(f"{folder} can be written by others")
    return folder


def _processor() -> str:
    """What the compiler makes of -march=native depends on the processor: its flags."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    return next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
