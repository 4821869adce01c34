"""How the losses of a network's layers come together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from darknet_py.errors import CfgError, DarknetError
from darknet_py.layers.cost import COSTS
from darknet_py.loss import LOSSES
from darknet_py.loss.criterion import Criterion, truth_size
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from tests.support.losses import TRAIN, first_step
from tests.support.places import needs_official, official_cfgs
from tests.support.recordings import read_graph, relative_difference

NET = "[net]\nwidth=4\nheight=4\nchannels=3\n"
CONV = "[convolutional]\nfilters={}\nsize=1\nactivation=linear\n"
TO_FIRST = "[route]\nlayers=0\n"
POOLED = CONV.format(5) + "[avgpool]\n"
YOLO = "[yolo]\nanchors=1,1, 3,3\nnum=2\nmask={}\nclasses=2\n"


def criterion_of(text: str) -> Criterion:
    graph = Graph.parse(NET + text)
    return Criterion(Network(graph, generator=torch.Generator().manual_seed(0)).train())


def images(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def one_hot(criterion: Criterion, count: int = 2) -> torch.Tensor:
    return torch.eye(criterion.truth_size)[:count]


def boxes(count: int = 2) -> torch.Tensor:
    truth = torch.zeros(count, 90, 5)
    truth[:, 0] = torch.tensor([0.3, 0.4, 0.2, 0.3, 1])
    truth[:, 1] = torch.tensor([0.8, 0.6, 0.9, 0.7, 0])
    return truth.flatten(1)


def gradients(text: str, truth: torch.Tensor) -> tuple[torch.Tensor, float]:
    """By the weights of the first layer, and the cost."""
    criterion = criterion_of(text)
    losses = criterion(images(len(truth)), truth, 1)
    losses.objective.backward()
    weight = criterion.network.layers[0].conv.weight
    assert weight.grad is not None
    return weight.grad, float(losses.cost)


def test_cost_after_softmax_adds_to_its_delta_as_it_is():
    """Both are truth minus probability, which the C program's end.weights bear out; the recorded delta is [cost]'s."""
    first = first_step("classifier_cost", 5)
    assert relative_difference(first.delta / 2, first.recording["delta"]) < 1e-6
    assert float(first.losses.cost) == pytest.approx(float(first.recording["cost"][0]), rel=1e-6)


@pytest.mark.parametrize(
    ("heads", "factor"),
    [
        ("[softmax]\n", 1.0),
        ("[softmax]\n[cost]\nscale=0.25\n", 1.25),
        ("[softmax]\nnoloss=1\n[cost]\nscale=0.25\n", 0.25),
        ("[softmax]\n[softmax]\nnoloss=1\n[cost]\nscale=0\n", 1.0),
        ("[softmax]\n" + "[route]\nlayers=-2\n[softmax]\n", 2.0),
        ("[softmax]\nonlyforward=1\n", 1.0),  # it counts in [region] and [yolo] alone
    ],
)
def test_deltas_of_classifiers_add_up(heads, factor):
    plain, _ = gradients(POOLED + "[softmax]\n", torch.eye(5)[:2])
    found, _ = gradients(POOLED + heads, torch.eye(5)[:2])
    torch.testing.assert_close(found, factor * plain)


def test_the_cost_is_the_mean_of_all_layers_that_have_one():
    _, softmax = gradients(POOLED + "[softmax]\n", torch.eye(5)[:2])
    _, both = gradients(POOLED + "[softmax]\n[cost]\n", torch.eye(5)[:2])
    _, cost = gradients(POOLED + "[softmax]\nnoloss=1\n[cost]\n", torch.eye(5)[:2])
    assert both == pytest.approx((softmax + 2 * cost) / 2, rel=1e-5)  # with noloss it is 0, and counts


def test_two_heads_add_their_gradients_and_share_the_cost():
    conv = CONV.format(7)
    truth = boxes()
    (first, first_cost), (second, second_cost) = (gradients(conv + YOLO.format(n), truth) for n in (0, 1))
    both, cost = gradients(conv + YOLO.format(0) + TO_FIRST + YOLO.format(1), truth)
    torch.testing.assert_close(both, first + second)
    assert cost == pytest.approx((first_cost + second_cost) / 2)
    criterion = criterion_of(conv + YOLO.format(0) + TO_FIRST + YOLO.format(1))
    losses = criterion(images(), truth, 1)
    lines = criterion.lines([numbers.tolist() for numbers in losses.statistics])
    assert [line.split(" Avg")[0] for line in lines] == ["Region 1", "Region 3"]
    assert [line.rpartition(" ")[2] for line in lines] == ["2", "2"]


def test_onlyforward_heads_cost_nothing_and_count():
    conv = CONV.format(7)
    truth = boxes()
    first, first_cost = gradients(conv + YOLO.format(0), truth)
    heads = YOLO.format(0) + TO_FIRST + YOLO.format(1) + "onlyforward=1\n"
    both, cost = gradients(conv + heads, truth)
    torch.testing.assert_close(both, first)
    assert cost == pytest.approx(first_cost / 2)
    assert len(criterion_of(conv + heads)(images(), truth, 1).statistics) == 1


def test_truth_makes_an_output_the_truth_of_later_losses():
    text = CONV.format(2) + CONV.format(2) + "truth=1\n" + TO_FIRST + "[cost]\n"
    criterion = criterion_of(text)
    losses = criterion(images(), torch.zeros(2, 32), 1)
    with torch.no_grad():
        first, second = criterion.network.tap(images(), [0, 1]).values()
    assert float(losses.cost) == pytest.approx(float((second - first).square().sum()), rel=1e-5)
    losses.objective.backward()
    own, other = (criterion.network.layers[n].conv.weight.grad for n in (0, 1))
    assert own.abs().max() > 0
    assert other is None


def test_nothing_up_to_stopbackward_learns_and_its_cost_counts():
    text = CONV.format(7) + YOLO.format(0) + "{}" + TO_FIRST + CONV.format(7) + YOLO.format(1)
    free, stopped = criterion_of(text.format("")), criterion_of(text.format("stopbackward=1\n"))
    for criterion in (free, stopped):
        losses = criterion(images(), boxes(), 1)
        losses.objective.backward()
        assert len(losses.statistics) == 2
    assert float(losses.cost) == float(free(images(), boxes(), 1).cost)
    first, last = (stopped.network.layers[n].conv.weight.grad for n in (0, 3))
    assert first is None
    torch.testing.assert_close(last, free.network.layers[3].conv.weight.grad)


def test_statistics_and_cost_carry_no_gradient():
    losses = criterion_of(CONV.format(7) + YOLO.format(0))(images(), boxes(), 1)
    assert losses.objective.requires_grad
    assert not losses.cost.requires_grad
    assert not losses.statistics[0].requires_grad


def test_under_autocast_losses_are_float32():
    criterion = criterion_of(CONV.format(7) + YOLO.format(0))
    with torch.autocast("cpu", torch.bfloat16):
        losses = criterion(images(), boxes(), 1)
    assert losses.objective.dtype == losses.cost.dtype == losses.statistics[0].dtype == torch.float32
    exact = criterion(images(), boxes(), 1)
    assert float(losses.cost) == pytest.approx(float(exact.cost), rel=0.02)
    losses.objective.backward()


def test_notruth_is_without_effect():
    plain, cost = gradients(POOLED + "[softmax]\n", torch.eye(5)[:2])
    graph = Graph.parse(NET + "notruth=1\n" + POOLED + "[softmax]\n")
    criterion = Criterion(Network(graph, generator=torch.Generator().manual_seed(0)).train())
    losses = criterion(images(), torch.eye(5)[:2], 1)
    losses.objective.backward()
    torch.testing.assert_close(criterion.network.layers[0].conv.weight.grad, plain)
    assert float(losses.cost) == cost


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CONV.format(2), r"nothing to train with; that takes \[region\], \[yolo\]"),
        (CONV.format(7) + YOLO.format(0) + "onlyforward=1\n", "nothing to train with"),
        (POOLED + "[softmax]\nnoloss=1\n", "nothing to train with"),
        ("[cost]\n", "no weights to train"),
        (CONV.format(7) + "stopbackward=1\n" + YOLO.format(0), "stopbackward leaves none"),
        (CONV.format(7) + YOLO.format(0) + "stopbackward=1\n" + CONV.format(1), "stopbackward leaves none"),
        (CONV.format(3) + "[iseg]\nclasses=1\nids=2\n", r"\[iseg\] is not trained here"),
        (POOLED + "[softmax]\n" + TO_FIRST + CONV.format(7) + YOLO.format(0), r"\[softmax\] takes 5 values .* are 450"),
        (POOLED + "truth=1\n" + TO_FIRST + "[cost]\n", r"\[cost\] takes 80 values of truth a picture, and there are 5"),
    ],
)
def test_networks_that_cannot_be_trained_say_why(text, message):
    with pytest.raises(DarknetError, match=message):
        criterion_of(text)


def test_errors_of_a_layer_know_its_place():
    with pytest.raises(CfgError) as raised:
        criterion_of(CONV.format(3) + "[iseg]\nclasses=1\nids=2\n")
    assert raised.value.where is not None
    assert raised.value.where.line == 9


@pytest.mark.parametrize("shape", [(2, 449), (1, 450), (450,), (2, 90, 5)])
def test_a_truth_of_another_shape_is_an_error(shape):
    criterion = criterion_of(CONV.format(7) + YOLO.format(0))
    with pytest.raises(DarknetError, match=r"has to be \(2, 450\), and it is"):
        criterion(images(), torch.zeros(shape), 1)


@pytest.mark.parametrize("case", sorted(path.stem for path in TRAIN.glob("*.cfg")))
def test_truths_have_the_recorded_size(case):
    recording = np.load(TRAIN / f"{case}.npz")
    if case != "region_tree":  # of the other tree, whose rows are longer
        assert truth_size(read_graph(TRAIN / f"{case}.cfg")) == recording["truths"].shape[2]


@needs_official
def test_official_networks_can_be_trained():
    sizes = {}
    for path in official_cfgs():
        graph = read_graph(path)
        if any(node.layer in LOSSES for node in graph.nodes):
            sizes[path.stem] = truth_size(graph)
    assert sizes["yolov3"] == sizes["yolov3-tiny"] == 450
    assert sizes["yolov2"] == 150
    assert sizes["yolov1"] == 7 * 7 * 25
    assert sizes["darknet19"] == 1000


REGION = "[region]\nanchors=1,1\nclasses=2\ncoords=4\nnum=1\n"
DETECTION = "[detection]\nclasses=2\ncoords=4\nnum=1\nside=4\n"
META = [
    CONV.format(7) + YOLO.format(0) + "truth_thresh=0.5\n",
    CONV.format(7) + REGION + "rescore=1\n",
    CONV.format(7) + REGION + "softmax=1\nbias_match=1\n",
    CONV.format(7) + DETECTION + "sqrt=1\nrescore=1\n",
    CONV.format(7) + DETECTION + "random=1\nsoftmax=1\n",
    *(CONV.format(2) + f"[cost]\ntype={kind}\nsmooth=0.1\nthresh=0.1\n" for kind in COSTS),
    CONV.format(2) + "[logistic]\n[cost]\n",
    POOLED + "[softmax]\n[cost]\n",
]


@pytest.mark.parametrize("text", META)
def test_forward_asks_no_tensor_for_its_values(text):
    """On the meta device there are none; on a GPU each question would make the program wait."""
    criterion = criterion_of(text).to("meta")
    losses = criterion(images().to("meta"), torch.zeros(2, criterion.truth_size, device="meta"), 1)
    losses.objective.backward()
    assert losses.cost.device.type == "meta"
