"""Tiny networks learn: from nothing to unseen pictures, and eight pictures by heart."""

from __future__ import annotations

import pytest
import torch

from darknet_py.cfg import read_data
from darknet_py.data import DetectionData
from darknet_py.evaluate import measure
from darknet_py.evaluate.truths import valid_paths
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.train import History, Observer, TrainSettings, train
from tests.support.drawn import data_file, detector, pictures
from tests.support.places import takes_long

SIZE = (112, 96)
NET = {"widths": (8, 16, 32, 32), "side": 96, "batch": 8, "subdivisions": 1, "anchors": "3,3, 5,5"}


class Best(Observer):
    """Remembers the mean average precision each time it is measured."""

    def __init__(self):
        self.found = []

    def measured(self, batch, scores):
        self.found.append(scores.mean_average_precision())

    def is_perfect(self):
        return max(self.found, default=0) == 1


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_learns_to_find_shapes_in_pictures_it_has_not_seen(tmp_path):
    lists = (pictures(tmp_path / "train", 60, seed=1, size=SIZE), pictures(tmp_path / "valid", 30, seed=2, size=SIZE))
    data = read_data(data_file(tmp_path, *lists))
    schedule = "burn_in=100\npolicy=steps\nsteps=500\nscales=.1"
    graph = Graph.read(detector(tmp_path / "tiny.cfg", rate=0.001, max_batches=600, more=schedule, **NET))
    network = Network(graph, generator=torch.Generator().manual_seed(0))
    history, valid = History(), valid_paths(data)
    before = measure(network, valid).mean_average_precision()
    train(network, DetectionData.from_cfg(graph, data), TrainSettings(), history=history)
    averages = history.losses[:, 2]
    assert averages[-1] < averages[0] / 10
    assert before < 0.2
    assert measure(network, valid).mean_average_precision() > 0.75


@takes_long
def test_learns_eight_pictures_by_heart(tmp_path):
    data = read_data(data_file(tmp_path, pictures(tmp_path, 8, seed=1, size=SIZE)))
    schedule = "burn_in=100\npolicy=steps\nsteps=800\nscales=.1"
    path = detector(tmp_path / "tiny.cfg", rate=0.002, max_batches=900, more=schedule, jitter=0, **NET)
    graph, best = Graph.read(path), Best()
    network = Network(graph, generator=torch.Generator().manual_seed(0))
    settings = TrainSettings(valid=valid_paths(data), map_every=100)
    train(network, DetectionData.from_cfg(graph, data), settings, observers=[best], stop=best.is_perfect)
    assert best.found[0] < 1
    assert measure(network, valid_paths(data)).mean_average_precision() == 1
