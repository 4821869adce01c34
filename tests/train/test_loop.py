"""`train`: what it reports, saves, measures, and how it ends."""

from __future__ import annotations

import csv
import math
import sys

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from darknet_py.cfg import read_data
from darknet_py.data import ClassifierData, DetectionData, Key
from darknet_py.errors import CfgError, DarknetError
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.train import (
    MANNERS,
    Chart,
    Checkpoint,
    CsvLog,
    History,
    Observer,
    Stepper,
    TensorBoard,
    TrainSettings,
    Update,
    default_workers,
    train,
)
from darknet_py.train.finite import blame_output, blame_weights
from darknet_py.train.observers import POINTS
from darknet_py.train.plan import Plan
from tests.support.drawn import classifier, data_file, detector, pictures


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return read_data(data_file(folder, pictures(folder, 6)))


def prepared(path, data, seed=0, **cfg):
    graph = Graph.read(detector(path / "tiny.cfg", **cfg))
    network = Network(graph, generator=torch.Generator().manual_seed(seed))
    return network, DetectionData.from_cfg(graph, data, seed=seed)


def run(path, data, settings=None, seed=0, resumed=None, observers=(), stop=lambda: False, **cfg):
    """Train; gives the network, the updates and the result."""
    network, samples = prepared(path, data, seed, **cfg)
    updates: list[Update] = []
    result = train(
        network, samples, settings, resumed=resumed, observers=observers, on_update=updates.append, stop=stop
    )  # fmt: skip
    return network, updates, result


class Recorder(Observer):
    def __init__(self):
        self.events = []

    def started(self, batch, end):
        self.events.append(("started", batch, end))

    def measured(self, batch, scores):
        self.events.append(("measured", batch))

    def saved(self, path):
        self.events.append(("saved", path.name))

    def failed(self, message):
        self.events.append(("failed", message))

    def finished(self):
        self.events.append(("finished",))


def asked_times(count):
    """Says stop when it is asked for the time `count`."""
    answers = iter([False] * (count - 1))
    return lambda: next(answers, True)


def update(batch=1, **changes):
    values = {
        "batch": batch, "loss": 2.0, "average": 3.0, "rate": 0.1, "seconds": 0.5, "loaded": 0.5, "pictures": 4,
        "seen": 4 * batch, "listed": 6, "size": (32, 64), "resized": False, "lines": (),
    }  # fmt: skip
    return Update(**{**values, **changes})


def test_losses_are_darknets(tmp_path, data):
    network, updates, result = run(tmp_path, data)
    assert [update.batch for update in updates] == [1, 2, 3, 4, 5, 6]
    assert [update.seen for update in updates] == [4, 8, 12, 16, 20, 24]
    assert (result.batch, result.updates, result.complete, result.stopped, result.saved) == (6, 6, True, False, None)
    assert network.seen == 24
    average = updates[0].loss
    for one in updates:
        average = 0.9 * average + 0.1 * one.loss
        assert one.average == pytest.approx(average)
    assert result.average == updates[-1].average
    assert all(len(one.lines) == 2 for one in updates)  # a region layer, two subdivisions
    assert updates[3].epoch == pytest.approx(16 / 6)
    assert updates[0].size == (32, 32)


def test_a_loss_is_that_of_a_picture(tmp_path, data):
    network, samples = prepared(tmp_path, data, max_batches=1)
    stepper = Stepper(network)
    cost = 0.0
    for first in (0, 2):
        made = [samples[Key(first + n, 32, 32)] for n in range(2)]
        images, truth = (torch.stack(parts) for parts in zip(*made, strict=True))
        cost += float(stepper.accumulate(images, truth).cost)
    _, updates, _ = run(tmp_path, data, max_batches=1)
    assert updates[0].loss == pytest.approx(cost / 4, rel=1e-6)


def test_the_same_seed_gives_the_same_run_and_workers_change_nothing(tmp_path, data):
    first, second = run(tmp_path, data, seed=4), run(tmp_path, data, TrainSettings(workers=2), seed=4)
    other = run(tmp_path, data, seed=5)
    assert [one.loss for one in first[1]] == [one.loss for one in second[1]] != [one.loss for one in other[1]]
    pairs = zip(first[0].state_dict().values(), second[0].state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_saves_as_the_detector_command_does(tmp_path, data):
    recorder, folder = Recorder(), tmp_path / "backup"
    _, _, result = run(tmp_path, data, TrainSettings(folder, save_every=4), observers=[recorder], max_batches=9)
    assert recorder.events == [
        ("started", 0, 9), ("saved", "tiny.backup"), ("saved", "tiny.backup"), ("saved", "tiny.backup"),
        ("saved", "tiny_final.weights"), ("finished",),
    ]  # fmt: skip
    assert result.saved == folder / "tiny_final.weights"
    assert (folder / "tiny.backup").read_bytes() == (folder / "tiny_final.weights").read_bytes()


@pytest.mark.parametrize(
    ("manner", "numbers"),
    [("detector", [100, 200, 900, 10000, 20000]), ("yolo", [100, 200, 900, 1000, 2000, 10000, 15000, 20000])],
)
def test_numbered_weights_of_detectors(manner, numbers):
    batches = (1, 99, 100, 200, 900, 1000, 1100, 2000, 10000, 15000, 20000)
    number = MANNERS[manner].number
    assert [found for batch in batches if (found := number(update(batch))) is not None] == numbers


def test_numbered_weights_of_classifiers_are_epochs():
    number = MANNERS["classifier"].number
    assert [number(update(batch)) for batch in (1, 2, 3, 4)] == [None, 1, 2, None]  # 6 in the list, 4 a batch
    assert number(update(5, pictures=40, seen=40)) == 6


def test_ends_early_and_goes_on(tmp_path, data):
    folder = tmp_path / "backup"
    _, updates, result = run(tmp_path, data, TrainSettings(folder, batches=2))
    assert (result.batch, result.complete, result.saved) == (2, False, folder / "tiny.backup")
    assert not (folder / "tiny_final.weights").exists()
    checkpoint = Checkpoint.read(folder / "tiny.resume")
    _, rest, result = run(tmp_path, data, TrainSettings(folder), resumed=checkpoint)
    assert [one.batch for one in rest] == [3, 4, 5, 6]
    assert (result.updates, result.complete) == (4, True)
    straight = run(tmp_path, data, TrainSettings(tmp_path / "other"))
    assert [one.loss for one in straight[1]] == [one.loss for one in updates + rest]
    assert [one.average for one in straight[1]] == [one.average for one in updates + rest]
    names = ("tiny.backup", "tiny_final.weights")
    assert all((folder / name).read_bytes() == (tmp_path / "other" / name).read_bytes() for name in names)


def test_stops_after_an_update_when_it_is_told_to(tmp_path, data):
    recorder = Recorder()
    _, updates, result = run(tmp_path, data, TrainSettings(tmp_path), observers=[recorder], stop=asked_times(4))
    assert (len(updates), result.batch, result.stopped, result.complete) == (4, 4, True, False)
    assert recorder.events[1:] == [("saved", "tiny.backup"), ("finished",)]


def test_measures_and_leaves_the_network_as_it_was(tmp_path, data):
    recorder, history = Recorder(), History()
    network, samples = prepared(tmp_path, data, random=1)
    settings = TrainSettings(tmp_path, valid=read_paths(data), map_every=4, sizes=(64, 64))
    train(network, samples, settings, observers=[recorder], history=history)
    assert [event for event in recorder.events if event[0] == "measured"] == [("measured", 4), ("measured", 6)]
    assert history.scores[:, 0].tolist() == [4, 6]
    plain, _ = prepared(tmp_path, data, random=1)
    train(plain, samples, TrainSettings(sizes=(64, 64)))
    pairs = zip(network.state_dict().values(), plain.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert network.training


def read_paths(data):
    return data.path("valid").read_text().split()


def test_a_list_that_cannot_be_measured_does_not_end_the_run(tmp_path, data):
    recorder = Recorder()
    settings = TrainSettings(tmp_path, valid=["nothing.png"], map_every=6)
    _, _, result = run(tmp_path, data, settings, observers=[recorder])
    assert result.complete
    assert "not measured: " in recorder.events[1][1]


def test_stopped_while_it_measures(tmp_path, data):
    settings = TrainSettings(tmp_path, valid=read_paths(data), map_every=2)
    recorder = Recorder()
    _, _, result = run(tmp_path, data, settings, observers=[recorder], stop=asked_times(3))
    assert (result.batch, result.stopped) == (2, True)
    assert [event[0] for event in recorder.events] == ["started", "saved", "finished"]


def test_sizes_change_every_ten_batches(tmp_path, data):
    _, updates, _ = run(
        tmp_path, data, TrainSettings(batches=21, sizes=(32, 96)), random=1, max_batches=400, widths=(2, 2, 2)
    )  # fmt: skip
    assert [one.batch for one in updates if one.resized] == [1, 11, 21]
    sizes = {one.size for one in updates}
    assert sizes <= {(32, 32), (64, 64), (96, 96)}
    assert len(sizes) > 1


def test_sizes_without_random(tmp_path, data):
    with pytest.raises(CfgError, match=r"tiny\.cfg:1: sizes can be chosen for random=1"):
        run(tmp_path, data, TrainSettings(sizes=(32, 64)))


def test_there_has_to_be_something_left_to_do(tmp_path, data):
    with pytest.raises(CfgError, match=r"tiny\.cfg:1: \[net\] max_batches is 0 or missing"):
        run(tmp_path, data, max_batches=0)
    network, samples = prepared(tmp_path, data)
    network.seen = 24
    with pytest.raises(CfgError, match="max_batches=6, and the weights have seen 6 already: .* -clear"):
        train(network, samples)


def test_a_classifier_may_train_without_end(tmp_path, data):
    graph = Graph.read(classifier(tmp_path / "tiny.cfg", max_batches=0))
    plan = Plan.of(TrainSettings(manner=MANNERS["classifier"]), graph, 0)
    assert (plan.last, plan.end) == (None, sys.maxsize)
    samples = ClassifierData.from_cfg(graph, data)
    settings = TrainSettings(tmp_path, manner=MANNERS["classifier"], batches=3)
    result = train(Network(graph), samples, settings)
    assert (result.batch, result.complete) == (3, False)
    assert sorted(path.name for path in tmp_path.glob("*.weights")) == ["tiny_1.weights", "tiny_2.weights"]


def test_saving_that_fails_does_not_end_the_run_but_its_end(tmp_path, data, monkeypatch):
    recorder = Recorder()

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.save", full)
    with pytest.raises(DarknetError, match="cannot be written: No space left"):
        run(tmp_path, data, TrainSettings(tmp_path, save_every=4), observers=[recorder])
    assert [event[0] for event in recorder.events] == ["started", "failed", "finished"]
    assert recorder.events[1][1].endswith("No space left on device; training goes on")


def test_not_finite(tmp_path, data):
    recorder = Recorder()
    run(tmp_path, data, TrainSettings(tmp_path, batches=2))
    kept = {path.name: path.read_bytes() for path in tmp_path.glob("tiny.[br]*")}
    with pytest.raises(DarknetError, match=r"no longer finite in batch [45]: .*layer \d.*; .*tiny\.resume is the last"):
        run(
            tmp_path, data, TrainSettings(tmp_path), rate=1e30, observers=[recorder],
            resumed=Checkpoint.read(tmp_path / "tiny.resume"),
        )  # fmt: skip
    assert {path.name: path.read_bytes() for path in tmp_path.glob("tiny.[br]*")} == kept
    assert recorder.events[-1] == ("finished",)


def test_weights_that_are_not_finite_are_not_saved(tmp_path, data):
    with pytest.raises(DarknetError, match=r"after batch 1: the last update made the weights of layer \d.*nothing was"):
        run(tmp_path, data, TrainSettings(tmp_path, save_every=1), rate=1e38, normalized=0)
    assert not list(tmp_path.glob("tiny*s")) + list(tmp_path.glob("tiny.[br]*"))


def test_what_is_blamed(tmp_path, data):
    network, _ = prepared(tmp_path, data, normalized=0)
    images = torch.rand(1, 3, 32, 32)
    assert "all layers' outputs are finite" in blame_output(network, images)
    assert blame_weights(network) is None
    network.layers[0].conv.weight.data.fill_(1e20)
    network.layers[2].conv.weight.data.fill_(1e20)
    assert blame_output(network, images) == "first in the output of layer 2 [convolutional]"
    network.layers[2].conv.weight.data.fill_(math.nan)
    assert "weights of layer 2 [convolutional] infinite" in blame_weights(network)
    network.layers[0].conv.weight.data.fill_(math.inf)
    assert "layer 2 [convolutional] and of 1 layers before it" in blame_weights(network)


@pytest.mark.parametrize("name", ["conv.weight", "bn.running_var", "bn.weight"])
def test_weights_that_were_no_numbers_before_are_not_blamed_on_an_update(tmp_path, data, name):
    network, samples = prepared(tmp_path, data)
    network.layers[2].state_dict()[name][0] = math.nan
    cause = r"^the weights of layer 2 \[convolutional\] are infinite or NaN before the first update: the file"
    with pytest.raises(DarknetError, match=cause):
        train(network, samples, TrainSettings(tmp_path / "saved"))
    assert not list(tmp_path.rglob("*.weights")) + list(tmp_path.rglob("*.backup"))


def test_deterministic_algorithms_are_asked_for_and_put_back(tmp_path, data):
    seen = []

    class Looking(Observer):
        def updated(self, update):
            seen.append(torch.are_deterministic_algorithms_enabled())

    run(tmp_path, data, TrainSettings(deterministic=True, batches=1), observers=[Looking()])
    assert (seen, torch.are_deterministic_algorithms_enabled()) == ([True], False)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), "too little memory for a mini-batch: raise subdivisions"),
        (RuntimeError("x does not have a deterministic implementation\nmore"), "--deterministic: x does not have"),
    ],
)
def test_torchs_errors_become_ours(tmp_path, data, monkeypatch, error, told):
    def failing(*_args):
        raise error

    monkeypatch.setattr(Stepper, "accumulate", failing)
    with pytest.raises(DarknetError, match=told):
        run(tmp_path, data)


def test_a_history_of_a_long_run_is_thinned():
    history = History()
    for batch in range(1, 2 * POINTS + 100):
        history.updated(update(batch, loss=float(batch)))
    assert (history.every, len(history) < POINTS) == (4, True)
    assert (history.losses[:, 0] % 4).sum() == 0
    assert torch.equal(history.losses[:, 0], history.losses[:, 1])
    other = History()
    other.load_state_dict(history.state_dict())
    assert torch.equal(other.losses, history.losses)
    with pytest.raises(DarknetError, match="no history"):
        other.load_state_dict({"every": 1})


class Scored:
    def mean_average_precision(self):
        return 0.5


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_log_has_each_row_once(tmp_path):
    path = tmp_path / "log.csv"
    for start, end in ((0, 5), (3, 6)):
        log = CsvLog(path)
        log.started(start, None)
        for batch in range(start + 1, end + 1):
            log.updated(update(batch))
        if end == 5:
            log.measured(3, Scored())
            log.measured(5, Scored())
        log.finished()
        if end == 5:
            with path.open("a") as file:
                file.write("6,24,")  # half a row, of a run that was killed
    found = rows(path)
    assert [row["batch"] for row in found] == ["1", "2", "3", "3", "4", "5", "6"]
    assert [row["map"] for row in found if row["map"]] == ["0.5"]
    assert (found[0]["loss"], found[0]["width"], found[0]["epoch"]) == ("2.0", "32", "0.6667")


def test_a_log_does_not_overwrite_something_else(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("dear diary\n")
    with pytest.raises(DarknetError, match=r"notes\.txt: this is no log of a training"):
        CsvLog(path)
    assert path.read_text() == "dear diary\n"
    with pytest.raises(DarknetError, match="cannot be written: No such file"):
        CsvLog(tmp_path / "nowhere" / "log.csv").started(0, None)


def test_tensorboard_gets_the_numbers(tmp_path):
    for start in (0, 2):
        board = TensorBoard(tmp_path / "board")
        board.started(start, None)
        for batch in range(start + 1, start + 4):
            board.updated(update(batch, loss=float(start)))
        board.measured(start + 3, Scored())
        board.finished()
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    found = events.Scalars("train/loss")
    assert sorted({event.step for event in found}) == [1, 2, 3, 4, 5]
    assert events.Scalars("train/mAP")[-1].value == 0.5


def test_without_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(DarknetError, match=r"tensorboard is not installed: pip install 'darknet-torch\[tensorboard\]'"):
        TensorBoard(tmp_path)


def test_a_chart_is_drawn_at_the_end(tmp_path):
    history, told = History(), []
    chart = Chart(tmp_path / "chart.png", history, told.append)
    chart.started(0, None)
    chart.finished()
    assert not chart.path.exists()  # of nothing
    history.updated(update())
    history.measured(1, Scored())
    chart.finished()
    assert chart.path.read_bytes().startswith(b"\x89PNG")
    assert not told


@pytest.mark.parametrize("needed", [False, True])
def test_a_chart_without_matplotlib(tmp_path, monkeypatch, needed):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    history, told = History(), []
    chart = Chart(tmp_path / "chart.png", history, told.append, needed=needed)
    if needed:
        with pytest.raises(DarknetError, match=r"darknet-torch\[charts\]"):
            chart.started(0, None)
        return
    for batch in (1, 2):
        history.updated(update(batch))
        chart.finished()
    assert len(told) == 1
    assert told[0].startswith("no chart: matplotlib is not installed")


def test_workers_are_for_pictures_of_some_size():
    assert default_workers("cpu", 8 * 96 * 96) == default_workers("cuda", 1000) == 0
    assert 1 <= default_workers("cpu", 8 * 416 * 416) <= 2
    assert 1 <= default_workers("cuda", 8 * 416 * 416) <= 8
