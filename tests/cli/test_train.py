"""`detector train`, `classifier train` and `yolo train`: lines, files, mistakes and exit codes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from darknet_py import weights
from darknet_py.cli import main
from darknet_py.cli.progress import Printer
from darknet_py.cli.signals import stop_signals
from darknet_py.cli.train import _without_gpus
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from tests.support.drawn import classifier, data_file, detector, pictures

NUMBER = r"-?\d+\.\d{6}"
REGION = (
    rf"Region Avg IOU: {NUMBER}, Class: {NUMBER}, Obj: {NUMBER}, No Obj: {NUMBER}, Avg Recall: {NUMBER},  count: \d+"
)
DETECTOR_BATCH = rf"(\d+): {NUMBER}, {NUMBER} avg, {NUMBER} rate, {NUMBER} seconds, (\d+) images"
CLASSIFIER_BATCH = rf"(\d+), (\d+\.\d{{3}}): {NUMBER}, {NUMBER} avg, {NUMBER} rate, {NUMBER} seconds, (\d+) images"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    return folder, pictures(folder, 6)


@pytest.fixture
def kit(tmp_path, drawn, monkeypatch) -> Path:
    """A folder with a .data file and cfgs, and the current one."""
    data_file(tmp_path, drawn[1])
    detector(tmp_path / "tiny.cfg")
    classifier(tmp_path / "tinyclass.cfg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*more: str, verb: str = "detector", cfg: str = "tiny.cfg") -> int:
    return main([verb, "train", "all.data", cfg, *more])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_prints_what_darknet_prints(kit, capsys):
    assert command() == 0
    out, err = capsys.readouterr()
    first, rates, *lines = out.splitlines()
    assert (first, rates) == ("tiny", "Learning Rate: 0.001, Momentum: 0.9, Decay: 0.0005")
    wanted = [rf"Loaded: {NUMBER} seconds", REGION, REGION, DETECTOR_BATCH]
    assert len(lines) == 6 * len(wanted)
    for place, line in enumerate(lines):
        assert re.fullmatch(wanted[place % len(wanted)], line), line
    counted = [re.fullmatch(DETECTOR_BATCH, line).groups() for line in lines[3::4]]
    assert counted == [(str(n), str(4 * n)) for n in range(1, 7)]
    assert err.splitlines() == [f"Saving weights to {kit}/backup/tiny{end}" for end in (".backup", "_final.weights")]
    assert names(kit / "backup") == ["chart.png", "tiny.backup", "tiny.resume", "tiny_final.weights"]


def test_prints_the_sizes_it_draws(kit, capsys):
    detector(kit / "multi.cfg", random=1, max_batches=11)
    assert command("--sizes", "32,64", cfg="multi.cfg") == 0
    lines = capsys.readouterr().out.splitlines()
    places = [place for place, line in enumerate(lines) if line == "Resizing"]
    assert len(places) == 2
    assert all(lines[place + 1] == "64" and lines[place + 2].startswith("Loaded") for place in places)  # the last 200
    assert (places[0], lines[places[1] - 1].split(":")[0]) == (2, "10")


def test_a_classifier_prints_epochs(kit, capsys):
    assert command(verb="classifier", cfg="tinyclass.cfg") == 0
    out, err = capsys.readouterr()
    *head, first, second = out.splitlines()[:7]
    assert head == ["tinyclass", "1", "Learning Rate: 0.01, Momentum: 0.9, Decay: 0.0005", "6", "32 64"]
    assert re.fullmatch(rf"Loaded: {NUMBER} seconds", first)
    assert re.fullmatch(CLASSIFIER_BATCH, second).groups() == ("1", "0.667", "4")
    assert names(kit / "backup") == [
        "chart.png", "tinyclass.backup", "tinyclass.resume", "tinyclass.weights",
        *(f"tinyclass_{epoch}.weights" for epoch in (1, 2, 3, 4)),
    ]  # fmt: skip
    assert len(err.splitlines()) == 6


def test_the_first_yolo(kit, capsys):
    text = (kit / "tiny.cfg").read_text()
    head = "[connected]\noutput=64\nactivation=linear\n\n[detection]\nclasses=2\ncoords=4\nside=2\nnum=2\nrescore=1\n"
    text = text[: text.rindex("[convolutional]")] + head.replace("64", str(4 * (2 * 5 + 2)))
    (kit / "one.cfg").write_text(text)
    assert command("--batches", "2", verb="yolo", cfg="one.cfg") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "one"
    assert re.fullmatch(DETECTOR_BATCH, lines[-1]).groups() == ("2", "8")
    assert any(line.startswith("Detection Avg IOU: ") for line in lines)


def test_json(kit, capsys):
    assert command("--json", "--map-every", "4") == 0
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events] == [
        "started", *["update"] * 4, "scores", *["update"] * 2, "scores", "saved", "saved"
    ]  # fmt: skip
    assert not err
    update = events[1]
    assert (update["batch"], update["seen"], update["pictures"], update["size"]) == (1, 4, 4, [32, 32])
    assert len(update["lines"]) == 2
    assert 0 <= events[5]["mean_average_precision"] <= 1
    assert events[-1]["path"].endswith("tiny_final.weights")


def test_map_log_and_chart(kit, capsys):
    assert command("-map", "--log", "log.csv", "--chart", "losses.svg", "--tensorboard", "board") == 0
    assert re.search(rf"^6: mean average precision \(mAP@0\.50\) = {NUMBER}$", capsys.readouterr().out, re.MULTILINE)
    assert len((kit / "log.csv").read_text().splitlines()) == 1 + 6 + 1
    assert "<svg" in (kit / "losses.svg").read_text()
    assert "chart.png" not in names(kit / "backup")
    assert any((kit / "board").iterdir())


def test_without_matplotlib_it_goes_on_unless_a_chart_was_asked_for(kit, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert command() == 0
    assert capsys.readouterr().err.count("no chart: matplotlib is not installed: pip install") == 1
    assert command("--chart", "losses.png", "-clear") == 1
    assert capsys.readouterr().err == "darknet-py: matplotlib is not installed: pip install 'darknet-torch[charts]'\n"


def test_without_tensorboard(kit, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert command("--tensorboard", "board") == 1
    assert "pip install 'darknet-torch[tensorboard]'" in capsys.readouterr().err


def test_the_seed_makes_the_run(kit):
    made = []
    for seed in (("--seed", "5"), ("--seed", "5"), ("--seed", "6"), (), ("--seed", "0", "--workers", "1")):
        assert command("-backup", "here", *seed) == 0
        made.append((kit / "here" / "tiny_final.weights").read_bytes())
    assert made[0] == made[1] != made[2]
    assert made[3] == made[4]


def header_of(path: Path) -> int:
    network = Network(Graph.read("tiny.cfg"))
    return weights.load(network, path).header.seen


def test_starts_from_weights_and_counts_what_they_have_seen(kit, capsys):
    assert command("--batches", "2") == 0
    assert header_of(Path("backup/tiny.backup")) == 8
    shutil.copy("backup/tiny.backup", "start.weights")
    assert command("start.weights") == 0
    out, err = capsys.readouterr()
    assert re.findall(r"^(\d+): ", out, re.MULTILINE) == ["1", "2", "3", "4", "5", "6"]  # of both runs
    assert "darknet-py: starting from start.weights\n" in err
    assert command("start.weights", "-clear", "--batches", "1") == 0
    assert re.findall(r"^(\d+): ", capsys.readouterr().out, re.MULTILINE) == ["1"]
    assert header_of(Path("backup/tiny.backup")) == 4


def test_starts_from_the_first_layers_alone(kit, capsys):
    network = Network(Graph.read("tiny.cfg"))
    weights.save(network, "tiny.conv.3", cutoff=3)
    assert command("tiny.conv.3", "--batches", "1") == 0
    assert command("nothing.weights") == 1
    assert "nothing.weights: cannot be read: No such file" in capsys.readouterr().err


def test_a_backup_is_resumed_and_clear_starts_anew(kit, capsys):
    assert command() == 0
    straight = Path("backup/tiny_final.weights").read_bytes()
    assert command("--batches", "3", "-backup", "other") == 0
    capsys.readouterr()
    assert command("other/tiny.backup", "-backup", "other") == 0
    assert "going on from other/tiny.resume" in capsys.readouterr().err
    assert Path("other/tiny_final.weights").read_bytes() == straight
    assert command("other/tiny.backup", "-clear", "--batches", "1", "-backup", "third") == 0
    out, err = capsys.readouterr()
    assert "starting from other/tiny.backup" in err
    assert re.findall(r"^(\d+): ", out, re.MULTILINE) == ["1"]


def test_resume_starts_anew_where_there_is_nothing_and_ends_where_all_is_done(kit, capsys):
    assert command("--resume") == 0
    assert f"there is no {kit}/backup/tiny.resume to resume from: this run starts anew" in capsys.readouterr().err
    Path("backup/tiny_final.weights").unlink()
    assert command("--resume") == 0
    assert "nothing is left to train: all 6 batches of max_batches are done" in capsys.readouterr().err
    assert Path("backup/tiny_final.weights").exists()


def test_a_resume_file_of_other_weights_is_not_used(kit, capsys):
    assert command("--batches", "2") == 0
    weights.save(Network(Graph.read("tiny.cfg")), "backup/tiny.backup")
    capsys.readouterr()
    assert command("backup/tiny.backup", "--batches", "1") == 0
    out, err = capsys.readouterr()
    assert "backup/tiny.resume is not of backup/tiny.backup: momentum starts from 0" in err
    assert re.findall(r"^(\d+): ", out, re.MULTILINE) == ["1"]


def test_a_resumed_run_keeps_its_seed(kit, capsys):
    assert command("--batches", "2", "--seed", "3") == 0
    capsys.readouterr()
    assert command("--resume", "--seed", "4", "--batches", "1") == 0
    assert "the run goes on with its own seed, 3" in capsys.readouterr().err


def test_ctrl_c_saves_and_the_same_command_goes_on(kit, capsys, monkeypatch):
    assert command("-backup", "straight") == 0
    updated = Printer.updated

    def interrupt(printer, update):
        updated(printer, update)
        if update.batch == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Printer, "updated", interrupt)
    capsys.readouterr()
    assert command("--log", "log.csv") == 130
    out, err = capsys.readouterr()
    assert "darknet-py: finishing this batch, then saving; once more ends at once\n" in err
    assert err.endswith("darknet-py: stopped after batch 4; the same command with --resume goes on\n")
    assert re.findall(r"^(\d+): ", out, re.MULTILINE) == ["1", "2", "3", "4"]
    monkeypatch.undo()
    os.chdir(kit)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert command("--log", "log.csv", "--resume") == 0
    assert [line.split(",")[0] for line in Path("log.csv").read_text().split()[1:]] == ["1", "2", "3", "4", "5", "6"]
    assert Path("backup/tiny_final.weights").read_bytes() == Path("straight/tiny_final.weights").read_bytes()


def test_a_second_ctrl_c_ends_at_once():
    code = (
        "import os, signal\nfrom darknet_py.cli.signals import stop_signals\nwith stop_signals(1) as told:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n    print(told.is_set(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n    print('too late', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "True\n")


def test_a_signal_sent_twice_to_many_processes_is_one():
    with stop_signals(2) as told:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert told.is_set()


def test_signals_inside_the_handler_do_not_wait_for_each_other():
    """While the first is handled another comes whenever something that it calls has called something of C."""
    code = (
        "import os, signal, sys\nfrom darknet_py.cli.signals import stop_signals\n"
        "def again(frame, event, argument):\n"
        "    below = []\n    while frame is not None and frame.f_code.co_name != 'handle':\n"
        "        below.append(frame)\n        frame = frame.f_back\n"
        "    if frame is not None and below and event == 'c_return':\n        os.kill(os.getpid(), signal.SIGHUP)\n"
        "with stop_signals(2) as told:\n    sys.setprofile(again)\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "    sys.setprofile(None)\n    print(told.is_set())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "True\n")


def test_not_finite(kit, capsys):
    assert command("--batches", "2") == 0
    before = Path("backup/tiny.backup").read_bytes()
    detector(kit / "tiny.cfg", rate=1e30)
    capsys.readouterr()
    assert command("--resume") == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "no longer finite" in line]
    assert re.search(r"no longer finite in batch \d: .*layer \d.*tiny\.resume is the last.*try a lower", line)
    assert Path("backup/tiny.backup").read_bytes() == before
    assert not Path("backup/tiny_final.weights").exists()


def test_bad_pictures_and_labels_are_told_of_once(kit, drawn, capsys):
    lists = (kit / "train.txt").read_text()
    folder = kit / "images"
    folder.mkdir()
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "broken.txt").write_text("")
    shutil.copy(drawn[1][0], folder / "wrong.png")
    (folder / "wrong.txt").write_text("9 .5 .5 .1 .1\n")
    (kit / "labels").mkdir()
    for name in ("broken", "wrong"):
        (folder / f"{name}.txt").rename(kit / "labels" / f"{name}.txt")
    (kit / "train.txt").write_text(lists + f"{folder}/broken.png\n{folder}/wrong.png\n")
    assert command("--batches", "6") == 0
    err = capsys.readouterr().err
    assert err.count("broken.png") == 1
    assert len(re.findall(r"labels/wrong\.txt:1: the class is 9", err)) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("train=nowhere.txt\n", "nowhere.txt"),
        ("names=all.names\n", "there is no train="),
        ("train=empty.txt\n", r"empty\.txt: the list is empty"),
    ],
)
def test_lists_that_are_none(kit, capsys, text, told):
    Path("empty.txt").touch()
    Path("all.data").write_text(text)
    assert command() == 1
    err = capsys.readouterr().err
    assert re.search(told, err)
    assert len(err.splitlines()) == 1


def test_other_mistakes(kit, capsys):
    for arguments, told in (
        (("--sizes", "32"), "not LOW,HIGH"), (("-gpus", "0,0"), "names a GPU twice"), (("--batches", "0"), "from 1"),
        (("--seed", "-1"), "expected one argument|no whole number"), (("--amp", "fp8"), "invalid choice"),
    ):  # fmt: skip
        assert command(*arguments) == 2
        assert re.search(told, capsys.readouterr().err)
    assert command("--sizes", "32,64") == 1
    assert "this cfg does not have it" in capsys.readouterr().err
    detector(kit / "ends.cfg", max_batches=0)
    assert command(cfg="ends.cfg") == 1
    assert "max_batches is 0" in capsys.readouterr().err
    assert command(cfg="tinyclass.cfg") == 1
    assert "learns no boxes" in capsys.readouterr().err


def test_classes_that_do_not_fit(kit, capsys):
    Path("all.data").write_text(Path("all.data").read_text().replace("classes=2", "classes=3"))
    assert command("--batches", "1") == 0
    assert "warning: all.data: classes=3, but tiny.cfg has 2\n" in capsys.readouterr().err
    assert command(verb="classifier", cfg="tinyclass.cfg") == 1
    assert "3 classes and 2 names, but the network gives 2" in capsys.readouterr().err


def test_labels_may_have_more_classes_than_the_network_by_a_map(kit, capsys):
    Path("three.map").write_text("0\n1\n1\n")
    Path("mapped.cfg").write_text(Path("tiny.cfg").read_text() + "\nmap=three.map\n")
    assert command("--batches", "1", cfg="mapped.cfg") == 0
    assert "warning" not in capsys.readouterr().err


def test_a_full_disk_is_told_of(kit, capsys, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.save", full)
    assert command("--save-every", "2") == 1
    err = capsys.readouterr().err
    assert err.count("tiny.resume: cannot be written: No space left on device; training goes on") == 2
    assert err.endswith("cannot be written: No space left on device\n")


def test_options_of_speed_do_what_the_run_does(kit):
    made = []
    for options in ((), ("--no-channels-last",), ("--deterministic", "--threads", "1"), ("--amp", "bf16")):
        assert command("--batches", "2", "-backup", "here", *options) == 0
        network = Network(Graph.read("tiny.cfg"))
        weights.load(network, "here/tiny.backup")
        made.append(network.layers[0].conv.weight.detach().clone())
    assert all(made[0].allclose(other, atol=1e-5) for other in made[1:3])
    assert made[0].allclose(made[3], atol=1e-2)
    assert not made[0].equal(made[3])


def test_memory_is_kept_only_where_that_is_asked_for_and_a_line_says_where_it_cannot_be(kit, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr("darknet_py.train.tune_malloc", lambda: bool(asked.append(1)))
    assert command("--batches", "1", "-nogpu") == 0
    assert not asked
    assert command("--batches", "1", "-nogpu", "-clear", "--tune-malloc") == 0
    assert len(asked) == 1
    assert "--tune-malloc does nothing here" in capsys.readouterr().err


def test_gpus_are_taken_out_of_the_command():
    for option in (("-gpus", "0,1"), ("--gpus=0,1",), ("--gpus", "0,1")):
        assert _without_gpus(("detector", "train", *option, "a.data")) == ["detector", "train", "a.data"]


@pytest.mark.slow
def test_two_processes_print_and_save_once(kit):
    code = "import sys; from darknet_py.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["detector", "train", "all.data", "tiny.cfg", "-gpus", "0,1", "-nogpu", "--batches", "2", "-map"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^(\d+): \d+\.\d+, ", done.stdout, re.MULTILINE) == ["1", "2"]
    assert done.stdout.count("mean average precision") == 1
    assert done.stderr.count("Saving weights to") == 1
