"""Starts one process per GPU, passes signals on and waits for the end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import torch

from darknet_py.errors import DarknetError

STOPPED: Final = 130  # exit code of a run that saved and ended after a signal
PATIENCE: Final = 0.1  # seconds between two looks at each process


def check_gpus(devices: Sequence[int]) -> None:
    """Raise `DarknetError` if a GPU does not exist."""
    count = torch.cuda.device_count()
    if devices and max(devices) >= count:
        there = f"GPUs are counted from 0, and there are {count}" if count else "there is no GPU that torch can use"
        raise DarknetError(f"-gpus {','.join(map(str, devices))}: {there}; -nogpu trains on the CPU")


def launch(devices: Sequence[int], argv: Sequence[str]) -> int:
    """Run `python -m darknet_py ARGV` in one process per GPU; returns the exit code.

    Signals are passed on to the processes. If one fails, the others are ended, because they would wait for it for ever.
    """
    port, size = str(_free_port()), str(len(devices))
    common = {
        **os.environ, "CUDA_VISIBLE_DEVICES": _visible(devices), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
        "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size,
    }  # fmt: skip
    common.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // len(devices))))
    command = [sys.executable, "-m", "darknet_py", *argv]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        with _passing_on(processes):
            for rank in map(str, range(len(devices))):
                own = {**common, "RANK": rank, "LOCAL_RANK": rank}
                processes.append(subprocess.Popen(command, env=own))  # noqa: S603
            return _waited_for(processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _visible(devices: Sequence[int]) -> str:
    """The value of CUDA_VISIBLE_DEVICES for a choice from the GPUs that it shows to this process."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return ",".join(seen[device] if device < len(seen) and seen[device] else str(device) for device in devices)


@contextmanager
def _passing_on(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Pass the signals of this process on to others."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: object) -> None:
        for process in processes:
            process.send_signal(number)

    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    taken = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in taken}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _waited_for(processes: Sequence[subprocess.Popen[bytes]]) -> int:
    """The exit code of the processes: 0, or that of the first that fails."""
    running = list(processes)
    while running:
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
        codes = [process.poll() for process in running]
        failed = [code for code in codes if code not in (None, 0, STOPPED)]
        if failed:
            return failed[0] if failed[0] > 0 else 128 - failed[0]
        running = [process for process, code in zip(running, codes, strict=True) if code is None]
    return max(process.returncode for process in processes)


def _free_port() -> int:
    """A free port of this machine."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
    return port
