"""Compiling the kernel, and doing without it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from darknet_py import engine as engines
from darknet_py import files, load
from darknet_py.engine import Engine, fused, winograd
from darknet_py.kernels import compiled, native
from tests.support.engines import changed, needs_engine, needs_winograd, parsed, picture

FIRST_USE = """
import torch
torch.set_num_threads(1)
from darknet_py.engine import fastest
print(fastest())
"""
FORKED = """
import os, signal, sys, torch
torch.set_num_threads(2)
from tests.support.engines import parsed, picture
from darknet_py.engine import Engine
engine = Engine(parsed())
x = picture(engine.network)
wanted = engine.heads(x)[0]
child = os.fork()
if child == 0:
    signal.alarm(60)
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
    for name in ("CC", "DARKNET_PY_NATIVE", "DARKNET_PY_CACHE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "darknet_py"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A library, compiled once for the tests that only look whether it is found."""
    return compiled.compiled(["gcc"], compiled.machine_flags(), tmp_path_factory.mktemp("made"))


@pytest.fixture
def filled(cache, made) -> Path:
    """The library in the cache."""
    cache.mkdir(mode=0o700)
    shutil.copy(made, cache)
    (cache / made.name).chmod(0o600)
    return cache / made.name


@pytest.fixture
def quick(monkeypatch, made):
    """A compiler that copies the library; gives the list of what was compiled."""
    asked = []

    def copy(command, seconds):
        asked.append(command)
        shutil.copy(made, command[-1])

    monkeypatch.setattr(compiled, "_run", copy)
    return asked


@needs_winograd
def test_it_is_compiled_once_and_that_is_said(cache, monkeypatch, caplog):
    assert uncached() is not None
    (library,) = cache.iterdir()
    assert cache.stat().st_mode & 0o077 == 0
    assert [record.getMessage() for record in caplog.records] == [
        "darknet-py: compiling the C kernels for this processor: it takes a few seconds, once"
    ]
    monkeypatch.setattr(compiled, "_run", None)
    assert uncached() is not None
    assert [*cache.iterdir()] == [library]
    assert len(caplog.records) == 1


@needs_winograd
def test_another_source_or_compiler_is_compiled_anew(cache, monkeypatch, quick):
    folder, flags = cache.parent, compiled.machine_flags()
    first = compiled.compiled(["gcc"], flags, folder)
    assert first == compiled.compiled(["gcc"], flags, folder)
    assert first != compiled.compiled(["gcc", "-O1"], flags, folder)
    assert first != compiled.compiled(["gcc"], (*flags, "-g"), folder)
    header, *kernels = compiled.SOURCES
    changed = folder / header.name
    changed.write_text(header.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(compiled, "SOURCES", [changed, *kernels])
        assert first != compiled.compiled(["gcc"], flags, folder)
    script = executable(folder / "cc", "exec gcc")
    second = compiled.compiled([script], flags, folder)
    executable(folder / "cc", "exec gcc-99")  # another version of it
    assert second != compiled.compiled([script], flags, folder)


@needs_winograd
@pytest.mark.parametrize("left", [0, 4, 4096, -1])
def test_a_library_that_is_not_whole_is_compiled_again(filled, quick, left):
    whole = filled.read_bytes()
    filled.write_bytes(whole[:left])
    assert uncached() is not None
    assert quick
    assert filled.read_bytes() == whole
    assert [*filled.parent.iterdir()] == [filled]


@needs_winograd
def test_a_library_that_was_changed_is_compiled_again(filled, quick):
    whole = filled.read_bytes()
    filled.write_bytes(whole[:5000] + b"changed" + whole[5007:])
    assert uncached() is not None
    assert filled.read_bytes() == whole


@needs_winograd
@pytest.mark.parametrize("change", ["mode", "link", "folder"])
def test_a_library_that_is_not_ours_is_compiled_again(filled, quick, change, made):
    if change == "mode":
        filled.chmod(0o622)
    else:
        filled.unlink()
        filled.symlink_to(made) if change == "link" else filled.mkdir()
    assert uncached() is not None
    assert quick
    assert not filled.is_symlink()
    assert filled.stat().st_mode == stat.S_IFREG | 0o600


@needs_winograd
def test_a_library_that_belongs_to_another_user_is_compiled_again(filled, quick, monkeypatch):
    if os.getuid():
        pytest.skip("only root gives files away")
    os.chown(filled, 12345, -1)
    assert uncached() is not None
    assert quick
    assert filled.stat().st_uid == 0


@needs_winograd
def test_a_library_that_lacks_a_function_is_gone_without_and_that_is_kept_in_mind(cache, monkeypatch, caplog):
    source = cache.parent / "winograd.c"
    source.write_text("long column(void) { return 32; }\n", encoding="utf-8")
    monkeypatch.setattr(compiled, "SOURCES", [source])
    assert uncached() is None
    (refused,) = cache.glob("refused-*")
    assert "gcc made cannot be loaded; delete" in caplog.messages[-1]
    monkeypatch.setattr(compiled, "_run", None)
    assert uncached() is None
    refused.unlink()
    with pytest.raises(TypeError):
        uncached()


@needs_winograd
@pytest.mark.parametrize("mask", [0, 0o077, 0o777])
def test_whatever_the_umask_nobody_else_may_write(tmp_path, monkeypatch, quick, mask):
    monkeypatch.setenv("DARKNET_PY_CACHE", str(tmp_path / "new" / "cache"))
    before = os.umask(mask)
    try:
        found = uncached()
    finally:
        os.umask(before)
    if mask == 0o777 and os.getuid():
        return  # nobody can work so
    assert found is not None
    modes = {path.name[:7]: path.stat().st_mode & 0o777 for path in (tmp_path / "new").rglob("*")}
    assert modes["kernels"] == 0o600
    assert all(mode & 0o077 == 0 for mode in modes.values())


@needs_winograd
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o757])
def test_a_folder_above_that_others_may_write_to(tmp_path, monkeypatch, quick, mode):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(mode)
    monkeypatch.setattr(files, "_is_own_group", lambda number: False)
    monkeypatch.setenv("DARKNET_PY_CACHE", str(tmp_path / "open" / "cache"))
    assert uncached() is None
    (tmp_path / "open").chmod(mode | stat.S_ISVTX)  # as /tmp is
    assert uncached() is not None
    (tmp_path / "open").chmod(0o770)
    monkeypatch.setattr(files, "_is_own_group", lambda number: True)
    assert uncached() is not None


@needs_winograd
def test_what_a_killed_process_left_is_removed(cache, quick):
    left = cache / f"{compiled.WORK}abc"
    left.mkdir(parents=True, mode=0o700)
    (left / "winograd.o").write_bytes(b"1")
    cache.chmod(0o700)
    assert uncached() is not None
    assert [path.suffix for path in cache.iterdir()] == [".so"]


@needs_winograd
def test_the_folder_that_darknet_py_cache_names(tmp_path, monkeypatch, quick):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("DARKNET_PY_CACHE", str(tmp_path / "own"))
    assert uncached() is not None
    assert [path.suffix for path in (tmp_path / "own").iterdir()] == [".so"]
    assert not (tmp_path / "xdg").exists()


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


def executable(path: Path, line: str) -> str:
    """Write a script."""
    path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    path.chmod(0o700)
    return str(path)


@pytest.mark.parametrize("line", ["exec sleep 60", "sleep 60; true"])
def test_a_compiler_that_takes_too_long_does_so_once(cache, monkeypatch, caplog, line):
    count = cache.parent / "count"
    script = executable(cache.parent / "cc", f"echo >> {count}\n{line}")
    monkeypatch.setenv("CC", script)
    monkeypatch.setattr(compiled, "SECONDS", 0.2)
    assert uncached() is None
    assert uncached() is None
    assert count.read_text() == "\n"
    (refused,) = cache.iterdir()
    assert f"{script} took longer than 0.2 s; delete {refused} to try again" in caplog.messages[-1]
    executable(cache.parent / "cc", f"echo again >> {count}\n{line}")
    assert uncached() is None  # another compiler is asked
    assert count.read_text() == "\nagain\n"
    for path in cache.glob("refused-*"):
        path.unlink()
    assert uncached() is None
    assert count.read_text() == "\nagain\nagain\n"


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


def test_without_the_source(cache, monkeypatch):
    monkeypatch.setattr(compiled, "SOURCES", [Path("nowhere.c")])
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


def nothing(half: bool = False) -> None:
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
    monkeypatch.setattr(engines, "BACKENDS", changed("winograd", make=winograd.convolutions.__wrapped__))
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
    process = run(FORKED)
    try:
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert out.split() == ["0", "True"]


@needs_winograd
def test_load_compiles_so_that_the_first_picture_does_not_wait(cache, quick, monkeypatch):
    monkeypatch.setattr(native, "library", native.library.__wrapped__)
    (cache.parent / "a.cfg").write_text("[net]\nwidth=32\nheight=32\nchannels=3\n[avgpool]\n[softmax]\n")
    model = load(cache.parent / "a.cfg", device="cpu")
    count = len(quick)
    assert count
    model.classify(torch.zeros(3, 8, 8, dtype=torch.uint8))
    assert len(quick) == count
