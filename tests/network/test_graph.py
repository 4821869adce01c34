"""Sections to graphs: sources, shapes, sizes, and what is refused; all of it without a tensor."""

from __future__ import annotations

import json
import tracemalloc
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from darknet_py import weights
from darknet_py.cfg.keys import fields_of
from darknet_py.errors import CfgError, CfgWarning, DarknetError
from darknet_py.layers import REGISTRY
from darknet_py.network import Network, summary
from darknet_py.network.graph import INPUT, Graph
from darknet_py.network.header import HEADER_SIZES
from tests.support.places import GOLDEN, OFFICIAL, needs_official, official_cfgs
from tests.support.recordings import read_graph

NET = "[net]\nwidth=32\nheight=32\nchannels=3\n"
CONV = "[convolutional]\nfilters={}\nsize={}\nstride={}\npad=1\nactivation=linear\n"


def graph_of(*sections: str, net: str = NET) -> Graph:
    return Graph.parse(net + "\n".join(sections), "x.cfg")


def conv(filters: int = 4, size: int = 3, stride: int = 1) -> str:
    return CONV.format(filters, size, stride)


class NoTensors(TorchDispatchMode):
    """Fails where any tensor is made."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        pytest.fail(f"{function} was called")


# Official networks: what the C program prints for them, and the sizes of their published weights.

# darknet ops CFG: "Floating Point Operations". It leaves out [local], so yolov1.cfg is not among them.
OPERATIONS = {
    "alexnet": 2270512192, "darknet19": 7290748928, "darknet53_448": 56867110912, "densenet201": 10848043008,
    "extraction": 8518680576, "gru": 2490368, "resnet50": 9741172736, "resnext50": 10110271488, "rnn": 17825792,
    "vgg-16": 30940528640, "yolo9000": 49062045696, "yolov2": 62938253312, "yolov2-tiny": 5406442496,
    "yolov2-tiny-voc": 6971041792, "yolov2-voc": 29360334848, "yolov3": 140691900416, "yolov3-spp": 141448972288,
    "yolov3-tiny": 5564961792,
}  # fmt: skip
PUBLISHED_BYTES = {
    "yolov2": 203934260, "yolov2-tiny-voc": 63471556, "yolov3": 248007048, "yolov3-tiny": 35434956,
    "yolov3-spp": 252209544,
}  # fmt: skip
LINES = {
    "yolov2": """\
layer     filters    size              input                output
    0 conv     32  3 x 3 / 1   608 x 608 x   3   ->   608 x 608 x  32  0.639 BFLOPs
    1 max          2 x 2 / 2   608 x 608 x  32   ->   304 x 304 x  32
    2 conv     64  3 x 3 / 1   304 x 304 x  32   ->   304 x 304 x  64  3.407 BFLOPs
   20 conv   1024  3 x 3 / 1    19 x  19 x 512   ->    19 x  19 x1024  3.407 BFLOPs
   26 conv     64  1 x 1 / 1    38 x  38 x 512   ->    38 x  38 x  64  0.095 BFLOPs
   27 reorg              / 2    38 x  38 x  64   ->    19 x  19 x 256
   29 conv   1024  3 x 3 / 1    19 x  19 x1280   ->    19 x  19 x1024  8.517 BFLOPs
   30 conv    425  1 x 1 / 1    19 x  19 x1024   ->    19 x  19 x 425  0.314 BFLOPs""",
    "yolov3-spp": """\
    1 conv     64  3 x 3 / 2   608 x 608 x  32   ->   304 x 304 x  64  3.407 BFLOPs
    4 res    1                 304 x 304 x  64   ->   304 x 304 x  64
   36 res   33                  76 x  76 x 256   ->    76 x  76 x 256
   82 max          13 x 13 / 1    19 x  19 x 512   ->    19 x  19 x 512
   92 upsample            2x    19 x  19 x 256   ->    38 x  38 x 256""",
}


@needs_official
def test_official_cfgs_become_graphs_without_a_tensor():
    cfgs = official_cfgs()
    assert len(cfgs) == 45
    with NoTensors():
        for path in cfgs:
            graph = read_graph(path)
            assert graph.nodes[-1].shape.size > 0
            assert sum(node.operations for node in graph.nodes) > 0
            assert json.loads(json.dumps(summary.as_dict(graph)))["source"] == str(path)
            assert len(summary.table(graph).splitlines()) == len(graph.nodes) + 2


@needs_official
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_counted_as_the_c_program_counts(name):
    graph = read_graph(OFFICIAL / "cfg" / f"{name}.cfg")
    assert sum(node.operations for node in graph.nodes) == OPERATIONS[name]


@needs_official
@pytest.mark.parametrize("name", PUBLISHED_BYTES)
def test_the_stored_tensors_have_the_size_of_the_published_file(name):
    assert PUBLISHED_BYTES[name] in weights.expected_bytes(read_graph(OFFICIAL / "cfg" / f"{name}.cfg"))


@needs_official
def test_the_first_layers_have_the_size_of_their_published_file():
    for name, cutoff, size in (("yolov3", 75, 162482580), ("darknet19_448", 23, 79327120)):
        values = weights.layout(read_graph(OFFICIAL / "cfg" / f"{name}.cfg"), cutoff=cutoff)[-1].end
        assert size - 4 * values in HEADER_SIZES


@needs_official
@pytest.mark.parametrize("name", LINES)
def test_lines_of_the_table_are_those_the_c_program_prints(name):
    printed = summary.table(read_graph(OFFICIAL / "cfg" / f"{name}.cfg")).splitlines()
    for line in LINES[name].splitlines():
        assert line in printed


@needs_official
def test_the_total_of_the_table():
    graph = read_graph(OFFICIAL / "cfg" / "yolov2.cfg")
    assert summary.table(graph).splitlines()[-1].startswith("Total BFLOPs 62.938, parameters 50,9")
    # bias, scale and weights are learned; 2 * (channels with batch normalization) means and variances are not
    normalized = sum(n.shape.c for n in graph.nodes if getattr(n.layer, "batch_normalize", False))
    assert sum(node.parameters for node in graph.nodes) == (203934260 - 16) // 4 - 2 * normalized


@needs_official
@pytest.mark.parametrize(
    ("name", "stride", "field"),
    [("yolov2", 32, 566), ("yolov3", 32, 917), ("darknet19", 32, None), ("vgg-conv", 32, 212)],
)
def test_strides_and_receptive_fields_of_official_networks(name, stride, field):
    graph = read_graph(OFFICIAL / "cfg" / f"{name}.cfg")
    assert (graph.stride, graph.nodes[graph.outputs[0]].receptive_field) == (stride, field)


# Receptive fields.


@pytest.mark.parametrize(
    ("sections", "fields", "spacing"),
    [
        ([conv()], [3], 1),
        ([conv(), conv()], [3, 5], 1),
        ([conv(), "[max]\nsize=2\nstride=2", conv()], [3, 4, 8], 2),
        ([conv(4, 7, 2), "[max]\nsize=3\nstride=2", conv()], [7, 11, 19], 4),
        ([conv(4, 3, 2), conv(4, 3, 2), "[upsample]\nstride=2", conv()], [3, 7, 7, 11], 2),
        ([conv(), conv(4, 1), "[route]\nlayers=-1,0", conv(), "[shortcut]\nfrom=0"], [3, 3, 3, 5, 5], 1),
        ([conv(4, 1), "[reorg]\nstride=2", conv()], [1, 2, 6], 2),
        ([conv(), "[avgpool]"], [3, None], 1),
        ([conv(), "[connected]\noutput=2"], [3, None], 1),
        ([conv(), "[local]\nsize=3"], [3, 5], 1),
        ([conv(), "[activation]", "[dropout]", "[batchnorm]"], [3, 3, 3, 3], 1),
    ],
)
def test_receptive_fields_computed_by_hand(sections, fields, spacing):
    graph = graph_of(*sections)
    assert [node.receptive_field for node in graph.nodes] == fields
    assert graph.nodes[-1].spacing == spacing


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 2)), min_size=1, max_size=4))
def test_receptive_fields_are_where_gradients_reach(layers):
    net = "[net]\nwidth=129\nheight=129\nchannels=1\n"
    graph = graph_of(*(conv(1, size, stride) for size, stride in layers), net=net)
    network = Network(graph, initialize=False)
    for parameter in network.parameters():
        parameter.data.fill_(1)
    x = torch.ones(1, 1, 129, 129, requires_grad=True)
    out = network(x)
    out[0, 0, out.shape[2] // 2, out.shape[3] // 2].backward()
    rows, columns = x.grad[0, 0].nonzero().unbind(1)
    field = graph.nodes[-1].receptive_field
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (field, field)


# Other input sizes.


@needs_official
def test_yolov2_at_another_size():
    graph = read_graph(OFFICIAL / "cfg" / "yolov2.cfg")
    small = graph.resized(416, 320)
    assert small.nodes[-1].shape == (425, 10, 13)
    assert small.input_shape == (3, 320, 416)
    assert (small.net.width, small.net.height) == (416, 320)
    assert [node.layer for node in small.nodes] == [node.layer for node in graph.nodes]
    assert [node.shape for node in small.resized(608, 608).nodes] == [node.shape for node in graph.nodes]


def test_the_same_size_is_the_same_graph():
    graph = graph_of(conv())
    assert graph.resized(32, 32) is graph


def test_crop_keeps_its_share_of_the_picture():
    graph = graph_of("[crop]\ncrop_height=24\ncrop_width=24", conv()).resized(64, 48)
    assert graph.nodes[0].shape == (3, 36, 48)


@pytest.mark.parametrize(
    ("sections", "net", "message"),
    [
        ([conv(), "[connected]\noutput=5"], NET, "this network cannot be resized: layer 1 [connected] has a fixed"),
        (["[local]\nsize=3"], NET, "layer 0 [local] has a fixed input size"),
        (["[rnn]\noutput=5"], "[net]\ninputs=5\n", "layer 0 [rnn] has a fixed input size"),
        (["[softmax]"], "[net]\ninputs=5\n", "its input is no picture"),
    ],
)
def test_what_cannot_be_resized(sections, net, message):
    graph = graph_of(*sections, net=net)
    assert not graph.resizable
    with pytest.raises(CfgError) as caught:
        graph.resized(64, 64)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((30, 33), "x.cfg:12: [reorg] stride=2 does not divide the 30 x 33 input"),
        ((0, 32), "[net] needs width, height and channels, or inputs"),
        ((-32, 32), "[net] needs width, height and channels"),
        ((32, -32), "[net] needs width, height and channels"),
        ((1 << 16, 32), "is beyond"),
    ],
)
def test_sizes_a_network_cannot_take(size, message):
    graph = graph_of(conv(), "[reorg]\nstride=2")
    assert graph.resizable
    with pytest.raises(CfgError) as caught:
        graph.resized(*size)
    assert message in str(caught.value)


def test_a_resized_network_runs_where_layers_round_differently():
    """A size at which two branches part by a pixel: the shortcut then adds where they overlap."""
    branches = (conv(), "[max]\nsize=2\nstride=2", "[route]\nlayers=0", "[conv]\nsize=2\nstride=2\nfilters=4")
    graph = graph_of(*branches, "[shortcut]\nfrom=1")
    network = Network(graph, generator=torch.Generator().manual_seed(0)).eval()
    network.resize(33, 33)
    fresh = Network(graph.resized(33, 33)).eval()
    fresh.load_state_dict(network.state_dict())
    x = torch.rand(1, 3, 33, 33, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(network(x), fresh(x))


def test_a_size_whose_values_a_tree_does_not_have():
    tree = GOLDEN / "train" / "tiny.tree"  # 10 nodes
    graph = Graph.parse(
        "[net]\nwidth=1\nheight=1\nchannels=10\n[softmax]\ntree=tiny.tree", str(tree.with_name("x.cfg"))
    )
    network = Network(graph)
    with pytest.raises(CfgError, match="10 nodes"):
        network.resize(2, 3)
    assert network(torch.rand(1, 10, 1, 1)).shape == (1, 10)


# What is refused.


def test_a_route_to_a_layer_that_does_not_exist():
    with pytest.raises(CfgError) as caught:
        Graph.parse(NET + "[conv]\n" * 27 + "\n[route]\nlayers=-1,-40", "yolo.cfg")
    assert str(caught.value) == "yolo.cfg:33: [route] layer -40 does not exist; this is layer 27"
    assert caught.value.where == ("yolo.cfg", 33)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ([], "x.cfg:1: there is no layer after [net]"),
        (["[route]\nlayers=0"], "x.cfg:5: [route] layer 0 does not exist; this is layer 0"),
        (["[route]\nlayers=-1"], "x.cfg:5: [route] layer -1 does not exist; this is layer 0"),
        (["[conv]", "[route]\nlayers=1"], "x.cfg:6: [route] layer 1 does not exist; this is layer 1"),
        (["[conv]", "[route]\nlayers=7"], "x.cfg:6: [route] layer 7 does not exist; this is layer 1"),
        (["[conv]", "[shortcut]\nfrom=-2"], "x.cfg:6: [shortcut] layer -2 does not exist; this is layer 1"),
        (["[conv]", "[shortcut]\nfrom=1"], "x.cfg:6: [shortcut] layer 1 does not exist; this is layer 1"),
        (
            ["[conv]", "[max]\nstride=2", "[route]\nlayers=-1,0"],
            "x.cfg:8: [route] joins outputs of different sizes (layer -1: 16 x 16 x 1, layer 0: 32 x 32 x 1)",
        ),
        (
            ["[conv]", "[softmax]", "[route]\nlayers=-1,0"],
            "x.cfg:7: [route] joins outputs of different sizes (layer -1: 1024, layer 0: 32 x 32 x 1)",
        ),
        (["[conv]", "[softmax]", "[shortcut]\nfrom=0"], "x.cfg:7: [shortcut] cannot add 32 x 32 x 1 to 1024"),
        (["[softmax]", "[conv]"], "x.cfg:6: [convolutional] needs a picture, but the layer before it gives a row of"),
        (["[conv]\nsize=33"], "x.cfg:5: [convolutional] size=33 is larger than the 32 x 32 input with its padding"),
        (["[conv]\nfilters=4\ngroups=2"], "groups=2 has to divide the 3 input channels and filters=4"),
        (["[conv]\npadding=-1"], "x.cfg:5: [convolutional] padding=-1 is negative"),
        (["[max]\nsize=40\npadding=0"], "x.cfg:5: [maxpool] size=40 is larger than the 32 x 32 input"),
        (["[local]\nsize=3\npad=2"], "x.cfg:5: [local] pad=2 does not fit size=3"),
        (["[local]\nsize=40"], "x.cfg:5: [local] size=40 is larger than the 32 x 32 input"),
        (["[deconv]\nsize=2\npadding=99"], "x.cfg:5: [deconvolutional] its padding leaves nothing of the output"),
        (["[crop]\ncrop_width=33\ncrop_height=1"], "x.cfg:5: [crop] the part (33 x 1) is larger than the 32 x 32"),
        (["[reorg]\nstride=3"], "x.cfg:5: [reorg] stride=3 needs channels that are a multiple of 9, and there are 3"),
        ([conv(4), "[reorg]\nstride=5\nflatten=1"], "[reorg] stride=5 does not divide the 32 x 32 input"),
        (["[upsample]\nstride=0"], "x.cfg:5: [upsample] stride=0"),
        (["[upsample]\nstride=-3"], "x.cfg:5: [upsample] stride=-3 does not divide the 32 x 32 input"),
        (["[softmax]\ngroups=5"], "x.cfg:5: [softmax] groups=5 does not divide 3072 values"),
        (["[softmax]\ntemperature=0"], "x.cfg:5: [softmax] temperature=0"),
        (["[dropout]\nprobability=1"], "x.cfg:5: [dropout] probability=1.0 is not from 0 to below 1"),
        (
            [conv(424), "[region]\nclasses=80\nnum=5"],
            "[region] needs num*(classes+coords+1) = 5*(80+4+1) = 425 channels, but the layer before it gives 424",
        ),
        ([conv(4), "[region]\nclasses=1\nnum=1\ncoords=2"], "[region] coords=2 is below 4"),
        (
            [conv(84), "[yolo]\nclasses=80\nnum=9\nmask=0"],
            "[yolo] needs len(mask)*(classes+5) = 1*(80+5) = 85 channels, but the layer before it gives 84: set",
        ),
        ([conv(85), "[yolo]\nclasses=80\nnum=3\nmask=3"], "[yolo] mask=3 names an anchor beyond num=3"),
        ([conv(5), "[iseg]\nclasses=2\nids=2"], "[iseg] needs classes+ids = 4 channels, but the layer before it"),
        (
            ["[connected]\noutput=10", "[detection]\nclasses=20\ncoords=4\nnum=2\nside=7"],
            "[detection] needs side*side*((1+coords)*num+classes) = 1470 values, but the layer before it gives 10",
        ),
        ([conv(2_000_000_000)], "[convolutional] is too large: 32 x 32 x 2000000000 values out of 32 x 32 x 3"),
        (["[connected]\noutput=2000000"], "[connected] is too large"),
        (["[upsample]\nstride=20000"], "[upsample] is too large: 640000 x 640000 x 3 values"),
        (["[deconv]\nstride=20000"], "[deconvolutional] is too large"),
        (["[rnn]\noutput=100000"], "[rnn] is too large"),
        (["[reorg]\nextra=2147483647"], "[reorg] is too large"),
        (["[local]\nfilters=1000000"], "[local] is too large"),
    ],
)
def test_what_a_graph_refuses(sections, message):
    with pytest.raises(CfgError) as caught:
        graph_of(*sections)
    assert message in str(caught.value)
    assert str(caught.value).startswith("x.cfg:")
    assert caught.value.where.line > 0


def test_channels_cannot_grow_without_end():
    with pytest.raises(CfgError, match=r"\[route\] is too large"):
        graph_of(conv(), *["[route]\nlayers=-1,-1"] * 100)


@pytest.mark.parametrize("value", ["2147483647", "-2147483648", "1e38", "1" * 4000])
def test_no_value_of_a_key_takes_memory(value):
    def parse_all() -> None:
        for layer in dict.fromkeys(REGISTRY.values()):
            for key in fields_of(layer):
                text = f"{NET}{conv()}[{layer.type}]\n{key}={value}\n"
                try:
                    graph = Graph.parse(text)
                except CfgError:
                    continue
                summary.table(graph)
                weights.expected_bytes(graph)

    with warnings.catch_warnings(), NoTensors():
        warnings.simplefilter("ignore", CfgWarning)
        tracemalloc.start()
        try:
            parse_all()
            assert tracemalloc.get_traced_memory()[1] < 4 << 20
        finally:
            tracemalloc.stop()


def test_anchors_that_a_mask_leaves_out_take_no_memory():
    graph = graph_of(conv(18), "[yolo]\nclasses=1\nnum=3000000\nmask=0,1,2999999\nanchors=1,2,3,4")
    tracemalloc.start()
    try:
        assert graph.nodes[1].layer.anchor_boxes == ((1, 2), (3, 4), (0.5, 0.5))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


# Outputs, and how long they live.


def heads_of(*sections: str) -> tuple[int, ...]:
    graph = graph_of(*sections)
    assert [node.index for node in graph.heads] == list(graph.outputs)
    return graph.outputs


def test_the_output_is_the_last_layer_that_is_no_cost():
    assert heads_of(conv(), "[avgpool]") == (1,)
    assert heads_of(conv(), "[softmax]", "[cost]") == (1,)
    assert heads_of(conv(), "[softmax]", "[cost]", "[cost]") == (1,)
    assert heads_of("[cost]") == (0,)


def test_every_head_is_an_output_and_then_nothing_else_is():
    region, yolo = "[region]\nclasses=1\nnum=1", "[yolo]\nclasses=1\nnum=1"
    assert heads_of(conv(6), region) == (1,)
    assert heads_of(conv(6), yolo, "[route]\nlayers=0", conv(6), yolo) == (1, 4)
    assert heads_of(conv(6), region, "[route]\nlayers=0", "[softmax]") == (1,)
    assert heads_of(conv(6), "[iseg]\nclasses=2\nids=4", "[cost]") == (1,)
    assert heads_of("[connected]\noutput=6", "[detection]\nside=1\ncoords=4") == (1,)


@needs_official
def test_outputs_of_yolov3():
    assert read_graph(OFFICIAL / "cfg" / "yolov3.cfg").outputs == (82, 94, 106)


def test_recurrent_networks_are_known():
    assert graph_of("[rnn]").recurrent
    assert graph_of("[crnn]").recurrent
    assert not graph_of(conv()).recurrent


def test_a_node_says_its_place():
    graph = graph_of(conv(), "[max]\nstride=2")
    assert [str(node) for node in graph.nodes] == ["layer 0 [convolutional]", "layer 1 [maxpool]"]
    assert graph.nodes[1].sources == (0,)
    assert graph.nodes[0].sources == (INPUT,)


def test_the_largest_live_set_computed_by_hand():
    size = 32 * 32
    assert graph_of(conv(4)).largest_live_set == size * (3 + 4)
    assert graph_of(conv(4), conv(2)).largest_live_set == size * (3 + 4 + 2)
    assert graph_of(conv(4), conv(2), conv(1)).largest_live_set == size * (3 + 4 + 2)
    assert graph_of(conv(4), conv(2), conv(1), "[route]\nlayers=0").largest_live_set == size * (3 + 4 + 4)
    assert graph_of(conv(4), conv(2), conv(1), "[route]\nlayers=0,2").largest_live_set == size * (3 + 4 + 1 + 5)


@st.composite
def networks(draw: st.DrawFn) -> Graph:
    """Graphs of convolutions, routes and shortcuts that take anything before them."""
    sections = [conv(2, 1)]
    for index in range(1, draw(st.integers(1, 15))):
        earlier = st.integers(-index, index - 1)
        kind = draw(st.sampled_from(["conv", "route", "shortcut"]))
        if kind == "conv":
            sections.append(conv(draw(st.integers(1, 3)), 1))
        elif kind == "route":
            layers = draw(st.lists(earlier, min_size=1, max_size=3))
            sections.append(f"[route]\nlayers={','.join(map(str, layers))}")
        else:
            sections.append(f"[shortcut]\nfrom={draw(earlier)}")
    return graph_of(*sections, net="[net]\nwidth=2\nheight=2\nchannels=1\n")


@settings(max_examples=100, deadline=None)
@given(networks(), st.data())
def test_each_output_is_dropped_once_after_its_last_use(graph, data):
    indices = range(len(graph.nodes))
    outputs = data.draw(st.lists(st.sampled_from(indices), min_size=1, max_size=3))
    needed = graph.needed(outputs)
    ancestors, front = set(outputs), list(outputs)
    while front:
        new = {s for s in graph.nodes[front.pop()].sources if s != INPUT} - ancestors
        ancestors |= new
        front += new
    assert needed == ancestors

    uses = graph.last_uses(outputs)
    assert list(uses) == sorted(needed)
    alive: set[int] = set()
    dropped: list[int] = []
    for index, done in uses.items():
        assert alive.issuperset(s for s in graph.nodes[index].sources if s != INPUT)
        alive.add(index)
        alive.difference_update(done)
        dropped += done
        for source in done:  # not before its last use, and not after
            assert max(n for n in needed if source in graph.nodes[n].sources) == index
    assert len(dropped) == len(set(dropped))
    assert alive == set(outputs)


@settings(max_examples=20, deadline=None)
@given(networks(), st.data())
def test_dropping_outputs_changes_no_result(graph, data):
    network = Network(graph, generator=torch.Generator().manual_seed(0)).eval()
    x = torch.rand(2, *graph.input_shape, generator=torch.Generator().manual_seed(1))
    wanted = data.draw(st.lists(st.sampled_from(range(len(graph.nodes))), min_size=1, max_size=3))
    outputs = {INPUT: x}
    with torch.no_grad():
        for node in graph.nodes:
            outputs[node.index] = network.layers[node.index](*(outputs[s].clone() for s in node.sources))
        for index, value in network.tap(x, wanted).items():
            torch.testing.assert_close(value, outputs[index])
        torch.testing.assert_close(network(x), outputs[graph.outputs[0]])


def test_tap_takes_negative_indices_and_refuses_others():
    graph = graph_of(conv(), conv(2))
    network = Network(graph, generator=torch.Generator().manual_seed(0)).eval()
    x = torch.rand(1, 3, 32, 32)
    assert list(network.tap(x, [-1])) == [1]
    with pytest.raises(DarknetError, match="there is no layer 2; the layers are 0 to 1"):
        network.tap(x, [2])
