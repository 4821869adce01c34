"""Cfgs of AlexeyAB's Darknet: those that are another network there are refused, the others are read."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from darknet_py import load
from darknet_py.cfg.dialects import ALEXEYAB
from darknet_py.cfg.keys import fields_of
from darknet_py.check import check
from darknet_py.cli import main
from darknet_py.errors import CfgError, CfgWarning, DarknetError
from darknet_py.layers import REGISTRY
from darknet_py.layers.parts.activations import ACTIVATIONS
from darknet_py.network.graph import Graph
from darknet_py.network.net import POLICIES, Net
from tests.support.places import OFFICIAL, official_cfgs

OTHERS = OFFICIAL / "ax" / "cfg"
UNBUILT = ALEXEYAB.unbuilt
ANOTHER_NETWORK = [
    "Gaussian_yolov3_BDD",
    "cd53paspp-gamma",
    "crnn.train",
    "csdarknet53-omega",
    "cspx-p7-mish",
    "cspx-p7-mish-omega",
    "cspx-p7-mish_hp",
    "csresnext50-panet-spp-original-optimal",
    "efficientnet-lite3",
    "efficientnet_b0",
    "enet-coco",
    "resnet152_trident",
    "yolov3-tiny_occlusion_track",
    "yolov4",
    "yolov4-csp",
    "yolov4-csp-s-mish",
    "yolov4-csp-swish",
    "yolov4-csp-x-mish",
    "yolov4-csp-x-swish",
    "yolov4-csp-x-swish-frozen",
    "yolov4-custom",
    "yolov4-p5",
    "yolov4-p5-frozen",
    "yolov4-p6",
    "yolov4-sam-mish-csp-reorg-bfm",
    "yolov4-tiny",
    "yolov4-tiny-3l",
    "yolov4-tiny-custom",
    "yolov4-tiny_contrastive",
    "yolov4_new",
    "yolov4x-mish",
    "yolov7",
    "yolov7-tiny",
    "yolov7x",
]
THE_SAME = [
    "alexnet",
    "cifar",
    "cifar.test",
    "csresnext50-panet-spp",
    "darknet",
    "darknet19",
    "darknet19_448",
    "darknet53",
    "darknet53_448_xnor",
    "densenet201",
    "extraction",
    "extraction.conv",
    "extraction22k",
    "go.test",
    "gru",
    "jnet-conv",
    "lstm.train",
    "resnet101",
    "resnet152",
    "resnet50",
    "resnext152-32x4d",
    "rnn",
    "rnn.train",
    "strided",
    "t1.test",
    "tiny",
    "tiny-yolo",
    "tiny-yolo-voc",
    "tiny-yolo_xnor",
    "vgg-16",
    "vgg-conv",
    "writing",
    "yolo",
    "yolo-voc",
    "yolo-voc.2.0",
    "yolo.2.0",
    "yolo9000",
    "yolov2",
    "yolov2-tiny",
    "yolov2-tiny-voc",
    "yolov2-voc",
    "yolov3",
    "yolov3-openimages",
    "yolov3-spp",
    "yolov3-tiny",
    "yolov3-tiny-prn",
    "yolov3-tiny_3l",
    "yolov3-tiny_obj",
    "yolov3-tiny_xnor",
    "yolov3-voc",
    "yolov3-voc.yolov3-giou-40",
    "yolov3.coco-giou-12",
    "yolov3_5l",
]
NET = "[net]\nwidth=8\nheight=8\nchannels=4\n"
CONV = "[convolutional]\nfilters=4\n"
YOLO = "[convolutional]\nfilters=6\n[yolo]\nclasses=1\nanchors=1,1\n"
RNN = "[rnn]\noutput=3\n"


def test_every_one_of_the_87_is_in_a_list():
    if not OTHERS.is_dir():
        pytest.skip("the cfgs of AlexeyAB's Darknet are not here")
    assert sorted(ANOTHER_NETWORK + THE_SAME) == sorted(path.stem for path in OTHERS.glob("*.cfg"))
    assert len(ANOTHER_NETWORK + THE_SAME) == 87


@pytest.mark.parametrize("name", ANOTHER_NETWORK)
def test_a_cfg_that_is_another_network_there_is_refused(name):
    path = other(name)
    with pytest.raises(CfgError, match="for AlexeyAB's Darknet, .* --dialect darknet") as caught:
        Graph.read(path)
    (problem,) = check(path)
    assert problem.is_error
    assert str(caught.value) == f"{problem.where}: {problem.message}"


@pytest.mark.filterwarnings("ignore::darknet_py.errors.CfgWarning")
@pytest.mark.parametrize("name", THE_SAME)
def test_a_cfg_that_is_the_same_network_there_is_read(name):
    Graph.read(other(name))


@pytest.mark.parametrize("path", [*official_cfgs(), *sorted((OTHERS / "yolov1").glob("*.cfg"))], ids=lambda p: p.stem)
def test_the_original_cfgs_are_read(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CfgWarning)
        Graph.read(path)


def other(name: str) -> Path:
    path = OTHERS / f"{name}.cfg"
    if not path.exists():
        pytest.skip("the cfgs of AlexeyAB's Darknet are not here")
    return path


@pytest.mark.parametrize(
    "text",
    [
        *(f"{CONV}[{section}]\n" for section in sorted(UNBUILT.sections)),
        *(f"{CONV}activation={word}\n" for word in sorted(UNBUILT.activations)),
        f"{CONV}[shortcut]\nfrom=-1\nactivation=mish\n", f"{CONV}[activation]\nactivation=swish\n",
        f"{CONV}size=3\ndilation=2\n", f"{CONV}antialiasing=1\n", f"{CONV}{CONV}share_index=0\n",
        f"{CONV}stride=2\nstride_x=1\n", f"{CONV}stride_y=2\n", f"{CONV}cbn=1\n", "[conv]\nsize=3\ndilation=2\n",
        "[maxpool]\nstride_x=2\n", "[maxpool]\nstride=2\nstride_y=1\n", "[maxpool]\nmaxpool_depth=1\nout_channels=2\n",
        "[maxpool]\nantialiasing=2\n", "[maxpool]\nmaxpool_zero_nonmax=1\n", "[max]\nstride_x=2\n",
        f"{CONV}[route]\nlayers=-1\ngroups=2\ngroup_id=1\n", f"{CONV}[route]\nlayers=-1\ngroup_id=1\n",
        f"{CONV}{CONV}[shortcut]\nfrom=-2,-1\n", f"{CONV}{CONV}[shortcut]\nfrom=-2\nweights_type=per_feature\n",
        f"{RNN}hidden=2\n", "[rnn]\nhidden=2\n", "[crnn]\noutput=4\nhidden=4\n", "[crnn]\noutput_filters=4\nsize=1\n",
        f"{YOLO}scale_x_y=1.05\n", f"{YOLO}new_coords=1\n", f"{YOLO}nms_kind=greedynms\n", f"{YOLO}nms_kind=diounms\n",
    ],
)  # fmt: skip
def test_what_makes_another_network_is_refused_and_read_as_the_original_would_where_it_is_said(text, tmp_path):
    text = NET + text
    with pytest.raises(CfgError, match="^x.cfg:[0-9]+: this cfg is for AlexeyAB's Darknet"):
        Graph.parse(text, "x.cfg")
    plain = any(f"[{section}]" in text for section in UNBUILT.sections)  # then the original goes wrong
    if plain:
        with pytest.raises(CfgError, match="there is no section"):
            Graph.parse(text, "x.cfg", dialect="darknet")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CfgWarning)
        Graph.parse(text, "x.cfg", dialect="darknet")


def test_a_schedule_of_the_other_program_is_refused():
    with pytest.raises(
        CfgError, match=r"^x.cfg:5: this cfg is for AlexeyAB's Darknet.* \[net\] policy=sgdr \(line 5\);"
    ):
        Graph.parse(f"{NET}policy=sgdr\n{CONV}", "x.cfg")


@pytest.mark.filterwarnings("ignore::darknet_py.errors.CfgWarning")
@pytest.mark.parametrize(
    "text",
    [
        f"mosaic=1\nletter_box=1\nema_alpha=.99\n{CONV}", f"letter_box=0\n{CONV}", f"{CONV}dilation=2\n",
        f"{CONV}size=3\ndilation=1\nstride=2\nstride_x=2\nantialiasing=0\ngrad_centr=1\nsway=1\n",
        f"{CONV}batch_normalize=1\ncbn=1\n", "[maxpool]\nstride=2\nstride_x=2\nmaxpool_depth=0\nout_channels=9\n",
        f"{CONV}[route]\nlayers=-1\ngroups=1\ngroup_id=0\n", f"{CONV}[shortcut]\nfrom=-1#,-2\nweights_type=none\n",
        f"{RNN}hidden=3\n", f"{RNN}hidden=3 # units\n", "[dropout]\ndropblock=1\n",
        "[crnn]\noutput_filters=4\nhidden_filters=4\nsize=3\npad=1\nstride=1\n",
        f"{YOLO}scale_x_y=1.0\nnew_coords=0\nnms_kind=default\nbeta_nms=.6\niou_loss=ciou\nmax_delta=5\n",
        f"{YOLO}nms_kind=unheardof\n",
    ],
)  # fmt: skip
def test_what_makes_no_difference_is_read(text):
    Graph.parse(NET + text)


def test_keys_without_effect_are_one_line_each_and_say_whose_they_are():
    with pytest.warns(CfgWarning) as caught:
        Graph.parse(f"{NET}mosaic=1\n{YOLO}max_delta=5\n{YOLO}max_delta=5\n", "x.cfg")
    alone = "; AlexeyAB's Darknet alone reads it, and it is without effect here"
    assert [str(w.message) for w in caught] == [
        f"x.cfg:5: [net] has no key 'mosaic'{alone}",
        f"x.cfg:11: [yolo] has no key 'max_delta'{alone} (also in line 17)",
    ]


def test_the_error_names_the_first_kinds_their_lines_and_how_many_there_are():
    mish = f"{CONV}activation=mish\n"
    text = f"{NET}{3 * mish}[route]\nlayers=-1\ngroups=2\n{YOLO}scale_x_y=1.1\nnew_coords=1\n"
    with pytest.raises(CfgError) as caught:
        Graph.parse(text, "x.cfg")
    assert str(caught.value) == (
        "x.cfg:7: this cfg is for AlexeyAB's Darknet, whose dialect is not built yet: [convolutional] activation=mish "
        "(line 7 and 2 more), [route] groups=2 (line 16), [yolo] scale_x_y=1.1 (line 22), and more: 6 places in all; "
        '--dialect darknet (dialect="darknet" in Python) reads it as the original would, with other outputs'
    )


def test_a_key_that_does_not_count_is_no_reason():
    with pytest.warns(CfgWarning, match="is ignored: 'activation' was given in line 7"):
        Graph.parse(f"{NET}{CONV}activation=leaky\nactivation=mish\n")


def test_dialects_that_there_are_not():
    with pytest.raises(
        DarknetError, match="^there is no dialect 'alexeyab'; there is darknet; alexeyab is not built yet$"
    ):
        Graph.parse(f"{NET}{CONV}", dialect="alexeyab")
    with pytest.raises(DarknetError, match="^there is no dialect 'klingon'; there is darknet$"):
        check("no.cfg", dialect="klingon")


VERBS = (
    "summary x.cfg", "check x.cfg", "detector test x.data x.cfg x.weights x.png", "detect x.cfg x.weights x.png",
    "detector train x.data x.cfg", "detector valid x.data x.cfg x.weights", "detector map x.data x.cfg x.weights",
    "detector recall x.data x.cfg x.weights", "detector demo x.data x.cfg x.weights x.mp4",
    "detector calc_anchors x.data x.cfg", "classifier predict x.data x.cfg x.weights x.png",
    "classifier train x.data x.cfg",
    "classifier valid x.data x.cfg x.weights", "convert x.cfg x.weights y.weights", "inspect x.weights x.cfg",
    "partial x.cfg x.weights y.weights 1", "average x.cfg y.weights x.weights", "rescale x.cfg x.weights y.weights",
    "normalize x.cfg x.weights y.weights", "statistics x.cfg x.weights", "ops x.cfg", "speed x.cfg 1",
    "visualize x.cfg",
)  # fmt: skip


@pytest.mark.parametrize("command", VERBS)
def test_every_verb_refuses(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("cfg").mkdir()
    Path("cfg/coco.data").write_text("classes=1\n", encoding="utf-8")
    Path("x.cfg").write_text(f"{NET}{CONV}activation=mish\n{YOLO}", encoding="utf-8")
    Path("x.data").write_text("classes=1\ntrain=x.txt\nvalid=x.txt\nlabels=x.txt\n", encoding="utf-8")
    Path("x.txt").write_text("x.png\n", encoding="utf-8")
    Path("x.weights").write_bytes(bytes(20 + 4 * (4 * 4 + 4 + 6 * 4 + 6)))
    assert main(command.split()) == 1
    printed = capsys.readouterr()
    first = (printed.out if command.startswith("check") else printed.err).splitlines()[0]
    assert "x.cfg:7: " in first
    assert "this cfg is for AlexeyAB's Darknet" in first


def test_load_reads_it_as_the_original_would_where_that_is_said(tmp_path):
    path = tmp_path / "x.cfg"
    path.write_text(f"{NET}{CONV}activation=mish\n{YOLO}", encoding="utf-8")
    with pytest.raises(CfgError, match="AlexeyAB"):
        load(path, device="cpu")
    with pytest.warns(CfgWarning, match="'relu' is taken"):
        model = load(path, device="cpu", dialect="darknet")
    assert model.network.graph.nodes[0].layer.activation == "relu"


def test_the_table_holds_what_the_original_does_not_read():
    known = {"net": set(fields_of(Net)), **{layer.type: set(fields_of(layer)) for layer in REGISTRY.values()}}
    for section, keys in UNBUILT.quiet.items():
        if section == "layer":
            assert not any(keys & known[layer.type] for layer in REGISTRY.values())
        else:
            assert not keys & known[section]
    assert not UNBUILT.sections & set(REGISTRY)
    assert not UNBUILT.activations & set(ACTIVATIONS)
    assert {(s, k) for s, rules in UNBUILT.changing.items() for k in rules if k in known[s]} == {
        ("net", "policy"),
        ("shortcut", "from"),
    }
    assert "sgdr" not in POLICIES
