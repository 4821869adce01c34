"""Two processes train what one would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import darknet_py
from darknet_py.errors import DarknetError
from darknet_py.network.graph import Graph
from darknet_py.train import ALONE, World, distributed, joined, launch, share_of
from darknet_py.train.launch import _free_port
from darknet_py.train.step import _has_unused
from tests.support.networks import CONV, END, NET, build
from tests.support.places import ROOT
from tests.support.worker import CASES, result

WORKER = Path(__file__).parents[1] / "support" / "worker.py"


def net_of(batch: int, subdivisions: int, more: str = ""):
    keys = f"batch={batch}\nsubdivisions={subdivisions}\nwidth=4\nheight=4\nchannels=3\n{more}"
    return Graph.parse(f"[net]\n{keys}[softmax]\n").net


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, torch.Tensor]]:
    """What two processes came to."""
    out = tmp_path_factory.mktemp("together") / "states.pt"
    port = f"--master-port={_free_port()}"
    options = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1", port]
    ended = subprocess.run(
        [sys.executable, *options, str(WORKER), str(out)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return torch.load(out, weights_only=True)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_what_one_would(case, together):
    alone = result(case)
    assert together[case].keys() == alone.keys()
    for name, wanted in alone.items():
        if "num_batches" in name:
            continue
        difference = (together[case][name].double() - wanted.double()).abs().max()
        assert difference <= 1e-5 * wanted.abs().max(), name
    assert alone["seen"] == together[case]["seen"]


def test_the_mini_batches_go_to_the_processes_in_order():
    shares = [share_of(net_of(64, 8), World(rank, 4)) for rank in range(4)]
    assert [(share.first, share.count, share.rows) for share in shares] == [(0, 2, 8), (2, 2, 8), (4, 2, 8), (6, 2, 8)]
    assert share_of(net_of(64, 8)) == share_of(net_of(64, 8), ALONE)
    assert (share_of(net_of(64, 8)).count, share_of(net_of(64, 8)).rows) == (8, 8)


def test_too_few_mini_batches_are_split():
    share = share_of(net_of(64, 1), World(1, 2))
    assert (share.first, share.count, share.rows) == (1, 1, 32)
    share = share_of(net_of(24, 2), World(2, 3))
    assert (share.first, share.count, share.rows) == (4, 2, 4)
    share = share_of(net_of(4, 2, "time_steps=5\n"), World(0, 2))
    assert (share.count, share.rows) == (1, 10)


def test_a_batch_that_cannot_be_shared_is_an_error_of_one_line():
    with pytest.raises(DarknetError, match=r"<cfg>:1: batch=64 subdivisions=8: 3 .*multiple of 24"):
        share_of(net_of(64, 8), World(0, 3))


def test_without_torchrun_a_process_is_alone(monkeypatch):
    for name in distributed.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with joined() as world:
        assert world == ALONE
        assert world.is_first
        assert world.total(torch.ones(2)).tolist() == [1, 1]
        world.wait()
    with joined("meta") as world:
        assert world.device.type == "meta"


def test_what_torchrun_did_not_set_is_an_error(monkeypatch):
    for name in distributed.VARIABLES:
        monkeypatch.setenv(name, "two")
    with pytest.raises(DarknetError, match="RANK='two'"), joined():
        pass


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert distributed._device(None, 1, 2) == torch.device("cuda:1")
    assert distributed._device(None, 1, 3) == torch.device("cpu")  # as for the third, which has none
    assert distributed._device(torch.device("cuda"), 1, 2) == torch.device("cuda:1")
    assert distributed._device(torch.device("cpu"), 1, 2) == torch.device("cpu")
    for asked, size in (("cuda", 3), ("cuda:0", 2)):
        with pytest.raises(DarknetError, match="a GPU of its own"):
            distributed._device(torch.device(asked), 0, size)


def test_launch_starts_the_program_in_every_process(capfd):
    assert launch((0, 1), ["--version"]) == 0
    assert capfd.readouterr().out.count(darknet_py.__version__) == 2


@pytest.mark.parametrize(
    ("layers", "unused"),
    [(CONV, False), (CONV + "stopbackward=1\n", True), (CONV + CONV + "[route]\nlayers=0\n", True)],
)
def test_parameters_without_gradient_are_known(layers, unused):
    assert _has_unused(build(NET + layers + END)) is unused
