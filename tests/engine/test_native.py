"""Compiling the kernel, and doing without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from engines import needs_engine, needs_winograd, parsed, picture

from darknet_py import engine as engines
from darknet_py.engine import CONVOLUTIONS, Engine, fused, native, winograd

FIRST_USE = """
import torch
torch.set_num_threads(1)
from darknet_py.engine import fastest
print(fastest())
"""
FORKED = """
import os, sys, torch
sys.path[:0] = {path!r}
torch.set_num_threads(2)
from engines import parsed, picture
from darknet_py.engine import Engine
engine = Engine(parsed())
x = picture(engine.network)
wanted = engine.heads(x)[0]
child = os.fork()
if child == 0:
    torch.set_num_threads(1)  # as in the workers of a DataLoader
    os._exit(0 if torch.equal(engine.heads(x)[0], wanted) else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), torch.equal(engine.heads(x)[0], wanted))
"""


def uncached() -> object:
    """The kernel as a new process would get it."""
    return native.library.__wrapped__()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the user, which holds a kernel when one was compiled."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("CC", "DARKNET_PY_NATIVE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "darknet_py"


@needs_winograd
def test_it_is_compiled_once(cache, monkeypatch):
    assert uncached() is not None
    (library,) = cache.iterdir()
    assert cache.stat().st_mode & 0o077 == 0
    monkeypatch.setattr(subprocess, "run", None)
    assert uncached() is not None
    assert [*cache.iterdir()] == [library]


@needs_winograd
def test_another_source_or_compiler_is_compiled_anew(cache, monkeypatch):
    first = native.compiled(["gcc"], native.machine_flags(), Path(cache.parent))
    assert first == native.compiled(["gcc"], native.machine_flags(), Path(cache.parent))
    assert first != native.compiled(["gcc", "-O1"], native.machine_flags(), Path(cache.parent))
    header, *kernels = native.SOURCES
    changed = cache.parent / header.name
    changed.write_text(header.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    monkeypatch.setattr(native, "SOURCES", [changed, *kernels])
    assert first != native.compiled(["gcc"], native.machine_flags(), Path(cache.parent))


@needs_winograd
def test_it_takes_the_openmp_that_torch_has(cache):
    before = Path("/proc/self/maps").read_text(encoding="utf-8")
    assert uncached() is not None
    after = Path("/proc/self/maps").read_text(encoding="utf-8")
    assert {line.split()[-1] for line in after.splitlines() if "libgomp" in line} == {
        line.split()[-1] for line in before.splitlines() if "libgomp" in line
    }


@pytest.mark.parametrize("compiler", ["/no/such/compiler", "false", "true", "gcc --no-such-flag", "'"])
def test_compilers_that_do_not_work(cache, monkeypatch, compiler):
    monkeypatch.setenv("CC", compiler)
    assert uncached() is None
    assert [*cache.glob("*")] == []


def test_a_compiler_that_takes_too_long(cache, monkeypatch):
    script = cache.parent / "cc"
    script.write_text("#!/bin/sh\nexec sleep 60\n", encoding="utf-8")
    script.chmod(0o700)
    monkeypatch.setenv("CC", str(script))
    monkeypatch.setattr(native, "SECONDS", 0.2)
    assert uncached() is None


def test_it_can_be_forbidden(cache, monkeypatch):
    monkeypatch.setenv("DARKNET_PY_NATIVE", "0")
    assert uncached() is None
    assert not cache.exists()


def test_caches_that_cannot_be_used(cache, monkeypatch):
    cache.mkdir()
    cache.chmod(0o777)
    assert uncached() is None
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert uncached() is None


@needs_winograd
def test_a_library_that_is_broken(cache):
    name = native.compiled(["gcc"], native.machine_flags(), cache.parent).name
    cache.mkdir()
    (cache / name).write_bytes(b"\x7fELF")
    assert uncached() is None


def test_without_the_source(cache, monkeypatch):
    monkeypatch.setattr(native, "SOURCES", [Path("nowhere.c")])
    assert uncached() is None


@needs_winograd
def test_a_kernel_or_operators_that_give_something_else(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(winograd.Winograd, "__call__", zeros)
        assert winograd.convolutions.__wrapped__() is None
    with monkeypatch.context() as patch:
        patch.setattr(winograd.Narrow, "__call__", zeros)
        assert winograd.convolutions.__wrapped__() is None
    with monkeypatch.context() as patch:
        patch.setattr(fused.Pointwise, "__call__", zeros)
        assert fused.convolutions.__wrapped__() is None
    for error in (RuntimeError, AttributeError, TypeError):
        monkeypatch.setattr(fused, "Fused", raising(error))
        assert fused.convolutions.__wrapped__() is None
    monkeypatch.setattr(fused, "convolutions", nothing)
    assert winograd.convolutions.__wrapped__() is None


def nothing(*, half: bool = False) -> None:
    """No back end."""


def zeros(conv, memory, x, pool=False):
    shape = F.max_pool2d(x, 2, 2, ceil_mode=True).shape[2:] if pool else x.shape[2:]
    return torch.zeros(1, len(conv.bias), *shape)


def raising(error: type[Exception]):
    def call(*args: object) -> None:
        raise error

    return call


@needs_engine
def test_without_the_kernel_the_rest_works(monkeypatch):
    monkeypatch.setattr(winograd, "library", lambda: None)
    monkeypatch.setattr(engines, "CONVOLUTIONS", {**CONVOLUTIONS, "winograd": winograd.convolutions.__wrapped__})
    engine = Engine(parsed())
    assert engine.name == "fused"
    assert engine.heads(picture(engine.network))[0].shape == (1, 33, 16, 16)


def run(code: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ | environment,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip


@needs_winograd
def test_two_processes_may_be_the_first(cache):
    processes = [run(FIRST_USE, XDG_CACHE_HOME=str(cache.parent)) for _ in range(2)]
    assert [process.communicate(timeout=120)[0].split() for process in processes] == [["winograd"]] * 2
    assert [path.suffix for path in cache.iterdir()] == [".so"]


@needs_winograd
def test_a_forked_process_may_use_it():
    folder = Path(__file__).parent
    process = run(FORKED.format(path=[str(folder), str(folder.parent)]))
    try:
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert out.split() == ["0", "True"]
