"""The keys of every section: declared once, documented, with the defaults of parser.c, and reported where unknown."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darknet_py.cfg import keys
from darknet_py.cfg.grammar import parse
from darknet_py.cfg.keys import fields_of
from darknet_py.errors import CfgError, CfgWarning, Location
from darknet_py.layers import REGISTRY, Layer
from darknet_py.network.graph import Graph
from darknet_py.network.net import Net

NEEDED = dataclasses.MISSING
LAYERS = {layer.type: layer for layer in REGISTRY.values()}
SCHEMAS: dict[str, Any] = {"net": Net, **LAYERS}

# What parser.c reads and takes where a key is not given. None: it follows from another key.
COMMON = {
    "truth": 0, "onlyforward": 0, "stopbackward": 0, "dontsave": 0, "dontload": 0, "numload": 0, "dontloadscales": 0,
    "learning_rate": 1, "smooth": 0,
}  # fmt: skip
HEAD = {"coord_scale": 1, "object_scale": 1, "noobject_scale": 1, "class_scale": 1, "jitter": 0.2, "random": 0}
DEFAULTS: dict[str, dict[str, Any]] = {
    "net": {
        "batch": 1, "subdivisions": 1, "time_steps": 1, "learning_rate": 0.001, "momentum": 0.9, "decay": 0.0001,
        "notruth": 0, "random": 0, "adam": 0, "B1": 0.9, "B2": 0.999, "eps": 1e-7, "height": 0, "width": 0,
        "channels": 0, "inputs": None, "max_crop": None, "min_crop": None, "max_ratio": None, "min_ratio": None,
        "center": 0, "clip": 0, "angle": 0, "aspect": 1, "saturation": 1, "exposure": 1, "hue": 0,
        "policy": "constant", "burn_in": 0, "power": 4, "step": 1, "scale": 1, "steps": (), "scales": (), "gamma": 1,
        "max_batches": 0,
    },
    "activation": {"activation": "linear"},
    "avgpool": {},
    "batchnorm": {},
    "connected": {"output": 1, "activation": "logistic", "batch_normalize": 0},
    "convolutional": {
        "filters": 1, "size": 1, "stride": 1, "pad": 0, "padding": 0, "groups": 1, "activation": "logistic",
        "batch_normalize": 0, "binary": 0, "xnor": 0, "flipped": 0, "dot": 0,
    },
    "cost": {"type": "sse", "scale": 1, "ratio": 0, "noobj": 1, "thresh": 0},
    "crnn": {
        "output_filters": 1, "hidden_filters": 1, "activation": "logistic", "batch_normalize": 0, "shortcut": 0,
    },
    "crop": {
        "crop_height": 1, "crop_width": 1, "flip": 0, "angle": 0, "saturation": 1, "exposure": 1, "noadjust": 0,
        "shift": 0,
    },
    "deconvolutional": {
        "filters": 1, "size": 1, "stride": 1, "pad": 0, "padding": 0, "activation": "logistic", "batch_normalize": 0,
    },
    "detection": {
        **HEAD, "coords": 1, "classes": 1, "rescore": 0, "num": 1, "side": 7, "softmax": 0, "sqrt": 0, "max": 90,
        "forced": 0, "reorg": 0,
    },
    "dropout": {"probability": 0.5},
    "gru": {"output": 1, "batch_normalize": 0, "tanh": 0},
    "iseg": {"classes": 20, "ids": 32},
    "l2norm": {},
    "local": {"filters": 1, "size": 1, "stride": 1, "pad": 0, "activation": "logistic"},
    "logistic": {},
    "lstm": {"output": 1, "batch_normalize": 0},
    "maxpool": {"stride": 1, "size": None, "padding": None},
    "normalization": {"alpha": 0.0001, "beta": 0.75, "kappa": 1, "size": 5},
    "region": {
        **HEAD, "mask_scale": 1, "coords": 4, "classes": 20, "num": 1, "log": 0, "sqrt": 0, "softmax": 0,
        "background": 0, "max": 30, "rescore": 0, "thresh": 0.5, "classfix": 0, "absolute": 0, "bias_match": 0,
        "tree": None, "map": None, "anchors": (),
    },
    "reorg": {"stride": 1, "reverse": 0, "flatten": 0, "extra": 0},
    "rnn": {"output": 1, "activation": "logistic", "batch_normalize": 0, "shortcut": 0},
    "route": {"layers": NEEDED},
    "shortcut": {"from": NEEDED, "activation": "linear", "alpha": 1, "beta": 1},
    "softmax": {"groups": 1, "temperature": 1, "tree": None, "spatial": 0, "noloss": 0},
    "upsample": {"stride": 2, "scale": 1},
    "yolo": {
        "classes": 20, "num": 1, "mask": None, "max": 90, "jitter": 0.2, "ignore_thresh": 0.5, "truth_thresh": 1,
        "random": 0, "map": None, "anchors": (),
    },
}  # fmt: skip
ALIASES = {
    "conv": "convolutional", "conn": "connected", "max": "maxpool", "avg": "avgpool", "soft": "softmax",
    "lrn": "normalization", "deconv": "deconvolutional",
}  # fmt: skip
LEEKY = (
    "[conv] activation: 'leeky' is not one of logistic, loggy, relu, elu, selu, relie, plse, hardtan, lhtan, linear, "
    "ramp, leaky, tanh, stair; 'relu' is taken, as Darknet does"
)
INPUT = "[net]\nwidth=8\nheight=8\nchannels=4\n"


def first_layer(section: str, **options: bool) -> Layer:
    """The layer made of a section that stands right after [net]."""
    return Graph.parse(f"{INPUT}{section}", "x.cfg", **options).nodes[0].layer


def complaint(section: str) -> str:
    """The one warning a section gives."""
    with pytest.warns(CfgWarning) as caught:
        first_layer(section)
    assert len(caught) == 1
    return str(caught[0].message)


def test_section_types_and_aliases_are_those_of_the_c_program():
    assert {name: layer.type for name, layer in REGISTRY.items()} == {
        **{name: name for name in DEFAULTS if name != "net"},
        **ALIASES,
    }
    for text in ("[network]\nwidth=8\nheight=8\nchannels=4\n[conv]", f"{INPUT}[conv]"):
        assert Graph.parse(text).nodes[0].shape == (1, 8, 8)


@pytest.mark.parametrize("name", SCHEMAS)
def test_keys_and_defaults_are_those_of_the_c_program(name):
    declared = {key: field.default for key, field in fields_of(SCHEMAS[name]).items()}
    expected = DEFAULTS[name] if name == "net" else {**COMMON, **DEFAULTS[name]}
    assert declared == expected


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_key_says_what_it_means_and_what_it_takes(name):
    assert inspect.getdoc(SCHEMAS[name])
    for key, field in fields_of(SCHEMAS[name]).items():
        doc = field.metadata["doc"]
        assert doc, f"{key} has no documentation"
        assert doc == doc.strip().rstrip("."), key
        assert (field.metadata["parse"].__doc__ or "").strip().endswith("."), f"{key}: its parser has no docstring"


@pytest.mark.parametrize("name", SCHEMAS)
def test_nothing_but_keys_is_a_field(name):
    assert {field.name for field in dataclasses.fields(SCHEMAS[name]) if "parse" not in field.metadata} == {"where"}


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_defaults_of_a_section_are_valid_values_of_their_keys(name):
    for key, field in fields_of(SCHEMAS[name]).items():
        if field.default in (None, (), NEEDED):
            continue
        text = str(int(field.default)) if isinstance(field.default, bool) else str(field.default)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert field.metadata["parse"](text, pytest.fail) == field.default, key


def test_what_follows_from_other_keys():
    assert first_layer("[max]\nstride=2").window == 2
    assert first_layer("[max]\nstride=2").total_padding == 1
    assert first_layer("[max]\nstride=2\nsize=3").total_padding == 2
    assert first_layer("[max]\nstride=2\nsize=3\npadding=0").total_padding == 0
    assert first_layer("[conv]\nsize=3\npad=1").total_padding == 1
    assert first_layer("[conv]\nsize=4\npad=1").total_padding == 2
    assert first_layer("[conv]\nsize=3\npad=1\npadding=5").total_padding == 1
    assert first_layer("[conv]\nsize=3\npadding=2").total_padding == 2
    assert first_layer("[conv]\nsize=3\npad=0\npadding=2").total_padding == 2


def test_the_batch_of_the_network():
    net = Graph.parse(f"{INPUT}batch=64\nsubdivisions=8\ntime_steps=5\n[conv]").net
    assert (net.batch, net.subdivisions, net.network_batch) == (64, 8, 40)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("size=3.0", 3),
        ("size=3", 3),
        ("size=+3", 3),
        ("size = 0 3", 3),
        ("size=3#5", 3),
        ("size=3;was5", 3),
        ("size=3. # was 5", 3),
        ("size=0000000000000003", 3),
    ],
)
def test_integers_are_read_as_atoi_does(line, value):
    assert first_layer(f"[conv]\npad=1\n{line}").size == value


@pytest.mark.parametrize(
    ("line", "rest"),
    [
        ("conv]\nsize=3.7", "[conv] size: '.7' after the number 3"),
        ("conv]\nsize=3x", "[conv] size: 'x' after the number 3"),
        ("conv]\nfilters=1e3", "[conv] filters: 'e3' after the number 1"),
        ("conv]\nfilters=8,5", "[conv] filters: ',5' after the number 8"),
        ("conv]\nbatch_normalize=1,0", "[conv] batch_normalize: ',0' after the number 1"),
        ("conv]\nlearning_rate=0,001", "[conv] learning_rate: ',001' after the number 0"),
        ("dropout]\nprobability=.5.5", "[dropout] probability: '.5' after the number .5"),
        ("route]\nlayers=-1x", "[route] layers: 'x' after the number -1"),
    ],
)
def test_what_stands_behind_a_number_is_worth_a_warning(line, rest):
    text = f"{INPUT}[conv]\n[{line}"
    with pytest.warns(CfgWarning, match=f"^x.cfg:7: {re.escape(rest)} is ignored$"):
        Graph.parse(text, "x.cfg")
    with pytest.raises(CfgError, match=f"{re.escape(rest)} is ignored$"):
        Graph.parse(text, "x.cfg", strict=True)


def test_a_decimal_comma_in_net_is_worth_a_warning():
    with pytest.warns(CfgWarning) as caught:
        net = Graph.parse(f"{INPUT}learning_rate=0,001\nmax_batches = 500,200\n[conv]").net
    assert (net.learning_rate, net.max_batches) == (0, 500)
    assert [str(w.message).partition(": ")[2] for w in caught] == [
        "[net] learning_rate: ',001' after the number 0 is ignored",
        "[net] max_batches: ',200' after the number 500 is ignored",
    ]


@pytest.mark.parametrize("text", ["x", "-", "+", ".5", "#3", "--1", "\u0663", "nan"])
def test_where_atoi_would_go_on_with_zero_there_is_an_error(text):
    with pytest.raises(CfgError, match=r"x\.cfg:6: \[convolutional\] 'size=.*': an integer was expected"):
        first_layer(f"[convolutional]\nsize={text}")


@pytest.mark.parametrize("text", ["2147483648", "-2147483649", "99999999999999999999999999"])
def test_integers_beyond_32_bits_are_refused(text):
    with pytest.raises(CfgError, match="an integer of 32 bits was expected"):
        first_layer(f"[route]\nlayers={text}")


def test_a_filter_count_with_its_old_value_behind_it():
    """People comment so, and `padding=1.0` is in files too."""
    graph = Graph.parse("[net]\nwidth = 4 16\nheight=4 1 6\nchannels=3\n[conv]\nfilters=40#32\nsize=3\npadding=1.0")
    assert graph.nodes[0].shape == (40, 416, 416)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5), (".5", 0.5), ("5.", 5.0), ("-1", -1.0), ("+1e-3", 0.001), ("1E2", 100.0), ("0.1.2", 0.1),
        ("0.5#1", 0.5), ("1e", 1.0), ("0.0005f", 0.0005), ("00012", 12.0),
    ],
)  # fmt: skip
def test_numbers_are_read_as_atof_does(text, value):
    assert keys.number(text) == value


@pytest.mark.parametrize("text", ["x", "", ".", "-", "nan", "inf", "-inf", "1e999", "1e39", "e5", "\u0663"])
def test_what_is_no_finite_number_is_refused(text):
    with pytest.raises(ValueError, match="a number of 32 bits"):
        keys.number(text)


@settings(max_examples=200, deadline=None)
@given(st.floats(-(2.0**100), 2.0**100, width=32))
def test_numbers_come_back_from_their_text(value):
    assert keys.number(repr(value)) == value
    assert keys.number(f"{value:.9g}") == pytest.approx(value)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("+-.0123456789eEx#,\u0663"), max_size=20))
def test_parsers_give_values_in_range_or_a_value_error(text):
    for parse_value in (keys.integer, keys.natural, keys.positive):
        try:
            value = parse_value(text)
        except ValueError:
            continue
        assert -(2**31) <= value < 2**31
    try:
        assert math.isfinite(keys.number(text))
    except ValueError as error:
        assert str(error) == "a number of 32 bits"


@pytest.mark.parametrize(("text", "value"), [("0", False), ("1", True), ("2", True), ("-1", True), ("0.9", False)])
def test_flags_are_integers_that_are_not_zero(text, value):
    assert keys.flag(text) is value


@pytest.mark.parametrize("text", ["1,2,3", "1, 2,\t3", "1.0,2,3#4", "1,2,3 # 4, 5", "1,2,3;x"])
def test_lists_may_carry_blanks_and_comments(text):
    (section,) = parse(f"[net]\nsteps={text}")
    assert keys.parse_entry(keys.list_of(keys.integer), section.entries[0], section) == (1, 2, 3)


@pytest.mark.parametrize("text", ["[route]\nlayers=#-1", "[route]\nlayers=;", "[yolo]\nmask=#1\nanchors=1,2"])
def test_a_list_is_more_than_a_comment(text):
    with pytest.raises(CfgError, match=r"a value before the comment was expected$"):
        first_layer(text)


@pytest.mark.parametrize("count", [keys.MAX_ITEMS + 1, 2_000_000])
def test_a_list_of_too_many_values_is_refused_before_they_are_read(count):
    with pytest.raises(CfgError, match=r"^x\.cfg:6: .*: a list of at most 10000 values was expected$"):
        first_layer(f"[route]\nlayers={'0,' * (count - 1)}0")


def test_a_comma_at_the_end_is_ignored_with_a_warning():
    """Darknet reads a further 0 there, which in a route is layer 0."""
    text = f"{INPUT}[conv]\n[conv]\n[route]\nlayers=-1,"
    with pytest.warns(CfgWarning, match=r"^x\.cfg:8: \[route\] layers: the comma at the end is ignored"):
        graph = Graph.parse(text, "x.cfg")
    assert graph.nodes[2].sources == (1,)
    with pytest.raises(CfgError, match=r"x\.cfg:8: \[route\] layers: the comma at the end"):
        Graph.parse(text, "x.cfg", strict=True)


@pytest.mark.filterwarnings("ignore::darknet_py.errors.CfgWarning")
@pytest.mark.parametrize("text", [",", ",1", "1,,2", "1,x"])
def test_a_list_with_a_hole_is_refused(text):
    with pytest.raises(CfgError, match="an integer was expected"):
        first_layer(f"[route]\nlayers={text}")


def test_an_unknown_key_warns_with_its_place_and_the_nearest_known_key():
    assert complaint("[conv]\nfilter=3") == "x.cfg:6: [conv] has no key 'filter'; did you mean 'filters'?"
    assert complaint("[conv]\nfrobnicate=3") == "x.cfg:6: [conv] has no key 'frobnicate'"
    with pytest.raises(CfgError) as caught:
        first_layer("[conv]\nfilter=3", strict=True)
    assert str(caught.value) == "x.cfg:6: [conv] has no key 'filter'; did you mean 'filters'?"
    assert caught.value.where == Location("x.cfg", 6)


def test_what_several_sections_have_is_one_warning_with_their_lines():
    sections = 5 * "[conv]\nfilter=3\nactivation=leeky\n"
    with pytest.warns(CfgWarning) as caught:
        Graph.parse(f"{INPUT}{sections}[maxpool]\nfilter=3", "x.cfg")
    assert [str(w.message) for w in caught] == [
        "x.cfg:6: [conv] has no key 'filter'; did you mean 'filters'? (also in lines 9, 12, 15 and 1 more)",
        f"x.cfg:7: {LEEKY} (also in lines 10, 13, 16 and 1 more)",
        "x.cfg:21: [maxpool] has no key 'filter'",
    ]
    with pytest.warns(CfgWarning, match=r"also in line 9\)$"):
        Graph.parse(INPUT + 2 * "[conv]\nfilter=3\nsize=1\n", "x.cfg")


def test_an_unknown_key_of_net_warns_too():
    with pytest.warns(CfgWarning, match=r"x\.cfg:5: \[net\] has no key 'leaning_rate'; did you mean 'learning_rate'"):
        Graph.parse(f"{INPUT}leaning_rate=1\n[conv]", "x.cfg")


def test_of_a_repeated_key_the_first_holds_and_the_others_warn():
    section = "[conv]\nfilters=2\nsize=1\nfilters=3"
    assert complaint(section) == "x.cfg:8: filters=3 is ignored: 'filters' was given in line 6"
    with pytest.warns(CfgWarning):
        assert first_layer(section).filters == 2
    with pytest.raises(CfgError, match=r"x\.cfg:8: filters=3 is ignored"):
        first_layer(section, strict=True)


def test_a_repeated_key_is_not_even_parsed():
    with pytest.warns(CfgWarning, match="is ignored"):
        assert first_layer("[conv]\nfilters=2\nfilters=x").filters == 2


def test_warnings_of_long_lines_are_short():
    long = "x" * 100_000
    for section in (f"[conv]\n{long}=1", f"[conv]\nsize=1\nsize={long}", f"[conv]\nactivation={long}"):
        assert len(complaint(section)) < 400


def test_an_unknown_section_is_an_error_with_the_nearest_known_one():
    with pytest.raises(CfgError) as caught:
        first_layer("[convolutionel]")
    assert str(caught.value) == "x.cfg:5: there is no section [convolutionel]; did you mean 'convolutional'?"
    with pytest.raises(CfgError, match=r"^x\.cfg:5: there is no section \[zzzz\]$"):
        first_layer("[zzzz]")


@pytest.mark.parametrize("name", ["net", "network"])
def test_net_can_only_come_first(name):
    with pytest.raises(CfgError, match=rf"x\.cfg:5: \[{name}\] can only come first"):
        first_layer(f"[{name}]")
    with pytest.raises(CfgError, match=r"<cfg>:1: the first section has to be \[net\], and it is \[conv\]"):
        Graph.parse("[conv]\n[net]")


def test_an_unknown_activation_is_relu_with_a_warning():
    message = complaint("[conv]\nactivation=leeky")
    assert message.startswith("x.cfg:6: [conv] activation: 'leeky' is not one of logistic, ")
    assert message.endswith("; 'relu' is taken, as Darknet does")
    with pytest.warns(CfgWarning):
        assert first_layer("[conv]\nactivation=leeky").activation == "relu"
    with pytest.raises(CfgError, match="'leeky' is not one of"):
        first_layer("[conv]\nactivation=leeky", strict=True)


def test_unknown_policies_and_costs_fall_back_too():
    with pytest.warns(CfgWarning, match="'constant' is taken"):
        assert Graph.parse(f"{INPUT}policy=stepz\n[conv]").net.policy == "constant"
    with pytest.warns(CfgWarning, match="'sse' is taken"):
        assert first_layer("[cost]\ntype=sze").kind == "sse"


def test_a_needed_key_that_is_missing():
    with pytest.raises(CfgError, match=r"x\.cfg:5: \[shortcut\] needs the key 'from'"):
        first_layer("[shortcut]\nactivation=linear")
    with pytest.raises(CfgError, match=r"x\.cfg:5: \[route\] needs the key 'layers'"):
        first_layer("[route]")


def test_a_value_that_does_not_parse_names_section_entry_and_place():
    with pytest.raises(CfgError) as caught:
        first_layer("[conv]\nsize=0")
    assert str(caught.value) == "x.cfg:6: [conv] 'size=0': an integer not below 1 was expected"
    assert caught.value.where == Location("x.cfg", 6)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ("", "[net] needs width, height and channels, or inputs"),
        ("width=8\nheight=8", "[net] needs width, height and channels, or inputs"),
        ("width=8\nheight=-8\nchannels=3", "'height=-8': an integer not below 0 was expected"),
        ("width=40000\nheight=8\nchannels=3", "[net] an input of 40000 x 8 x 3 is beyond"),
        ("width=8\nheight=8\nchannels=100000", "is beyond"),
        ("width=32768\nheight=32768\nchannels=65536", "is too large: 1 x 1 x 1 values out of 32768 x 32768 x 65536"),
        ("inputs=2147483648", "an integer of 32 bits was expected"),
        ("inputs=5\npolicy=steps", "[net] policy=steps needs steps and scales"),
        ("inputs=5\npolicy=steps\nsteps=1,2", "[net] policy=steps needs steps and scales"),
        ("inputs=5\nbatch=0", "an integer not below 1 was expected"),
        ("inputs=5\nsubdivisions=0", "an integer not below 1 was expected"),
    ],
)
def test_what_net_refuses(net, message):
    with pytest.raises(CfgError) as caught:
        Graph.parse(f"[net]\n{net}\n[connected]", "x.cfg")
    assert message in str(caught.value)
    assert str(caught.value).startswith("x.cfg:")


def test_inputs_of_net_may_be_a_row():
    assert Graph.parse("[net]\ninputs=5\n[connected]").input_shape.dims == (5,)
    assert Graph.parse("[net]\nwidth=2\nheight=3\nchannels=4\ninputs=5\n[connected]").input_shape.dims == (4, 3, 2)
