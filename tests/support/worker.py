"""What each process of test_distributed.py does: trains some networks, and the first writes what came out."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from darknet_py.network import Network
from darknet_py.train import ALONE, Stepper, World, joined
from tests.support.networks import BN, CONV, END, NET, batch, build

REGION = (
    "[net]\nbatch=8\nsubdivisions=4\nwidth=32\nheight=32\nchannels=3\nlearning_rate=.01\n"
    f"{BN}[maxpool]\nsize=2\nstride=2\n[convolutional]\nfilters=16\nsize=3\npad=1\nactivation=linear\n"
    "[region]\nnum=2\nclasses=3\nanchors=1,2,3,4\n"
)
CASES = {
    "bn": NET.replace("subdivisions=2", "subdivisions=4") + BN + BN + END,
    "split": NET.replace("subdivisions=2", "subdivisions=1") + CONV + END,  # mini-batches are split
    "dropout": NET + CONV + "[dropout]\nprobability=.3\n" + END,
    "frozen": f"{NET}adam=1\n{CONV}{BN}stopbackward=1\n[connected]\noutput=5\n[softmax]\n",
    "region": REGION,
}
SEEN = {"region": 12800 - 12}  # the prior term ends within the second update
UPDATES = 3


def samples(name: str, network: Network, update: int) -> tuple[Tensor, Tensor]:
    """A whole batch."""
    images, truth = batch(network, 8, update)
    if name == "region":
        truth = torch.rand(8, 30, 5, generator=torch.Generator().manual_seed(update))
        truth[:, 3:], truth[:, :, 4] = 0, truth[:, :, 4] * 3 // 1
        truth = truth.flatten(1)
    return images, truth


def result(name: str, world: World = ALONE) -> dict[str, Tensor]:
    """The network's state after the updates, and all costs added up."""
    network = build(CASES[name], seed=world.rank)  # DistributedDataParallel takes the weights of the first
    network.seen = SEEN.get(name, 0)
    stepper = Stepper(network, world=world)
    cost = torch.zeros(())
    share = stepper.share
    for update in range(UPDATES):
        parts = [part.split(share.rows) for part in samples(name, network, update)]
        for place in range(share.first, share.first + share.count):
            cost += stepper.accumulate(parts[0][place], parts[1][place]).cost
        stepper.update()
    return {**network.state_dict(), "cost": world.total(cost), "seen": torch.tensor(network.seen)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined() as found:
        states = {name: result(name, found) for name in CASES}
        if found.is_first:
            torch.save(states, Path(sys.argv[1]))
