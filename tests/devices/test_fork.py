"""Processes that were forked after torch has used several threads, which are not there in the new one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import GOLDEN

CODE = """
import os, signal, sys, torch
import numpy as np
import darknet_py
from darknet_py.network import Network
torch.set_num_threads(2)
cfg, weights, engine, kind = sys.argv[1:]
engine = engine or None
model = darknet_py.load(cfg, weights, device="cpu", engine=engine)
pictures = list(np.random.default_rng(0).integers(0, 256, (4, 300, 400, 3), dtype=np.uint8))
x = torch.rand(8, *model.network.input_shape.dims)
torch.rand(1000, 1000) @ torch.rand(1000, 1000)

def detect():
    return [len(found) for found in model.detect(pictures, thresh=0.1)]

def load():
    other = darknet_py.load(cfg, weights, device="cpu", engine=engine)
    return [len(found) for found in other.detect(pictures, thresh=0.1)]

def plain():
    with torch.no_grad():
        return [round(float(y.abs().mean()), 4) for y in model.network.heads(x)]

def build():
    return len(Network(model.network.graph, generator=torch.Generator().manual_seed(0)).train()(x))

look = {"detect": detect, "load": load, "plain": plain, "build": build}[kind]
wanted = look()
child = os.fork()
if child == 0:
    signal.alarm(60)  # which ends a process that waits
    os._exit(0 if look() == wanted and torch.get_num_threads() == 1 else 3)
print(os.waitpid(child, 0)[1], look() == wanted, torch.get_num_threads())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize(
    ("engine", "kind"), [("plain", "detect"), ("", "detect"), ("", "load"), ("plain", "plain"), ("", "build")]
)
def test_a_forked_process_computes_with_one_thread(engine, kind):
    files = [str(GOLDEN / "boxes" / f"boxes_region.{suffix}") for suffix in ("cfg", "weights")]
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE, *files, engine, kind], check=False,
        capture_output=True, text=True, timeout=200, cwd=Path(__file__).parents[2],
        env={name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"},
    )  # fmt: skip
    assert (process.stdout.split(), process.stderr) == (["0", "True", "2"], "")
