"""The files in cfg/ describe the same networks as the official ones of the same name."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from darknet_py import cfg
from darknet_py.errors import CfgWarning
from darknet_py.network.graph import Graph
from tests.support.places import OFFICIAL, needs_official
from tests.support.recordings import read_graph

SHIPPED = Path(__file__).parents[2] / "cfg"
NAMES = ("yolov2", "yolov2-voc", "yolov2-tiny", "yolov2-tiny-voc", "yolo9000", "darknet19", "darknet19_448")
OWN = ("shapes", "shapes9")


def test_every_shipped_cfg_is_tested_here():
    assert {path.stem for path in SHIPPED.glob("*.cfg")} == {*NAMES, *OWN}


@pytest.mark.parametrize("name", NAMES + OWN)
def test_it_has_no_unknown_or_repeated_key(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error", CfgWarning)
        Graph.read(SHIPPED / f"{name}.cfg", strict=True)


@needs_official
@pytest.mark.parametrize("name", NAMES)
def test_it_parses_to_the_same_graph_as_the_official_one(name):
    mine, official = read_graph(SHIPPED / f"{name}.cfg"), read_graph(OFFICIAL / "cfg" / f"{name}.cfg")
    assert mine.net == official.net
    assert [node.layer for node in mine.nodes] == [node.layer for node in official.nodes]
    assert [node.shape for node in mine.nodes] == [node.shape for node in official.nodes]


@needs_official
@pytest.mark.parametrize("name", ["coco", "voc"])
def test_names_are_the_official_ones(name):
    official = cfg.read_names(OFFICIAL / "data" / f"{name}.names")
    assert cfg.read_names(SHIPPED / f"{name}.names") == official
    assert cfg.read_data(SHIPPED / f"{name}.data").names() == official
