"""Runs that share a machine: one a folder, signals, what a killed run leaves, files that outlive a loss of power."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from darknet_py import files
from darknet_py.cli import main
from darknet_py.cli.progress import Printer
from darknet_py.cli.signals import stop_signals
from darknet_py.errors import DarknetError, DarknetWarning, WeightsError
from darknet_py.files import locks
from darknet_py.files.locks import FolderLock
from darknet_py.train import Saver, check_gpus, launch
from darknet_py.train.launch import _visible
from tests.support.drawn import data_file, detector, pictures

pytestmark = pytest.mark.skipif(locks.fcntl is None, reason="there are no such locks here")
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
HOLDS = """
import sys
from pathlib import Path
from darknet_py.files.locks import FolderLock
lock = FolderLock(Path(sys.argv[1]))
lock.take()
print("taken", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    return pictures(folder, 6)


@pytest.fixture
def kit(tmp_path, drawn, monkeypatch) -> Path:
    data_file(tmp_path, drawn)
    detector(tmp_path / "tiny.cfg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*more: str) -> int:
    return main(["detector", "train", "all.data", "tiny.cfg", *more])


def names(folder: str | Path) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


@contextmanager
def another(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has the lock of a folder."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=ENVIRONMENT,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "taken\n"
        yield process
        process.kill()


# One run a folder


def test_a_second_run_is_refused_with_the_first_ones_number(kit, capsys):
    (kit / "backup").mkdir()
    with another(kit / "backup") as first:
        assert command() == 1
        assert capsys.readouterr().err.splitlines() == [
            f"darknet-py: {kit}/backup: process {first.pid} is training in this folder; give another one"
        ]
        assert names("backup") == [".lock"]
        assert command("--backup", "other", "--batches", "1") == 0
    assert command("--batches", "1") == 0  # the first was killed
    assert names("backup") == ["chart.png", "tiny.backup", "tiny.resume"]


def test_one_process_has_a_folder_once(tmp_path):
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    first.take()
    with pytest.raises(DarknetError, match=rf"process {os.getpid()} is training in this folder"):
        second.take()
    second.give_back()
    assert names(tmp_path) == [".lock"]
    first.give_back()
    second.take()
    second.give_back()
    assert names(tmp_path) == []


def test_a_lock_that_was_just_removed_is_made_anew(tmp_path, monkeypatch):
    lockf, gone = locks.fcntl.lockf, []

    def removing(file, flags):
        lockf(file, flags)
        if not gone:
            gone.append(file)
            (tmp_path / ".lock").unlink()

    monkeypatch.setattr(locks.fcntl, "lockf", removing)
    lock = FolderLock(tmp_path)
    lock.take()
    assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
    lock.give_back()


def test_without_locks_it_goes_on_with_a_word(tmp_path, monkeypatch):
    def refusing(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks.fcntl, "lockf", refusing)
    with pytest.warns(DarknetWarning, match=r"\.lock: cannot be locked \(No locks available\)"):
        FolderLock(tmp_path).take()


def test_a_folder_that_cannot_be_written_is_told_before_the_work(kit, capsys, monkeypatch):
    monkeypatch.setattr("darknet_py.cli.start.Start.of", None)
    assert command("--backup", "all.data/x") == 1
    assert capsys.readouterr().err == "darknet-py: all.data/x: weights cannot be saved here: Not a directory\n"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert command("--backup", "new") == 1
    assert capsys.readouterr().err == "darknet-py: new: weights cannot be saved here: Permission denied\n"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc here")
def test_a_folder_that_takes_no_files():
    with pytest.raises(WeightsError, match="/proc: weights cannot be saved here"), Saver(Path("/proc"), "tiny").alone():
        pass


def test_clear_and_resume_contradict_each_other(kit, capsys):
    assert command("-clear", "--resume") == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", "darknet-py: -clear starts anew and --resume goes on: give one of them\n")


# What a killed run leaves


def killed_while_writing(path: Path) -> None:
    code = (
        "import os, sys\nfrom darknet_py.files import replacing\n"
        "with replacing(sys.argv[1]) as file:\n    file.write(b'half')\n    file.flush()\n    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False, env=ENVIRONMENT)


def test_the_next_run_clears_away_what_a_killed_one_left(kit):
    for folder in ("backup", "logs", "charts"):
        Path(folder).mkdir()
    for path in ("backup/chart.png", "logs/l.csv", "charts/c.svg", "backup/tiny_final.weights"):
        killed_while_writing(kit / path)
        assert any(name.endswith(".part") for name in names(kit / path.split("/")[0]))
    others = ["backup/.chart.png.part", "logs/.l.csv.tmp", "logs/l.csv.abcdefgh.part"]
    for name in others:
        Path(name).touch()
    with files.replacing(kit / "logs" / "l.csv") as file:  # another program of ours is writing it
        file.write(b"")
        writing = [name for name in names("logs") if name.startswith(".l.csv.") and name != ".l.csv.tmp"]
        assert command("--log", "logs/l.csv", "--chart", "charts/c.svg", "--batches", "1") == 0
        left = [name for name in names("logs") if name.startswith(".l.csv.") and name != ".l.csv.tmp"]
        assert len(writing) == 2
        assert len(left) == 1
    assert names("charts") == ["c.svg"]
    assert names("backup") == [".chart.png.part", "tiny.backup", "tiny.resume"]
    assert {".l.csv.tmp", "l.csv.abcdefgh.part"} <= set(names("logs"))


def test_a_part_that_was_taken_for_left_behind_is_made_anew(tmp_path, monkeypatch):
    flock, gone = locks.fcntl.flock, []

    def removing(handle: int, flags: int) -> None:
        if not gone:
            gone.extend(tmp_path.glob(".*.part"))
            gone[0].unlink()
        flock(handle, flags)

    monkeypatch.setattr(locks.fcntl, "flock", removing)
    with files.replacing(tmp_path / "a") as file:
        file.write(b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert names(tmp_path) == ["a"]


def test_no_folder_has_nothing_to_clear(tmp_path):
    files.clear_parts(tmp_path / "no")


# Files that outlive a loss of power


@pytest.fixture
def history(monkeypatch) -> list[tuple[str, str]]:
    """What is brought to the disk and what gets its name, in order."""
    seen: list[tuple[str, str]] = []
    replace, fsync = Path.replace, os.fsync

    def noted(handle: int) -> None:
        seen.append(("sync", Path(f"/proc/self/fd/{handle}").readlink().name))
        fsync(handle)

    def replaced(path: Path, target: Path) -> Path:
        seen.append(("name", Path(target).name))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "replace", replaced)
    return seen


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says which file a number is")
def test_a_checkpoint_is_on_the_disk_before_it_gets_its_name(kit, history):
    assert command("--batches", "1", "--backup", "b") == 0
    kept = [(kind, name) for kind, name in history if name.startswith("tiny") or name == "b" or kind == "sync"]
    plain = [(kind, re.sub(r"^\.(tiny\.\w+)(\.\w{8})?\.part$", r"\1", name)) for kind, name in kept]
    assert plain == [
        ("sync", "tiny.resume"), ("name", "tiny.resume"), ("sync", "b"),
        ("sync", "tiny.backup"), ("name", "tiny.backup"), ("sync", "b"),
    ]  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says which file a number is")
def test_final_weights_too(kit, history):
    assert command("--backup", "b") == 0
    assert [(kind, name.strip(".").removesuffix(".part")) for kind, name in history if "final" in name][-2:] == [
        ("sync", "tiny_final.weights"), ("name", "tiny_final.weights")
    ]  # fmt: skip
    assert [entry for entry in history if entry[1] in ("b", "tiny_final.weights")][-1] == ("sync", "b")


def test_a_disk_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def failing(_handle: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output"), files.replacing(path, durable=True) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]
    files.settle(tmp_path)  # a folder need not do that
    with pytest.raises(OSError, match="Input/output"):
        files.settle(path)


# Signals


def test_a_terminal_that_goes_away_is_a_wish_to_stop(kit, monkeypatch):
    updated = Printer.updated

    def hang_up(printer, update):
        updated(printer, update)
        if update.batch == 2:
            os.kill(os.getpid(), signal.SIGHUP)

    monkeypatch.setattr(Printer, "updated", hang_up)
    assert command() == 130
    assert names("backup") == ["chart.png", "tiny.backup", "tiny.resume"]


def test_nohup_stays():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals(1) as told:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not told.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no terminals here")
def test_what_is_printed_to_a_terminal_that_has_gone_is_dropped():
    code = (
        "import os, signal, sys\nfrom darknet_py.cli.signals import stop_signals\n"
        "with stop_signals(1) as told:\n    print('ready', flush=True)\n"
        "    while not told.is_set():\n        signal.pause()\n    print('more', flush=True)\n"
        "os.write(int(sys.argv[1]), b'saved')\n"
    )
    read, write = os.pipe()
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(write)], stdout=theirs, stderr=theirs, stdin=theirs, env=ENVIRONMENT,
        pass_fds=(write,), start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    os.close(write)
    shown = b""
    while not shown.endswith(b"\n"):  # the terminal writes it in two parts
        shown += os.read(ours, 16)
    assert shown == b"ready\r\n"
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == b"saved"
    assert process.wait() == 0


# Several processes


def test_gpus_that_are_not_there(kit, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for gpus in ("0,1", "0", "3"):
        assert command("-gpus", gpus) == 1
        assert capsys.readouterr().err.splitlines() == [
            f"darknet-py: -gpus {gpus}: there is no GPU that torch can use; -nogpu trains on the CPU"
        ]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_gpus((0, 1))
    with pytest.raises(DarknetError, match="-gpus 1,2: GPUs are counted from 0, and there are 2; "):
        check_gpus((1, 2))


def test_mistakes_are_told_once_before_processes_start(kit, capsys, monkeypatch):
    monkeypatch.setattr("darknet_py.train.launch", None)
    assert main(["detector", "train", "all.data", "no.cfg", "-gpus", "0,1", "-nogpu"]) == 1
    assert capsys.readouterr().err == "darknet-py: no.cfg: cannot be read: No such file or directory\n"


def test_gpus_of_those_that_are_visible(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert _visible((0, 2)) == "0,2"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,GPU-7")
    assert _visible((0, 2)) == "4,GPU-7"


def test_a_process_that_fails_ends_the_others(monkeypatch, tmp_path):
    """The second of two processes fails at once, and the first would go on for ever."""
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\n[ "$RANK" = 1 ] && exit 7\nexec sleep 600\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    assert launch((0, 1), []) == 7


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_under_gpus_is_one_line_and_saves(kit, number):
    """A signal that the terminal sends to all processes."""
    detector(kit / "long.cfg", max_batches=100000)
    process = subprocess.Popen(
        [sys.executable, "-m", "darknet_py", "detector", "train", "all.data", "long.cfg", "-gpus", "0,1", "-nogpu"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, start_new_session=True,
    )  # fmt: skip
    for line in process.stdout:
        if line.endswith(" images\n"):
            break
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    wanted = (
        r"darknet-py: finishing this batch, then saving; once more ends at once",
        rf"Saving weights to {kit}/backup/long.backup",
        r"darknet-py: stopped after batch \d+; the same command with --resume goes on",
    )
    lines = err.splitlines()
    assert len(lines) == len(wanted), err
    assert all(re.fullmatch(pattern, line) for pattern, line in zip(wanted, lines, strict=True)), err
    assert (kit / "backup" / "long.resume").exists()
    assert ".lock" not in names(kit / "backup")
