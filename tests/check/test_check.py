"""`check`: every finding with its line, several at once, and nothing raised whatever the text."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darknet_py.check import Problem, check
from darknet_py.cli import main
from darknet_py.errors import Location
from darknet_py.network.graph import Graph
from darknet_py.weights import Header, expected_bytes
from tests.support.places import OFFICIAL, needs_official, official_cfgs

CFG = Path(__file__).parents[2] / "cfg"
REGION = """\
[net]
batch=8
subdivisions=2
width=64
height=64
channels=3
[convolutional]
batch_normalize=1
filters=4
size=3
stride=32
pad=1
activation=leaky
[convolutional]
filters=14
size=1
activation=linear
[region]
anchors=1,1, 2,2
num=2
classes=2
coords=4
softmax=1
"""
YOLO = """\
[net]
width=64
height=64
channels=3
[convolutional]
size=1
stride=32
filters=21
[yolo]
mask=3,4,5
anchors=10,14, 23,27, 37,58, 81,82, 135,169, 344,319
classes=2
num=6
[route]
layers=0
[convolutional]
size=1
filters=21
[yolo]
mask=0,1,2
anchors=10,14, 23,27, 37,58, 81,82, 135,169, 344,319
classes=2
num=6
"""
ANCHORS = "anchors=10,14, 23,27, 37,58, 81,82, 135,169, 344,319"
CLASSIFIER = """\
[net]
width=8
height=8
channels=3
[convolutional]
filters=3
size=1
[avgpool]
[softmax]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def findings(text: str, **files) -> list[tuple[str, int, str]]:
    """Severity, line and message of what is found in a cfg text."""
    Path("net.cfg").write_text(text, encoding="utf-8")
    found = check("net.cfg", **files)
    return [(p.severity, p.where.line, p.message) for p in found]


def only(text: str, **files) -> tuple[str, int, str]:
    """The one finding."""
    (finding,) = findings(text, **files)
    return finding


def line(text: str, entry: str, nth: int = 0) -> int:
    """The line an entry is in, from 1; of several the one counted from 0."""
    return [n for n, found in enumerate(text.splitlines(), 1) if found == entry][nth]


@pytest.mark.parametrize("text", [REGION, YOLO, CLASSIFIER])
def test_nothing_is_found_in_a_sound_cfg(folder, text):
    assert findings(text) == []


def test_a_problem_is_one_line_and_plain_values():
    problem = Problem("what", Location("a.cfg", 3), is_error=True)
    assert str(problem) == "a.cfg:3: error: what"
    assert problem.as_dict() == {"severity": "error", "file": "a.cfg", "line": 3, "message": "what"}
    whole = Problem("what", Location("a.cfg"), is_error=False)
    assert str(whole) == "a.cfg: warning: what"
    assert whole.as_dict()["line"] is None
    assert str(Problem("what", None, is_error=False)) == "warning: what"


def test_problems_are_fit_for_a_terminal(tmp_path):
    (tmp_path / "a.data").write_text(f"classes=1\nnames=\x1b]0;x\x07{'y' * 4000}\nbackup={'z' * 4000}\n")
    for problem in check(CFG / "shapes.cfg", data=tmp_path / "a.data"):
        assert str(problem).isprintable()
        assert len(str(problem)) <= 500
    assert Problem("what", None, is_error=False).as_dict()["file"] is None


# text, what is replaced, by what, the entry whose line is named, and words of the message
FOUND = [
    ("region filters", REGION, "filters=14", "filters=35", "filters=35", r"has to be 14.*line 18.*2\*\(2\+4\+1\) = 14"),
    ("yolo filters", YOLO, "filters=21\n[yolo]\nmask=0", "filters=255\n[yolo]\nmask=0", "filters=255",
     r"has to be 21.*\[yolo\] in line 19.*len\(mask\)\*\(classes\+5\) = 3\*\(2\+5\)"),
    ("yolo without mask", YOLO, "mask=0,1,2\n", "", ("filters=21", 1), r"has to be 42.* num\*\(classes\+5\) = 6\*\("),
    ("no filters key", REGION, "filters=14\n", "", ("[convolutional]", 1), r"filters=1 has to be 14"),
    ("fewer anchors", REGION, "anchors=1,1, 2,2", "anchors=1,1", "anchors=1,1", r"2 values.*num=2 needs 4"),
    ("more anchors", REGION, "anchors=1,1, 2,2", "anchors=1,1,2,2,3,3", "anchors=1,1,2,2,3,3", r"6 values.*needs 4"),
    ("odd anchors", REGION, "anchors=1,1, 2,2", "anchors=1,1,2", "anchors=1,1,2", r"3 values.*width and a height"),
    ("anchor of nothing", REGION, "anchors=1,1, 2,2", "anchors=1,0,2,2", "anchors=1,0,2,2", "cannot be 0 wide"),
    ("mask", YOLO, "mask=3,4,5", "mask=4,5,6", "mask=4,5,6", r"mask=4,5,6 .*beyond num=6"),
    ("classes differ", YOLO, f"filters=21\n[yolo]\nmask=0,1,2\n{ANCHORS}\nclasses=2",
     f"filters=30\n[yolo]\nmask=0,1,2\n{ANCHORS}\nclasses=5", "classes=5", "classes=5 here, but 2 in line 12"),
    ("subdivisions", REGION, "subdivisions=2", "subdivisions=16", "subdivisions=16", "nothing is left"),
    ("value", REGION, "stride=32", "stride=big", "stride=big", "an integer"),
    ("section", REGION, "[region]", "[regoin]", "[regoin]", "did you mean 'region'"),
    ("shape", REGION, "[region]", "[route]\nlayers=0,-7\n[region]", "[route]", "layer -7 does not exist"),
    ("coords", REGION, "coords=4", "coords=3", ("filters=14", 0), r"has to be 12"),
    ("step", REGION, "[net]", "[net]\npolicy=step\nstep=0", "step=0", "policy=step needs at least 1"),
    ("scales", REGION, "[net]", "[net]\npolicy=steps\nsteps=1,2\nscales=.1", "scales=.1", "1 scales, but 2 steps"),
    ("no scales", REGION, "[net]", "[net]\npolicy=steps\nsteps=1,2", "[net]", "needs steps and scales"),
    ("no size", REGION, "width=64\n", "", "[net]", "needs width, height"),
    ("tree", REGION, "softmax=1", "tree=a.tree", "tree=a.tree", "does not exist"),
    ("map", REGION, "softmax=1", "map=a.map", "map=a.map", "does not exist"),
    ("long name", REGION, "softmax=1", f"tree={'a' * 5000}", f"tree={'a' * 5000}", "does not exist"),
]  # fmt: skip
SUSPECTED = [
    ("unknown key", REGION, "softmax=1", "sotfmax=1", "sotfmax=1", "no key 'sotfmax'; did you mean 'softmax'"),
    ("repeated key", REGION, "softmax=1", "softmax=1\nsoftmax=0", "softmax=0", "ignored.*line 23"),
    ("trailing comma", REGION, "2,2", "2,2,", "anchors=1,1, 2,2,", "comma at the end"),
    ("activation", REGION, "activation=leaky", "activation=leeky", "activation=leeky", "'relu' is taken"),
    ("not key=value", REGION, "softmax=1", "softmax=1\nhello", "hello", "is not key=value; ignored"),
    ("batch", REGION, "batch=8\nsub", "batch=7\nsub", "batch=7", "no multiple of subdivisions=2: it counts as 6"),
    ("steps", REGION, "[net]", "[net]\npolicy=steps\nsteps=5,5\nscales=1,1", "steps=5,5", "do not rise"),
    ("burn-in", REGION, "[net]", "[net]\nburn_in=9\nmax_batches=8", "burn_in=9", "more than max_batches=8"),
    ("width", REGION, "width=64", "width=70", "width=70", "no multiple of 32"),
    ("height", REGION, "height=64", "height=65", "height=65", "no multiple of 32"),
    ("no anchors", REGION, "anchors=1,1, 2,2\n", "", "[region]", "no anchors"),
    ("pixels", REGION, "anchors=1,1, 2,2", "anchors=1,1,20,30", "anchors=1,1,20,30", "30 cells in a grid of 2 x 2"),
    ("cells", YOLO.replace("=64", "=416"), f"5\n{ANCHORS}",
     "5\nanchors=1,1,2,2,3,3,4,4,5,5,12,13", "anchors=1,1,2,2,3,3,4,4,5,5,12,13", "pixels, not cells"),
    ("after the head", REGION, "softmax=1\n", "softmax=1\n[dropout]\n[dropout]\n", "[dropout]", "layer 2 .region. is"),
    ("dead end", CLASSIFIER, "[avgpool]", "[convolutional]\n[route]\nlayers=0\n[avgpool]", ("[convolutional]", 1),
     r"nothing uses the output of layer 1 \[convolutional\]"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("severity", "case"),
    [*(("error", case) for case in FOUND), *(("warning", case) for case in SUSPECTED)],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_each_finding_alone_with_its_line(folder, severity, case):
    _, text, old, new, entry, words = case
    changed = text.replace(old, new)
    assert changed != text
    at = line(changed, *(entry if isinstance(entry, tuple) else (entry,)))
    found = findings(changed)
    assert [(kind, number) for kind, number, message in found if re.search(words, message)] == [(severity, at)]
    more = {"coords": 1}.get(case[0], 0)  # three coords are no box either
    assert len(found) == 1 + more


@pytest.mark.parametrize(
    "text",
    [
        REGION.replace("[net]", "[net]\nmax_batches=0\nburn_in=1000"),
        CLASSIFIER.replace("width=8", "width=7"),
        CLASSIFIER + "[cost]\n",
        CLASSIFIER.replace("[avgpool]", "[convolutional]\ntruth=1\n[route]\nlayers=0\n[avgpool]"),
        REGION.replace("anchors=1,1, 2,2", "anchors=1,1, 3,4"),  # larger than the grid, as in yolov2-tiny-voc.cfg
    ],
    ids=["max_batches", "classifier size", "cost", "truth", "large anchor"],
)
def test_what_is_right_is_not_reported(folder, text):
    assert findings(text) == []


def test_several_problems_at_once_in_order(folder):
    text = YOLO.replace("filters=21", "filters=255").replace("mask=3,4,5", "mask=3,4,9").replace("size=1", "sise=1")
    text = text.replace("width=64", "width=70\nbatch=2\nsubdivisions=3\npolicy=steps")
    expected = [
        ("error", "[net]", 0, "needs steps and scales"), ("warning", "width=70", 0, "no multiple of 32"),
        ("error", "subdivisions=3", 0, "more than batch=2"), ("warning", "sise=1", 0, "size'? (also in line"),
        ("error", "filters=255", 0, "has to be 21"), ("error", "mask=3,4,9", 0, "beyond num=6"),
        ("error", "filters=255", 1, "has to be 21"),
    ]  # fmt: skip
    found = findings(text)
    assert [f[:2] for f in found] == [(kind, line(text, entry, nth)) for kind, entry, nth, _ in expected]
    assert all(words in f[2] for f, (*_, words) in zip(found, expected, strict=True))


def test_all_values_that_cannot_be_read_and_nothing_that_follows_from_them(folder):
    text = REGION.replace("batch=8", "batch=many").replace("filters=14", "filters=x").replace(
        "anchors=1,1, 2,2", "anchors=1;1"
    ).replace("num=2", "num=0").replace("stride=32", "stride=-1\ngroups=none").replace("=linear", "=lin")  # fmt: skip
    wrong = ["batch=many", "stride=-1", "groups=none", "filters=x", "activation=lin", "num=0"]
    found = findings(text)
    assert [number for _, number, _ in found] == [line(text, entry) for entry in wrong]
    assert [severity for severity, _, _ in found] == [*(4 * ["error"]), "warning", "error"]


def test_filters_are_checked_where_the_shape_before_them_is_not_known(folder):
    text = REGION.replace("size=3", "size=99").replace("pad=1", "pad=0").replace("filters=14", "filters=15")
    (severity, number, _), second = findings(text)
    assert (severity, number) == ("error", line(text, "[convolutional]"))
    assert second[:2] == ("error", line(text, "filters=15"))


def test_a_head_after_another_layer_says_what_it_needs(folder):
    text = REGION.replace("[region]", "[dropout]\n[region]").replace("classes=2", "classes=3")
    assert only(text)[:2] == ("error", line(text, "[region]"))


def test_the_size_is_reported_beside_the_layer_that_fails_for_it(folder):
    text = REGION.replace("stride=32", "stride=16").replace("width=64", "width=80").replace("height=64", "height=96")
    text = text.replace("[convolutional]\nfilters=14", "[reorg]\nstride=2\n[convolutional]\nfilters=14")
    found = findings(text.replace("stride=16", "stride=32\n[upsample]\nstride=2"))
    assert ("warning", line(text, "width=80")) in [f[:2] for f in found]


@pytest.mark.parametrize("text", ["", "width=1\n", "[net\n", "\0", "[convolutional]\nfilters=x\n", "[net]\nwidth=9\n"])
def test_what_is_no_cfg_is_an_error(folder, text):
    assert findings(text)[0][0] == "error"


def test_a_file_that_is_not_there_is_an_error(folder):
    (problem,) = check("no.cfg")
    assert str(problem).startswith("no.cfg: error: cannot be read")


def test_a_second_net_section_and_a_lone_net_are_errors(folder):
    assert only(REGION + "[net]\n")[1] == line(REGION + "[net]", "[net]", 1)
    assert "no layer" in only("[net]\nwidth=8\nheight=8\nchannels=3\n")[2]


def write(name: str, count: int) -> None:
    Path(name).write_text("".join(f"name{n}\n" for n in range(count)), encoding="utf-8")


def data_findings(text: str, data: str) -> list[tuple[str, str, int, str]]:
    Path("net.cfg").write_text(text, encoding="utf-8")
    Path("net.data").write_text(data, encoding="utf-8")
    found = check("net.cfg", data="net.data")
    return [(p.severity, p.where.file, p.where.line, p.message) for p in found]


def test_data_that_fits(folder):
    write("two.names", 2)
    assert data_findings(REGION, "classes=2\nnames=two.names\n") == []
    assert data_findings(REGION, "names=two.names\nresults=x\neval=coco\n") == []
    Path("two.names").write_text("a\nb\n\n\n", encoding="utf-8")
    assert data_findings(REGION, "classes=2\nnames=two.names\n") == []


def test_names_may_go_on_for_a_classifier_alone(folder):
    write("five.names", 5)
    assert data_findings(CLASSIFIER, "classes=3\nnames=five.names\n") == []
    ((severity, file, number, message),) = data_findings(REGION, "classes=2\nnames=five.names\n")
    assert (severity, file, number) == ("error", "net.data", 2)
    assert "five.names has 5 entries, but there are 2 classes" in message


@pytest.mark.parametrize("text", [REGION, YOLO])
def test_too_few_names_with_and_without_classes_in_data(folder, text):
    write("one.names", 1)
    for data in ("names=one.names\nclasses=2\n", "names=one.names\n", "labels=one.names\n"):
        assert [f[:3] for f in data_findings(text, data)] == [("error", "net.data", 1)]


@pytest.mark.parametrize(("text", "count"), [(REGION, 2), (YOLO, 2), (CLASSIFIER, 3)])
def test_classes_of_data_and_network(folder, text, count):
    write("x.names", 80)
    ((severity, file, number, message),) = data_findings(text, "names=x.names\nclasses=80\n")
    assert (severity, file, number) == ("error", "net.data", 2)
    assert f"classes=80, but the network has {count} (net.cfg:" in message


def test_classes_of_a_spatial_softmax_are_its_channels(folder):
    text = CLASSIFIER.replace("[avgpool]\n", "") + "spatial=1\n"
    write("three.names", 3)
    assert data_findings(text, "names=three.names\nclasses=3\n") == []


def test_missing_files_of_data(folder):
    data = "names=a\nlabels=b\ntree=c\nmap=d\ntrain=e\nvalid=f\nbackup=g\nleaves=h\n"
    found = data_findings(REGION, data)
    assert [(severity, number) for severity, _, number, _ in found] == [
        *(("error", n) for n in range(1, 5)), *(("warning", n) for n in (5, 6, 8)),
    ]  # fmt: skip


def test_training_makes_the_folder_of_backup(folder):
    assert not any("backup" in text for *_, text in data_findings(REGION, "backup=no/such/folder\n"))


def test_files_are_looked_for_beside_the_file_that_names_them(folder, monkeypatch):
    (folder / "cfg").mkdir()
    (folder / "data").mkdir()
    write("data/two.names", 2)
    Path("cfg/net.cfg").write_text(REGION, encoding="utf-8")
    Path("cfg/net.data").write_text("names=data/two.names\nclasses=2\n", encoding="utf-8")
    monkeypatch.chdir(folder / "data")
    assert check("../cfg/net.cfg", data="../cfg/net.data") == []


def test_odd_keys_of_data(folder):
    write("two.names", 2)
    found = data_findings(REGION, "names=two.names\nnames=three.names\nbakcup=x\nauthor=me\nhello\n")
    assert [f[:3] for f in found] == [("warning", "net.data", n) for n in (2, 3, 5)]
    assert "did you mean 'backup'" in found[1][3]
    assert data_findings(REGION, "classes=2\n")[0][0] == "warning"


@pytest.mark.parametrize("data", ["[data]\n", "classes=many\n", "\0", "names=.\n"])
def test_data_that_cannot_be_read(folder, data):
    assert "error" in [f[0] for f in data_findings(REGION, data)]
    assert "error" in [f[0] for f in data_findings("[net]\n", data)]
    assert "error" in [f[0] for f in data_findings("", data)]


def test_tree_and_map_fit_the_classes(folder):
    text = REGION.replace("softmax=1", "tree=a.tree\nmap=a.map")
    Path("a.tree").write_text("a -1\nb -1\n", encoding="utf-8")
    Path("a.map").write_text("1\n0\n", encoding="utf-8")
    assert findings(text) == []
    Path("a.tree").write_text("a -1\nb -1\nc 0\n", encoding="utf-8")
    Path("a.map").write_text("1\n2\n", encoding="utf-8")
    (_, tree_line, tree), (_, map_line, names) = findings(text)
    assert (tree_line, map_line) == (line(text, "tree=a.tree"), line(text, "map=a.map"))
    assert "a.tree has 3 entries, but there are 2 classes" in tree
    assert "a.map names class 2, but there are 2" in names


def test_a_tree_that_is_none_and_the_tree_of_a_softmax(folder):
    Path("a.tree").write_text("a 7\n", encoding="utf-8")
    (problem,) = [p for p in findings(REGION.replace("softmax=1", "tree=a.tree")) if p[0] == "error"]
    assert problem[1] == 1  # of a.tree
    Path("a.tree").write_text("a -1\nb -1\n", encoding="utf-8")
    assert "2 entries, but there are 3 classes" in only(CLASSIFIER + "tree=a.tree\n")[2]


def weights_of(text: str) -> np.ndarray:
    size = expected_bytes(Graph.parse(text))[0]
    return np.linspace(0.1, 1, (size - 20) // 4, dtype="<f4")


def store(values: np.ndarray, name: str = "net.weights", extra: bytes = b"") -> str:
    Path(name).write_bytes(Header().pack() + values.tobytes() + extra)
    return name


def test_weights_that_fit(folder):
    assert findings(REGION, weights=store(weights_of(REGION))) == []


def test_weights_of_the_wrong_size(folder):
    values = weights_of(REGION)
    short, cut = only(REGION, weights=store(values[:-1])), only(REGION, weights=store(values, extra=b"\0"))
    assert (short[0], cut[0]) == ("error", "error")
    assert short[2].startswith("it ends in layer 1 [convolutional], weight")
    assert "cut short" in cut[2]


def test_weights_of_another_number_of_classes_with_wrong_filters_say_both(folder):
    other = weights_of(REGION.replace("filters=14", "filters=18").replace("classes=2", "classes=4"))
    (_, number, message), (_, _, wrong) = findings(REGION.replace("filters=14", "filters=18"), weights=store(other))
    assert number == line(REGION, "filters=14")
    assert "has to be 14" in message
    assert "it would fit with filters=18 in layer 1 [convolutional] (classes=4)" in wrong


def test_values_that_are_no_numbers(folder):
    values = weights_of(REGION)
    values[5] = np.nan
    message = only(REGION, weights=store(values))
    assert message == ("warning", 0, "NaN or infinity in layer 0 [convolutional], scale")
    values[-1] = np.inf
    assert only(REGION, weights=store(values))[2].endswith("and in 1 more layers")


@pytest.mark.parametrize("content", [b"", b"abc", b"PK\x03\x04" + b"\0" * 40, b"[net]\nwidth=1"])
def test_what_is_no_weights_file(folder, content):
    Path("net.weights").write_bytes(content)
    assert only(REGION, weights="net.weights")[0] == "error"
    assert "error" in [f[0] for f in findings(REGION + "[route]\nlayers=99\n", weights="net.weights")][-1:]


def test_weights_that_are_not_there_or_a_folder(folder):
    assert str(check_one(weights="no.weights")).startswith("no.weights: error: cannot be read")
    assert str(check_one(weights=".")).startswith(".: error: cannot be read")


def check_one(**files) -> Problem:
    Path("net.cfg").write_text(REGION, encoding="utf-8")
    (problem,) = check("net.cfg", **files)
    return problem


def test_a_beginning_of_weights_fits_by_its_name(folder):
    values = weights_of(REGION)[: 4 * 4 + 4 * 27]
    assert findings(REGION, weights=store(values, "net.conv.1")) == []


def test_a_network_without_weights(folder):
    text = "[net]\nwidth=8\nheight=8\nchannels=3\n[avgpool]\n"
    assert findings(text, weights=store(np.zeros(0, "<f4"))) == []


def test_the_command_line(folder, capsys):
    Path("net.cfg").write_text(REGION.replace("filters=14", "filters=15"), encoding="utf-8")
    assert main(["check", "net.cfg", store(weights_of(REGION))]) == 1
    out = capsys.readouterr().out
    assert out.startswith("net.cfg:15: error: filters=15 has to be 14")
    assert main(["check", "net.cfg", "--json"]) == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert (problem["severity"], problem["line"]) == ("error", 15)
    Path("net.cfg").write_text(REGION, encoding="utf-8")
    assert main(["check", "net.cfg"]) == 0


def test_no_warning_gets_out(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        findings(REGION + "unknown=1\n")


@needs_official
@pytest.mark.parametrize("path", official_cfgs(), ids=lambda path: path.stem)
def test_official_cfgs_have_no_errors_and_few_true_warnings(path, monkeypatch):
    monkeypatch.chdir(OFFICIAL)
    expected = {  # all of them are keys that Darknet does not use either
        "rnn": ["has no key 'hidden'"], "rnn.train": ["has no key 'hidden'"],
        "writing": ["has no key 'seen'"],
        "yolo9000": ["batch=1 is ignored", "subdivisions=1 is ignored"],
        "yolov3-openimages": ["batch=64 is ignored", "subdivisions=16 is ignored"],
    }  # fmt: skip
    found = check(path)
    assert not any(problem.is_error for problem in found)
    messages = [problem.message for problem in found]
    assert len(messages) == len(expected.get(path.stem, []))
    assert all(words in message for words, message in zip(expected.get(path.stem, []), messages, strict=True))


@needs_official
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("yolo9000", "combine9k.data"), ("darknet19", "imagenet1k.data"), ("yolov2", "coco.data"),
        ("yolov2-voc", "voc.data"), ("yolov1", "voc.data"), ("yolov3-openimages", "openimages.data"),
        ("darknet9000", "imagenet9k.hierarchy.dataset"), ("extraction22k", "imagenet22k.dataset"),
    ],
)  # fmt: skip
def test_official_data_fits(name, data, monkeypatch):
    monkeypatch.chdir(OFFICIAL)
    found = [p for p in check(f"cfg/{name}.cfg", data=f"cfg/{data}") if p.where.file.endswith(data)]
    assert {p.message.split("=")[0] for p in found} <= {"train", "valid", "backup", "leaves"}
    assert not any(p.is_error for p in found)


@pytest.mark.parametrize("path", sorted(CFG.glob("*.cfg")), ids=lambda path: path.stem)
def test_our_cfgs_have_no_errors_but_files_to_download(path, monkeypatch):
    monkeypatch.chdir(CFG.parent)
    data = {"yolo9000": "combine9k", "darknet19": "imagenet1k", "darknet19_448": "imagenet1k"}.get(path.stem)
    own = path.stem if path.with_suffix(".data").exists() else None
    data = data or own or ("voc" if path.stem.endswith("voc") else "coco")
    for problem in check(path, data=f"cfg/{data}.data"):
        assert ": it does not exist" in problem.message
        assert not problem.is_error or data in ("combine9k", "imagenet1k")


@needs_official
@pytest.mark.parametrize("pair", [("yolo9000", "combine9k"), ("darknet19", "imagenet1k"), ("yolov2", "coco")])
def test_our_cfgs_have_no_errors_with_the_official_files(pair, monkeypatch):
    monkeypatch.chdir(OFFICIAL)
    name, data = pair
    assert not any(p.is_error for p in check(CFG / f"{name}.cfg", data=CFG / f"{data}.data"))


VALUES = (
    "0",
    "-1",
    "1",
    "7",
    "2147483647",
    "99999999999",
    "x",
    "",
    ",",
    "1,2,3",
    "-1,-99",
    ".5",
    "1e400",
    "nan",
    "a.b",
)
KEYS = sorted({key for text in (REGION, YOLO) for key in re.findall(r"^\w+(?==)", text, re.MULTILINE)})
SECTIONS = (
    "[net]",
    "[route]",
    "[shortcut]",
    "[softmax]",
    "[reorg]",
    "[crop]",
    "[connected]",
    "[detection]",
    "[x]",
    "[",
)
LINES = st.one_of(
    st.sampled_from(SECTIONS),
    st.builds("{}={}".format, st.sampled_from((*KEYS, "layers", "from", "tree", "map")), st.sampled_from(VALUES)),
    st.text(max_size=20),
)


@st.composite
def mutated(draw) -> str:
    """A cfg with lines put in, left out and doubled."""
    lines = draw(st.sampled_from((REGION, YOLO, CLASSIFIER))).splitlines()
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(lines)))
        lines[at : at + draw(st.integers(0, 2))] = draw(st.lists(LINES, max_size=2))
    return "\n".join(lines)


@settings(deadline=None, max_examples=150)
@given(mutated())
def test_no_cfg_raises(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "mutated.cfg"
    path.write_text(text, encoding="utf-8", errors="replace")
    weights = tmp_path_factory.getbasetemp() / "mutated.weights"
    weights.write_bytes(Header().pack() + b"\0" * 1000)
    for problem in check(path, weights, path):
        assert "\n" not in str(problem)
        json.dumps(problem.as_dict())


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=200), st.binary(max_size=60))
def test_no_text_and_no_bytes_raise(tmp_path_factory, text, content):
    folder = tmp_path_factory.getbasetemp()
    (folder / "random.cfg").write_text(text, encoding="utf-8", errors="replace")
    (folder / "sound.cfg").write_text(REGION, encoding="utf-8")
    (folder / "random.weights").write_bytes(content)
    check(folder / "random.cfg", folder / "random.weights", folder / "random.cfg")
    check(folder / "sound.cfg", folder / "random.weights", folder / "random.cfg")
    check(folder / "random.weights", folder / "random.cfg", folder / "random.weights")


def test_a_name_that_is_too_long_is_no_file(tmp_path):
    (tmp_path / "a.data").write_text(f"classes=3\nnames={CFG / 'shapes.names'}\ntrain={'t' * 4000}\n")
    assert any("it does not exist" in str(problem) for problem in check(CFG / "shapes.cfg", data=tmp_path / "a.data"))
