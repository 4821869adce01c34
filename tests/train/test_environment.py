"""The C library's memory is kept where it can be, and only in a process that asks for it."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from darknet_py.train import environment, tune_malloc

FAULTS = """
import resource, sys
from darknet_py.train import tune_malloc
if sys.argv[1] == "tuned":
    assert tune_malloc()
import torch
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(1 << 24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()  # the heap finds its size
print([faults() for _ in range(3)][-1])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_that_is_freed_stays() -> None:
    def faults(name: str) -> int:
        run = subprocess.run([sys.executable, "-c", FAULTS, name], capture_output=True, check=True)
        return int(run.stdout)

    tuned = min(faults("tuned") for _ in range(2))  # once in a while other libraries lie where the heap would grow
    assert tuned < 100
    assert faults("plain") > 2 * tuned


def test_elsewhere_it_says_that_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.sys, "platform", "darwin")
    assert not tune_malloc()
    monkeypatch.setattr(environment.sys, "platform", "linux")
    monkeypatch.setattr(environment.ctypes, "CDLL", lambda _name: object())
    assert not tune_malloc()
