"""tools/bench/inference.py compares engines on small networks; no time is judged, and missing peers are skipped."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from darknet_py.engine import ENGINES, fastest
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from tools.bench import engine_costs as costs
from tools.bench import inference as tool
from tools.bench import measuring
from tools.bench.__main__ import BENCHES, main
from tools.bench.contest import cases
from tools.bench.contest import contest as contests
from tools.bench.contest import patience as patiences
from tools.bench.options import parse
from tools.bench.peers import cpu as peers
from tools.bench.peers import cuda as peers_cuda
from tools.bench.peers import ncnn as peers_ncnn
from tools.bench.peers import runner
from tools.bench.rows import Row

ROOT = Path(__file__).parents[3]

NET = "[net]\nwidth=64\nheight=32\nchannels=3\n"
HEAD = (
    "[convolutional]\nfilters=14\nsize=1\nactivation=linear\n[yolo]\nmask=0,1\nanchors=8,8, 16,16\nclasses=2\nnum=2\n"
)


def conv(filters: int, size: int = 3, **keys: object) -> str:
    entries = {"filters": filters, "size": size, "pad": 1, "batch_normalize": 1, "activation": "leaky", **keys}
    return "[convolutional]\n" + "".join(f"{key}={value}\n" for key, value in entries.items())


MIXED = "".join(
    (
        NET,
        conv(8),
        "[maxpool]\nsize=2\nstride=2\n",
        conv(16),  # 2
        conv(16, activation="relu", groups=2),
        "[shortcut]\nfrom=-2\nactivation=leaky\n",  # 4
        "[route]\nlayers=2\n",
        "[reorg]\nstride=2\n",  # 6
        "[route]\nlayers=4\n",
        "[maxpool]\nsize=2\nstride=2\n",
        "[maxpool]\nsize=2\nstride=1\n",
        "[maxpool]\nsize=3\nstride=1\n",
        "[route]\nlayers=-1,6\n",  # 11
        conv(12, stride=2, batch_normalize=0, activation="linear"),
        HEAD,  # 13, 14
        "[route]\nlayers=-3\n",
        conv(8, 1, activation="relie"),
        "[upsample]\nstride=2\n",
        "[route]\nlayers=-1,11\n",
        HEAD,
    )
)
TINY = NET + conv(32) + HEAD


def make_case(text: str, folder: Path, batch: int = 2):
    graph = Graph.parse(text, str(folder / "net.cfg"))
    task = cases.Task(Path("net.cfg"), (graph.net.width, graph.net.height), batch)
    return cases.Case(task, cases.make_network(graph, None), folder)


def result_of(stem: str, batch: int = 1, size: tuple[int, int] = (416, 416), **seconds: list[float]):
    return contests.Result(
        cases.Task(Path(f"{stem}.cfg"), size, batch), 10**9, {name.replace("_", "-"): s for name, s in seconds.items()},
        dict.fromkeys((name.replace("_", "-") for name in seconds), 0.0),
        dict.fromkeys((name.replace("_", "-") for name in seconds), ""),
    )  # fmt: skip


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.cfg"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contests, "PAUSE", 0)


@pytest.fixture
def no_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "engine_rows", lambda cfg, size, name, rounds: iter([Row(cfg.stem, name, None)]))


def test_the_cut_network_gives_what_goes_into_the_heads(tmp_path: Path) -> None:
    case = make_case(MIXED, tmp_path)
    assert case.network.graph.outputs == (13, 19)
    whole = Network(Graph.parse(MIXED)).eval()
    whole.load_state_dict(case.network.state_dict())
    with torch.no_grad():
        inputs = whole.tap(case.x, [13, 19])
        heads = whole.heads(case.x)
    for found, index, head in zip(case.expected, inputs, heads, strict=True):
        torch.testing.assert_close(found, inputs[index], rtol=1e-4, atol=1e-4)
        assert not torch.allclose(found, head, atol=0.1)


def test_random_weights_keep_values_in_range_and_repeat(tmp_path: Path) -> None:
    text = NET + "".join(conv(16) for _ in range(30)) + HEAD
    one, other = (make_case(text, tmp_path).expected[0] for _ in range(2))
    assert torch.equal(one, other)
    assert 0.1 < one.std() < 100


def test_another_size_has_the_same_weights(tmp_path: Path) -> None:
    case = make_case(MIXED, tmp_path)
    other = cases.at_size(case.network, 96, 64)
    assert other.graph.outputs == case.network.graph.outputs
    assert other.input_shape == (3, 64, 96)
    assert other.layers[0].conv.weight is case.network.layers[0].conv.weight


def test_the_largest_difference_counts(tmp_path: Path) -> None:
    case = make_case(MIXED, tmp_path)
    exact = [output.numpy() for output in case.expected]
    assert case.difference(exact) == 0
    span = float(exact[1].max() - exact[1].min())
    off = [exact[0], exact[1] + np.float32(span / 4)]
    assert case.difference(off) == pytest.approx(0.25, rel=1e-4)
    assert not case.difference([exact[0], exact[1] * np.nan]) <= 1
    with pytest.raises(measuring.BenchError, match="instead of"):
        case.difference(exact[:1])


def test_tiny_run(tiny: Path, no_costs: None, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--cfg", str(tiny), "--peers", "--rounds", "2", "--batch", "1", "3", "--threads", "1"]
    assert main(["inference", *arguments, "--size", "64x32", "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["machine"]["threads"] == 1
    assert {line["group"] for line in found["rows"]} == {
        "tiny", "tiny 64x32 fp32 batch 1", "tiny 64x32 fp32 batch 3"
    }  # fmt: skip
    measured = {line["name"] for line in found["rows"] if line["value"] is not None}
    assert {"plain", fastest()} <= measured
    assert fastest() == "plain" or f"{fastest()} / plain" in measured


def test_json_file_beside_the_table(
    tiny: Path, no_costs: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found.json"
    arguments = ["--cfg", str(tiny), "--peers", "--engines", "plain", "--rounds", "1", "--device", "cpu"]
    assert main(["inference", *arguments, "--size", "32", "--threads", "1", "--batch", "1", "--json", str(out)]) == 0
    assert "tiny 32x32 fp32 batch 1  plain" in capsys.readouterr().out
    assert json.loads(out.read_text(encoding="utf-8"))["rows"][1]["name"] == "plain"


def test_table_of_sizes(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--table", "--cfg", str(tiny), "--size", "32", "64x32", "--batch", "2", "--rounds", "1"]
    assert main(["inference", *arguments, "--engines", "plain", "--threads", "1", "--device", "cpu"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert rows[0] == "| network | size | batch | plain |"
    assert [row.split("|")[2].strip() for row in rows[2:]] == ["32x32", "64x32"]
    assert all(float(row.split("|")[4]) > 0 for row in rows[2:])


def test_what_there_is_no_time_for_is_said(tiny: Path, no_costs: None, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--cfg", str(tiny), "--peers", "--seconds", "-1", "--threads", "1", "--device", "cpu"]
    assert main(["inference", *arguments]) == 0
    assert "left out: the --seconds are over" in capsys.readouterr().out
    assert main(["inference", *arguments, "--table"]) == 0
    found = capsys.readouterr()
    assert "| tiny | 608x608 | 8 | - |" in found.out
    assert "tiny 608x608 fp32 batch 8, plain: left out: the --seconds are over" in found.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--peers", "tensorrt", "--device", "cpu"], "no peer tensorrt"),
        (["--device", "abacus"], "cpu or cuda"),
        (["--threads", "0"], "a number of 1 or more was expected"),
        (["--size", "0x32"], "invalid size"),
        (["--cfg", "a.cfg", "b.cfg", "--weights", "a.weights"], "for each --cfg"),
    ],
)
def test_wrong_arguments(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["inference", *arguments])
    assert message in capsys.readouterr().err


def test_a_cfg_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inference", "--cfg", "nowhere.cfg", "--device", "cpu", "--threads", "1"]) == 1
    assert "nowhere.cfg is not here" in capsys.readouterr().err


def test_a_default_cfg_that_is_not_there_is_a_line(
    tiny: Path, no_costs: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "CFGS", (tiny, Path("nowhere.cfg")))
    arguments = ["--size", "32", "--batch", "1", "--rounds", "1", "--peers", "--threads", "1", "--device", "cpu"]
    assert main(["inference", *arguments, "--check"]) == 0
    assert "nowhere.cfg is not here: --darknet" in capsys.readouterr().out


def test_who_cannot_or_does_not_agree_gives_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(TINY, tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    builds = {
        "good": lambda case: runner.Runner(lambda: case.expected, "a note"),
        "wrong": lambda case: runner.Runner(lambda: [output + 1 for output in case.expected]),
        "broken": lambda case: 1 / 0,
        "onnxruntime": peers.PEERS["onnxruntime"],
    }
    result = contests.contest(case, builds, 0, rounds=2)
    assert {name: len(seconds) for name, seconds in result.seconds.items()} == {"good": 2}
    assert "does not agree" in result.reasons["wrong"]
    assert result.reasons["broken"] == "ZeroDivisionError: division by zero"
    assert result.reasons["onnxruntime"] == "onnxruntime is not installed"
    notes = {line.name: line.note for line in contests.rows_of(result)}
    assert notes["good"] == "a note"
    assert notes["broken"] == result.reasons["broken"]


def test_rounds_follow_the_seconds(tmp_path: Path) -> None:
    case = make_case(TINY, tmp_path)
    builds = {"any": lambda case: runner.Runner(lambda: case.expected)}
    assert len(contests.contest(case, builds, 1000).seconds["any"]) == contests.MAX_ROUNDS
    assert contests.contest(case, {}, 1000).seconds == {}


@pytest.mark.parametrize(
    ("done", "spent", "stops"),
    [(0, 99, False), (1, 15, False), (2, 21, True), (3, 9, True), (3, 7, False), (15, 1, True)],
)
def test_when_rounds_end(done: int, spent: float, stops: bool) -> None:
    assert contests._enough(done, spent, 10, None) == stops
    assert contests._enough(done, spent, 10, 2) == (done == 2)


@pytest.mark.parametrize(
    ("batch", "other", "limit"),
    [(1, "onnxruntime", 0.8), (8, "openvino-fp32", 0.8), (8, "opencv", 0.8), (1, "ncnn", 1.1), (8, "ncnn", 1.0)],
)
def test_limits(batch: int, other: str, limit: float) -> None:
    result = result_of("yolov2", batch)
    assert result.limit(other) == limit
    assert result.limit("openvino") is None
    for task in (
        replace(result.task, batch=4), replace(result.task, size=(608, 608)), replace(result.task, cfg=Path("x.cfg")),
        replace(result.task, dtype="bf16"), replace(result.task, device="cuda"),
    ):  # fmt: skip
        assert replace(result, task=task).limit(other) is None
    half = replace(result, task=replace(result.task, dtype="bf16"))
    assert half.limit("openvino") == 1.05


def test_ratios_are_those_of_the_rounds() -> None:
    judged = fastest()
    times = {judged: [1.0, 4.0, 3.0], "onnxruntime": [2.0, 5.0, 3.0], "openvino_fp32": [4.0, 8.0, 12.0]}
    lines = {line.name: line for line in contests.rows_of(result_of("yolov3", 8, **times), peak=0.001)}
    assert lines[judged].value == 1e3 * 3 / 8  # an image
    assert lines[f"{judged} / onnxruntime"].value == 0.8
    assert lines[f"{judged} / onnxruntime"].holds
    assert lines[f"{judged} / openvino-fp32"].value == 0.25
    assert lines[f"{judged} from plain, of the range"].holds
    assert lines[f"{judged}, of the card's peak"].value == pytest.approx(100 / 3)


def test_check_fails_where_a_limit_does_not_hold(
    tiny: Path, no_costs: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = {fastest(): [2.0], "ncnn": [1.0]}
    monkeypatch.setattr(tool, "contest", lambda *_: result_of("yolov2", **slow))
    arguments = ["--cfg", str(tiny), "--batch", "1", "--device", "cpu", "--threads", "1"]
    assert main(["inference", *arguments]) == 0
    assert main(["inference", *arguments, "--check"]) == 1
    assert "NO" in capsys.readouterr().out


def test_markdown() -> None:
    results = [result_of("yolov2", 4, plain=[0.4, 0.8, 0.4], fused=[0.2]), result_of("yolov2", 1, plain=[0.3])]
    rows = [row for result in results for row in contests.rows_of(result)]
    assert tool.markdown([result.task for result in results], rows, ["fused", "plain"]).splitlines() == [
        "| network | size | batch | fused | plain |",
        "|---|---|---|---|---|",
        "| yolov2 | 416x416 | 4 | 50.0 | 100.0 |",
        "| yolov2 | 416x416 | 1 | - | 300.0 |",
    ]


def test_cuda_time_is_that_between_two_marks_in_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            told.append("record")

        def synchronize(self) -> None:
            told.append("wait for the mark")

        def elapsed_time(self, end: object) -> float:
            assert end is not self
            return 250.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: told.append("wait for all"))
    assert contests.on_cuda(lambda: told.append("call")) == 0.25
    assert told == ["wait for all", "record", "call", "record", "wait for the mark"]


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_compiled_network_is_a_copy(dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Network] = []
    monkeypatch.setattr(Network, "compile", lambda network, **_: compiled.append(network))
    case = make_case(TINY, tmp_path)
    case = replace(case, task=replace(case.task, dtype=dtype))
    runner = peers_cuda.compiled(case)
    assert compiled[0] is not case.network
    assert compiled[0].dtype == cases.DTYPES[dtype]
    assert case.network.dtype == torch.float32
    assert case.difference(runner.call()) < runner.tolerance


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers")
def test_who_takes_too_long_is_given_up_and_not_tried_again() -> None:
    begun = []

    def stubborn() -> None:
        begun.append(1)
        for _ in range(1000):
            with contextlib.suppress(Exception):
                time.sleep(1)

    patience, before = patiences.Patience(0.05), signal.getsignal(signal.SIGALRM)
    assert patience.wait(lambda: 3) == 3
    with pytest.raises(measuring.BenchError, match=r"^was not ready after 0\.05 s; --patience gives it more$"):
        patience.wait(stubborn)
    with pytest.raises(measuring.BenchError, match="not tried again"):
        patience.wait(stubborn)
    assert begun == [1]
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_compiler_that_takes_too_long_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Network, "compile", lambda network, **_: setattr(network, "heads", lambda x: time.sleep(60)))
    monkeypatch.setattr(peers_cuda, "COMPILING", patiences.Patience(0.05))
    result = contests.contest(make_case(TINY, tmp_path), {"compile": peers_cuda.compiled}, 1, rounds=1)
    assert result.reasons == {"compile": "was not ready after 0.05 s; --patience gives it more"}


def test_cuda_defaults() -> None:
    args = parse(BENCHES, ["inference", "--device", "cuda"])
    assert args.batch == (1, 8, 64)
    assert args.dtype == ["fp32", "fp16", "bf16"]
    assert args.peers == ["compile", "tensorrt"]
    assert fastest("cpu") not in set(args.engines) - {"plain"}
    assert parse(BENCHES, ["inference", "--device", "cuda", "--half"]).dtype == ["fp16"]
    assert parse(BENCHES, ["inference", "--device", "cpu", "--half"]).dtype == ["bf16"]


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_engines_compute_what_they_say(dtype: str, tmp_path: Path) -> None:
    case = make_case(TINY, tmp_path)
    case = replace(case, task=replace(case.task, dtype=dtype))
    builds = {name: tool.partial(tool.engine, name=name) for name in ENGINES}
    result = contests.contest(case, builds, 0, rounds=1)
    assert "plain" in result.seconds
    assert result.judged == fastest(half=dtype == "bf16")
    assert all("cuda" in reason or "CUDA" in reason or "needs" in reason for reason in result.reasons.values())


@pytest.mark.slow
def test_costs_of_an_engine(tmp_path: Path) -> None:
    path = tmp_path / "wide.cfg"
    path.write_text("[net]\nwidth=32\nheight=32\nchannels=256\n" + 4 * "[convolutional]\nfilters=512\nsize=3\npad=1\n")
    building, *rest = costs.engine_rows(path, (64, 32), fastest(), 1)
    assert building.name == f"building {fastest()}"
    if costs.CLEAR.exists():
        assert [line.limit for line in rest] == [2.5, 1.0]
        assert 1 < rest[0].value < 4


def test_memory_is_counted_without_what_is_live() -> None:
    found = costs.Costs(first=3.0, usual=1.0, parameters=100, live=40, growth=240, held=150, both=175)
    peak, other = costs.memory_rows("net", "fused", [found])
    assert peak.value == 2.0
    assert peak.holds
    assert other.value == 0.25
    (unknown,) = costs.memory_rows("net", "fused", [replace(found, growth=None, held=None, both=None)])
    assert unknown.value is None


def test_ncnn_text(tmp_path: Path) -> None:
    case = make_case(MIXED, tmp_path)
    names = peers_ncnn.write(case.network, tmp_path / "net.param", tmp_path / "net.bin")
    assert names == ("layer13", "layer19")
    magic, counts, *rows = (tmp_path / "net.param").read_text().splitlines()
    assert magic == "7767517"
    given, taken = [], []
    for row in rows:
        _, _, inputs, outputs, *words = row.split()
        taken += words[: int(inputs)]
        given += words[int(inputs) : int(inputs) + int(outputs)]
    assert counts == f"{len(rows)} {len(given)}"
    assert sorted([*taken, *names]) == sorted(given)  # every output is taken exactly once
    kinds = [row.split()[0] for row in rows]
    assert kinds.count("Split") == 3  # layers 2, 11 and 12
    floats = sum(
        blob.size for node in case.network.graph.nodes for blob in node.blobs if blob.role in ("weight", "bias")
    )
    convolutions = kinds.count("Convolution") + kinds.count("ConvolutionDepthWise")
    assert (tmp_path / "net.bin").stat().st_size == 4 * (floats + convolutions)


@pytest.mark.parametrize(
    "layer",
    ["[avgpool]\n", conv(8, activation="tanh"), "[reorg]\nstride=2\nreverse=1\n", "[upsample]\nstride=2\nscale=3\n"],
)
def test_ncnn_says_what_it_has_no_row_for(layer: str, tmp_path: Path) -> None:
    case = make_case(NET + conv(8) + layer, tmp_path)
    with pytest.raises(measuring.BenchError, match="layer 1 .* has no counterpart"):
        peers_ncnn.write(case.network, tmp_path / "net.param", tmp_path / "net.bin")


PACKAGES = {"opencv": "cv2", "openvino-fp32": "openvino", "ncnn-bf16": "ncnn"}
CHANGES = {
    "opencv": ("relie", "leaky"),  # it knows no relie
    "ncnn-bf16": ("groups=2", "groups=1"),  # it computes nonsense for groups
}


@pytest.mark.filterwarnings("default")  # of packages that are not ours
@pytest.mark.parametrize("name", list(peers.PEERS))
def test_peers_agree_with_the_plain_network(name: str, tmp_path: Path) -> None:
    pytest.importorskip(PACKAGES.get(name, name))
    if name in ("onnxruntime", "openvino", "openvino-fp32"):
        pytest.importorskip("onnxscript")
    text = MIXED.replace(*CHANGES.get(name, ("", "")))
    case = make_case(text, tmp_path, batch=3)
    made = peers.PEERS[name](case)
    assert case.difference(made.call()) < (1e-4 if made.tolerance == runner.Runner.tolerance else made.tolerance)


def test_opencv_without_darknet_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("cv2")
    module.dnn, module.__version__ = object(), "5.0.0"
    monkeypatch.setitem(sys.modules, "cv2", module)
    with pytest.raises(measuring.BenchError, match=r"OpenCV 5\.0\.0 cannot read Darknet's files"):
        peers.PEERS["opencv"](make_case(TINY, tmp_path))
