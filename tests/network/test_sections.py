"""The cfg that a graph writes: what was read, with all that changed since."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darknet_py.cfg import dumps
from darknet_py.cfg.keys import fields_of
from darknet_py.convert import beginning, fold
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.network.net import Net
from darknet_py.surgery import normalize
from tests.support.places import GOLDEN, needs_official, official_cfgs
from tests.support.recordings import read_graph

CFG = """[net]
height = 64
width=64
channels=3
learning_rate=0.25

[crop]
crop_width=32
crop_height=32

[convolutional]
batch_normalize=1
filters=4
size=3
pad=1
activation=leaky

[convolutional]
filters=18

[yolo]
mask=0,2,1
anchors=1,2, 3,4, 5.5,6
num=3
classes=1
"""


def again(graph: Graph) -> Graph:
    """What is read of the cfg that a graph writes."""
    return Graph.parse(dumps(graph.to_sections()), graph.source, strict=True)


def as_values(graph: Graph) -> tuple:
    return graph.net, graph.nodes


def test_sections_that_say_it_all_stay_as_they_were_read():
    graph = Graph.parse(CFG)
    assert graph.to_sections() == graph.sections


@pytest.mark.parametrize("cfg", sorted(GOLDEN.rglob("*.cfg")), ids=lambda path: path.stem)
def test_every_recorded_cfg_stays_as_it_was_read(cfg):
    graph = read_graph(cfg)
    assert graph.to_sections() == graph.sections


@needs_official
@pytest.mark.parametrize("cfg", official_cfgs(), ids=lambda path: path.stem)
def test_every_official_cfg_stays_as_it_was_read(cfg, monkeypatch):
    monkeypatch.chdir(cfg.parents[1])
    graph = read_graph(cfg)
    assert graph.to_sections() == graph.sections


def test_another_size_is_said_where_the_old_one_was():
    graph = Graph.parse(CFG).resized(96, 128)
    assert as_values(again(graph)) == as_values(graph)
    first, crop, *rest = graph.to_sections()
    assert [str(entry) for entry in first.entries] == [
        "height=128", "width=96", "channels=3", "learning_rate=0.25",
    ]  # fmt: skip
    assert [str(entry) for entry in crop.entries] == ["crop_width=48", "crop_height=64"]
    assert tuple(rest) == graph.sections[2:]


def test_surgery_is_said():
    network = Network(Graph.parse(CFG))
    network.resize(96, 96)
    for changed in (normalize(network), fold(network), beginning(network, 3)):
        assert as_values(again(changed.graph)) == as_values(changed.graph)
        assert again(changed.graph).input_shape == (3, 96, 96)


values = st.fixed_dictionaries(
    {},
    optional={
        "momentum": st.floats(-1e30, 1e30),
        "batch": st.integers(1, 2**31 - 1),
        "adam": st.booleans(),
        "policy": st.sampled_from(["constant", "exp"]),
        "steps": st.lists(st.integers(-9, 9), max_size=3).map(tuple),
        "scales": st.lists(st.floats(-9, 9), max_size=3).map(tuple),
        "max_crop": st.none() | st.integers(0, 99),
    },
)


@settings(deadline=None)
@given(values=values)
def test_any_values_of_keys_come_back(values):
    graph = Graph.parse(
        CFG.replace("learning_rate=0.25", "policy=sigmoid\nmomentum=.5\nscales=1,2\nmax_crop=7\nadam=1")
    )
    net = Net(**{**{field.name: getattr(graph.net, field.name) for field in fields_of(Net).values()}, **values})
    assert again(Graph(net, graph.nodes, graph.source, graph.sections)).net == net
