"""The C kernels: compiled once by the machine's own compiler and kept in the user's cache; used where that works."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from ctypes import POINTER, Structure, c_float, c_ssize_t, c_void_p
from functools import cache
from pathlib import Path

SOURCES = [Path(__file__).with_name(name) for name in ("kernel.h", "winograd.c", "narrow.c", "letterbox.c")]
FLAGS = ("-std=gnu11", "-O3", "-march=native", "-fno-predictive-commoning", "-fopenmp", "-fPIC", "-Wno-psabi")
X86_FLAGS = ("-mprefer-vector-width=512",)
SECONDS = 60


NUMBERS = ("n", "h", "w", "c", "k", "pool", "threads", "brief", "packed", "half", "superblock", "block", "group")


class Job(Structure):
    """The sizes of one convolution; the `Job` of kernel.h."""

    _fields_ = (
        *((name, c_ssize_t) for name in NUMBERS),
        ("slope", c_float),
        ("from_slope", c_float),
    )


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernel, or None where there is no compiler for it; DARKNET_PY_NATIVE=0 goes without."""
    if os.environ.get("DARKNET_PY_NATIVE") == "0" or sys.platform != "linux":
        return None
    try:
        return opened(compiled(shlex.split(os.environ.get("CC") or "gcc"), machine_flags(), _folder()))
    except (OSError, RuntimeError, ValueError, subprocess.SubprocessError):
        return None


def opened(path: Path) -> ctypes.CDLL:
    """The functions of a compiled kernel; raises `OSError` where it does not fit torch's OpenMP."""
    kernel = ctypes.CDLL(str(path))
    job, size, pointer = POINTER(Job), c_ssize_t, c_void_p
    for name, result, *arguments in (
        ("column", size),
        ("winograd_workspace", size, job),
        ("winograd_pack", size, pointer, pointer, size, size),
        ("winograd", None, job, *(pointer,) * 6),
        ("narrow_workspace", size, job),
        ("narrow", None, job, *(pointer,) * 5),
    ):
        function = getattr(kernel, name)
        function.restype, function.argtypes = result, arguments
    return kernel


def compiled(compiler: list[str], flags: tuple[str, ...], folder: Path) -> Path:
    """Where the library is in `folder`, after compiling it if there is none of this source, machine and command yet."""
    sources = (source.read_text(encoding="utf-8") for source in SOURCES)
    told = "\n".join((*compiler, *flags, platform.machine(), _processor(), *sources))
    path = folder / f"kernels-{hashlib.sha256(told.encode()).hexdigest()[:20]}.so"
    if path.exists():
        return path
    with tempfile.TemporaryDirectory(dir=folder) as work:
        whole, kernels = f"{work}/kernels.so", [source for source in SOURCES if source.suffix == ".c"]
        objects = [f"{work}/{source.stem}.o" for source in kernels]
        made = [(*flags, "-c", str(source), "-o", to) for source, to in zip(kernels, objects, strict=True)]
        # Linked without -fopenmp, it takes the OpenMP that torch has loaded: a second one would fight for the cores.
        for arguments in (*made, ("-shared", *objects, "-o", whole)):
            subprocess.run((*compiler, *arguments), check=True, capture_output=True, timeout=SECONDS)  # noqa: S603
        Path(whole).replace(path)
    return path


def machine_flags() -> tuple[str, ...]:
    """How the kernel is compiled here."""
    return FLAGS + (X86_FLAGS if platform.machine() == "x86_64" else ())


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
    return _told("flags", "Features") or platform.processor()


def has_amx() -> bool:
    """Whether the processor multiplies matrices of bfloat16, many times as fast as it multiplies vectors."""
    return "amx_bf16" in _told("flags").split()


def multiplies_bfloat16() -> bool:
    """Whether oneDNN is faster in bfloat16 than in float32: with AMX, and with AVX-512 of AMD."""
    return has_amx() or ("avx512_bf16" in _told("flags").split() and "AMD" in _told("vendor_id"))


@cache
def _told(*starts: str) -> str:
    """The first line about the processor that starts so."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:  # not to its end: that is slow with many processors
            return next((line for line in file if line.startswith(starts)), "")
    except OSError:
        return ""
