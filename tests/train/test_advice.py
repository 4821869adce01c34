"""What is said of a cfg that training rarely wants, by `check` and when training starts."""

from __future__ import annotations

import pytest

from darknet_py import CfgError
from darknet_py.check import check
from darknet_py.data.boxes import box_head
from darknet_py.loss.criterion import truth_size
from darknet_py.network.graph import Graph
from darknet_py.train.advice import advice, differences
from darknet_py.train.settings import CLASSIFIER, DETECTOR
from darknet_py.train.sizes import Sizes

CFG = """[net]
width={side}
height={side}
channels=3
batch={batch}
max_batches={batches}
[convolutional]
filters=6
[region]
anchors=1,1
classes=1
num=1
random={random}
"""


def graph_of(side: int = 416, batch: int = 64, batches: int = 5000, random: int = 1, more: str = "") -> Graph:
    return Graph.parse(CFG.format(side=side, batch=batch, batches=batches, random=random) + more, "x.cfg")


def said(graph: Graph, sizes: Sizes | None = None) -> list[str]:
    return [str(found) for found in advice(graph, DETECTOR, sizes)]


def test_nothing_is_said_of_what_is_usual():
    assert not said(graph_of())
    assert not said(graph_of(random=0, side=64, batches=20))
    assert not [*differences(graph_of())]


def test_a_batch_of_one():
    (line,) = said(graph_of(batch=1))
    assert line.startswith("x.cfg:5: batch=1 makes an update of every single picture")
    assert "set batch=64 and subdivisions=8" in line


def test_a_batch_of_one_that_is_not_written():
    graph = Graph.parse(CFG.format(side=416, batch=1, batches=9000, random=0).replace("batch=1\n", ""), "x.cfg")
    assert [found.where.line for found in advice(graph, DETECTOR)] == [1]


def test_random_sizes_that_do_not_fit():
    (line,) = said(graph_of(side=64))
    assert line.startswith("x.cfg:13: random=1 trains at inputs from 320 to 608, and the cfg has 64 x 64: ")
    assert not said(graph_of(side=64), Sizes(32, 64))


def test_random_sizes_that_never_come():
    wanted = "x.cfg:13: max_batches=199: the last 200 batches of random=1 are all at 608; set random=0"
    assert said(graph_of(batches=199)) == [wanted]
    assert not said(graph_of(batches=200))
    assert not said(graph_of(batches=0))


def test_a_classifier_has_random_in_net():
    text = "[net]\nwidth=64\nheight=64\nchannels=3\nbatch=8\nrandom=1\n[avgpool]\n[softmax]\n"
    (found,) = advice(Graph.parse(text, "x.cfg"), CLASSIFIER)
    assert str(found).startswith("x.cfg:6: random=1 trains at inputs from 128 to 448, and the cfg has 64 x 64")


def test_more_truths_than_the_original_takes():
    graph = graph_of(more="max=200\n")
    (found,) = differences(graph)
    assert str(found) == "x.cfg:14: max=200 in [region]: training takes that many truths per picture, the original 30"
    assert truth_size(graph) == 5 * 200
    assert box_head(graph.nodes[-1].layer).lay_out.keywords["most"] == 200
    fewer = graph_of(more="max=5\n")
    assert truth_size(fewer) == 5 * 30
    assert not [*differences(fewer)]


@pytest.mark.parametrize("head", ["region", "yolo"])
def test_more_truths_than_anybody_means_are_an_error(head):
    graph = Graph.parse(
        CFG.format(side=64, batch=1, batches=1, random=0).replace("region", head) + "max=2000000000\n", "x.cfg"
    )
    (found,) = differences(graph)
    assert found.message == "max=2000000000: training takes at most 10000 truths per picture, and refuses this"
    with pytest.raises(CfgError, match="more than 10000 truths per picture are not accepted"):
        truth_size(graph)
    with pytest.raises(CfgError, match="more than 10000 truths"):
        box_head(graph.nodes[-1].layer)


def test_a_step_below_0():
    text = CFG.replace("batch={batch}", "batch={batch}\npolicy=steps\nsteps=-1,100\nscales=.1,10")
    (found,) = advice(Graph.parse(text.format(side=416, batch=64, batches=9000, random=0), "x.cfg"), DETECTOR)
    assert str(found).startswith("x.cfg:7: a step below 0 is never reached")


def test_check_says_it_where_the_network_is_to_be_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.cfg").write_text(CFG.format(side=64, batch=1, batches=100, random=1) + "max=200\n")
    (tmp_path / "x.data").write_text("classes=1\ntrain=x.txt\n")
    always = [str(problem) for problem in check("x.cfg")]
    many = "max=200 in [region]: training takes that many truths per picture, the original 30"
    assert always == [f"x.cfg:14: warning: {many}"]
    assert len([problem for problem in check("x.cfg", data="x.data") if problem.where.file == "x.cfg"]) == 1
    (tmp_path / "x.txt").write_text("x.png\n")
    trained = [problem.where.line for problem in check("x.cfg", data="x.data") if problem.where.file == "x.cfg"]
    assert trained == [5, 13, 13, 14]
