"""Networks as torch modules: outputs, taps, other input sizes, states, memory, training, copies, and wrong inputs."""

from __future__ import annotations

import copy
import io
import pickle
import weakref

import pytest
import torch
from torch import Tensor, nn

from darknet_py.errors import CfgError, DarknetError, ImageError
from darknet_py.network import Network
from darknet_py.network.graph import INPUT, Graph
from tests.support.places import GOLDEN
from tests.support.recordings import load_network, read_graph

LAYERS, BOXES = GOLDEN / "layers", GOLDEN / "boxes"
PYRAMID = """
[net]
width=32
height=24
channels=3

[convolutional]
batch_normalize=1
filters=4
size=3
stride=2
pad=1
activation=leaky

[maxpool]
size=2
stride=2

[convolutional]
filters=5
size=1
activation=linear

[upsample]
stride=2

[route]
layers=-1,0

[convolutional]
filters=4
size=3
pad=1
activation=leaky

[shortcut]
from=0
activation=linear

[reorg]
stride=2
"""


def make(text: str, seed: int = 0, **options: bool) -> Network:
    return Network(Graph.parse(text), generator=torch.Generator().manual_seed(seed), **options)


@pytest.fixture
def pyramid() -> Network:
    return make(PYRAMID).eval()


@pytest.fixture
def x() -> Tensor:
    return torch.rand(2, 3, 24, 32, generator=torch.Generator().manual_seed(1))


def test_one_head_gives_a_tensor_and_several_a_tuple(pyramid, x):
    assert isinstance(pyramid(x), Tensor)
    assert pyramid.heads(x)[0].equal(pyramid(x))
    assert len(pyramid.heads(x)) == 1
    yolo = Network(read_graph(BOXES / "boxes_yolo.cfg")).eval()
    outputs = yolo(torch.rand(2, 3, 48, 64))
    assert [tuple(output.shape) for output in outputs] == [(2, 18, 12, 16), (2, 9, 6, 8)]


def test_a_cost_layer_is_no_output():
    network = make("[net]\ninputs=6\n[connected]\noutput=4\n[softmax]\n[cost]\n").eval()
    out = network(torch.rand(3, 6))
    torch.testing.assert_close(out.sum(1), torch.ones(3))
    assert network.graph.outputs == (1,)


# What every index gives


def test_taps_are_the_outputs_of_layers_in_the_order_asked_for(pyramid, x):
    every = pyramid.tap(x, range(8))
    assert [tuple(output.shape[1:]) for output in every.values()] == [node.shape.dims for node in pyramid.graph.nodes]
    some = pyramid.tap(x, [6, 0, -1, 6])
    assert list(some) == [6, 0, 7]
    for index, output in some.items():
        torch.testing.assert_close(output, every[index], rtol=0, atol=0)
    assert pyramid(x).equal(every[7])
    torch.testing.assert_close(every[4], torch.cat((every[3], every[0]), 1), rtol=0, atol=0)
    assert pyramid.tap(x, []) == {}


def test_taps_do_not_compute_what_comes_after_them(pyramid, x):
    for index in (3, 5):
        pyramid.layers[index] = nn.Identity()  # 5: gives the wrong shape to 6
    calls = []
    for index, layer in enumerate(pyramid.layers):
        layer.register_forward_hook(lambda *_, index=index: calls.append(index))
    pyramid.tap(x, [1, 2])
    assert calls == [0, 1, 2]


@pytest.mark.parametrize("index", [8, -9, 100])
def test_there_is_no_tap_beyond_the_layers(pyramid, x, index):
    with pytest.raises(DarknetError, match=f"there is no layer {index}; the layers are 0 to 7"):
        pyramid.tap(x, [0, index])


def test_only_layers_that_an_output_needs_are_computed():
    text = "[net]\ninputs=4\n[connected]\noutput=3\n[connected]\noutput=2\n[route]\nlayers=0\n"
    network = make(text).eval()
    network.layers[1].register_forward_hook(lambda *_: pytest.fail("nothing needs this layer"))
    assert network(torch.rand(1, 4)).shape == (1, 3, 1, 1)


# Memory


def test_outputs_that_nothing_needs_any_more_are_given_back(pyramid, x):
    alive: list[set[int]] = []
    outputs: dict[int, weakref.ref[Tensor]] = {}

    def note(index: int, output: Tensor) -> None:
        outputs[index] = weakref.ref(output)

    def look(index: int) -> None:
        alive.append({n for n, output in outputs.items() if output() is not None})

    for index, layer in enumerate(pyramid.layers):
        layer.register_forward_pre_hook(lambda _module, _inputs, index=index: look(index))
        layer.register_forward_hook(lambda _module, _inputs, output, index=index: note(index, output))
    with torch.inference_mode():
        pyramid(x)
    # Layer 0 is needed up to 6, every other one by the next alone.
    assert alive == [set(), {0}, {0, 1}, {0, 2}, {0, 3}, {0, 4}, {0, 5}, {6}]
    look(0)
    assert alive[-1] == set()


@pytest.mark.parametrize("name", ["boxes_yolo", "boxes_region"])
def test_last_uses_name_every_output_once_and_after_its_last_reader(name):
    graph = read_graph(BOXES / f"{name}.cfg")
    uses = graph.last_uses(graph.outputs)
    done = [source for sources in uses.values() for source in sources]
    assert sorted(done) == [n for n in range(len(graph.nodes)) if n not in graph.outputs]
    for index, sources in uses.items():
        for source in sources:
            readers = [node.index for node in graph.nodes if source in node.sources]
            assert max(readers) == index
    assert INPUT not in done


# Other input sizes


@pytest.mark.parametrize(("width", "height"), [(64, 64), (16, 8), (48, 80), (32, 24)])
def test_resized_networks_give_what_ones_built_that_size_give(pyramid, width, height):
    other = make(PYRAMID.replace("width=32", f"width={width}").replace("height=24", f"height={height}")).eval()
    x = torch.rand(1, 3, height, width)
    pyramid.resize(width, height)
    assert pyramid.input_shape == (3, height, width)
    torch.testing.assert_close(pyramid(x), other(x), rtol=0, atol=0)


def test_resizing_back_is_as_if_nothing_had_been(pyramid, x):
    before, state = pyramid(x), pyramid.state_dict()
    for size in ((64, 64), (8, 16), (32, 24)):
        pyramid.resize(*size)
    torch.testing.assert_close(pyramid(x), before, rtol=0, atol=0)
    assert all(
        value is pyramid.state_dict()[key] or value.equal(pyramid.state_dict()[key]) for key, value in state.items()
    )


CROPPED = "[net]\nwidth=32\nheight=32\nchannels=3\n[crop]\ncrop_width=24\ncrop_height=24\n[convolutional]\nfilters=2\n"


@pytest.mark.parametrize("training", [False, True])
def test_a_crop_keeps_its_share(training):
    network = make(CROPPED).train(training)
    network.resize(64, 48)
    assert network(torch.rand(1, 3, 48, 64)).shape == (1, 2, 36, 48)
    assert network.layers[0].training is training
    network.resize(32, 32)
    assert network(torch.rand(1, 3, 32, 32)).shape == (1, 2, 24, 24)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "[net]\nwidth=8\nheight=8\nchannels=1\n[connected]\noutput=2\n",
            r"layer 0 \[connected\] has a fixed input size",
        ),
        ("[net]\nwidth=8\nheight=8\nchannels=1\n[local]\nfilters=2\n", r"layer 0 \[local\] has a fixed input size"),
        ("[net]\ninputs=8\n[softmax]\n", "its input is no picture"),
    ],
)
def test_what_cannot_be_resized_says_so_and_stays_as_it_is(text, reason):
    network = make(text).eval()
    graph = network.graph
    with pytest.raises(CfgError, match=f"^<cfg>:[0-9]+: this network cannot be resized: {reason}$"):
        network.resize(16, 16)
    assert network.graph is graph
    network(torch.rand(1, *network.input_shape.dims))


@pytest.mark.parametrize("size", [(0, 24), (-32, 24), (1 << 20, 24), (2, 2)])
def test_sizes_that_cannot_be(pyramid, x, size):
    before = pyramid(x)
    with pytest.raises(CfgError):
        pyramid.resize(*size)
    torch.testing.assert_close(pyramid(x), before, rtol=0, atol=0)


HALVED = """[net]
width={size}
height={size}
channels=1
[convolutional]
filters=1
size=1
activation=linear
[convolutional]
filters=1
size=3
stride=2
pad=1
activation=linear
[shortcut]
from=0
activation=linear
"""


def test_a_shortcut_between_sizes_follows_the_new_size():
    network = make(HALVED.format(size=33)).eval()  # 33 // 17 is 1, and 32 // 16 is 2
    other = make(HALVED.format(size=32)).eval()
    network.resize(32, 32)
    x = torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(network(x), other(x), rtol=0, atol=0)


# State


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "crnn"])
def test_a_carried_state_goes_on_from_call_to_call(name):
    network = load_network(LAYERS / f"{name}.cfg", LAYERS / f"{name}.weights")
    steps = network.graph.net.time_steps
    x = torch.rand(steps, *network.input_shape.dims, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        once, again = network(x), network(x)
        torch.testing.assert_close(once, again, rtol=0, atol=0)
        network.carry_state()
        first, second = network(x), network(x)
        torch.testing.assert_close(first, once, rtol=0, atol=0)
        assert not torch.allclose(second, once)
        network.carry_state()  # begins anew
        torch.testing.assert_close(network(x), once, rtol=0, atol=0)
        network.carry_state(False)
        torch.testing.assert_close(network(x), once, rtol=0, atol=0)


def test_a_carried_state_does_not_hold_the_graph_of_gradients():
    network = load_network(LAYERS / "gru.cfg", LAYERS / "gru.weights").train()
    network.carry_state()
    x = torch.rand(network.graph.net.time_steps, *network.input_shape.dims)
    for _ in range(2):
        network(x).sum().backward()
    assert not any(part.requires_grad for module in network.recurrent() for part in module.state)


# Weights


def test_keys_of_the_state():
    network = Network(read_graph(BOXES / "boxes_region.cfg"))
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert list(network.state_dict()) == [
        "layers.0.conv.weight", *(f"layers.0.bn.{name}" for name in norm),
        "layers.1.conv.weight", *(f"layers.1.bn.{name}" for name in norm),
        "layers.2.conv.weight", "layers.2.conv.bias",
    ]  # fmt: skip
    row = make("[net]\ninputs=3\n[connected]\noutput=2\nbatch_normalize=1\n[rnn]\noutput=2\n")
    assert [key for key in row.state_dict() if ".bn." not in key] == [
        "layers.0.linear.weight",
        *(f"layers.1.{part}.linear.{name}" for part in ("input", "self", "output") for name in ("weight", "bias")),
    ]


@pytest.mark.parametrize("name", ["boxes_tree", "boxes_yolo", "boxes_detection"])
def test_the_state_goes_through_a_file(name, monkeypatch):
    monkeypatch.chdir(BOXES)
    network = load_network(BOXES / f"{name}.cfg", BOXES / f"{name}.weights")
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    other = Network(network.graph, initialize=False).eval()
    other.load_state_dict(torch.load(file, weights_only=True))
    x = torch.rand(1, *network.input_shape.dims)
    for mine, theirs in zip(network.heads(x), other.heads(x), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_the_same_generator_state_gives_the_same_weights():
    text = "[net]\nwidth=8\nheight=8\nchannels=1\n[conv]\nfilters=2\n[deconv]\nsize=2\n[local]\n[conn]\n[lstm]\n"
    first, same, other = make(text, 3), make(text, 3), make(text, 4)
    for key, value in first.state_dict().items():
        assert value.equal(same.state_dict()[key])
        assert value.isfinite().all()
        constant = key.endswith(("bias", "running_mean", "running_var", "bn.weight", "tracked"))
        assert constant or value.numel() == 1 or not value.equal(other.state_dict()[key])
    first.initialize(torch.Generator().manual_seed(4))
    assert all(value.equal(other.state_dict()[key]) for key, value in first.state_dict().items())


def test_drawing_weights_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    make(PYRAMID)
    assert torch.get_rng_state().equal(before)


def test_weights_are_drawn_as_darknet_draws_them():
    network = make("[net]\nwidth=9\nheight=9\nchannels=64\n[conv]\nfilters=64\nsize=3\n[connected]\noutput=50\n")
    weight = network.layers[0].conv.weight.detach()
    assert float(weight.std()) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    matrix, bound = network.layers[1].linear.weight.detach(), (2 / (64 * 49)) ** 0.5
    assert float(matrix.abs().max()) == pytest.approx(bound, rel=1e-3)
    assert float(matrix.std()) == pytest.approx(bound / 3**0.5, rel=0.02)
    assert not network.layers[0].conv.bias.any()


# Training


@pytest.mark.parametrize(
    "name", ["boxes_region", "boxes_region_sigmoid", "boxes_tree", "boxes_yolo", "boxes_detection"]
)
def test_gradients_flow_through_every_head(name, monkeypatch):
    monkeypatch.chdir(BOXES)
    network = Network(read_graph(BOXES / f"{name}.cfg"), generator=torch.Generator().manual_seed(1)).train()
    x = torch.rand(3, *network.input_shape.dims, requires_grad=True)
    outputs = network.heads(x)
    sum(output.square().sum() for output in outputs).backward()
    assert x.grad.abs().sum() > 0
    for key, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().sum() > 0, key
    assert any(int(value) == 1 for key, value in network.state_dict().items() if key.endswith("tracked"))


def test_training_changes_running_values_and_eval_does_not(pyramid, x):
    mean = pyramid.layers[0].bn.running_mean
    before = mean.clone()
    pyramid(x)
    assert mean.equal(before)
    pyramid.train()(x)
    assert not mean.equal(before)


# Copies and other places


@pytest.mark.parametrize("name", ["boxes_tree", "boxes_yolo"])
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_copies_compute_the_same_and_are_their_own(name, duplicate, monkeypatch):
    monkeypatch.chdir(BOXES)
    network = load_network(BOXES / f"{name}.cfg", BOXES / f"{name}.weights")
    network.seen = 77
    other = duplicate(network)
    x = torch.rand(1, *network.input_shape.dims)
    before = network.heads(x)
    for mine, theirs in zip(before, other.heads(x), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    assert (other.seen, other.graph.outputs) == (77, network.graph.outputs)
    other.initialize(torch.Generator().manual_seed(5))
    for mine, theirs in zip(before, network.heads(x), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_recurrent_networks_can_be_copied():
    network = load_network(LAYERS / "lstm.cfg", LAYERS / "lstm.weights")
    x = torch.rand(network.graph.net.time_steps, *network.input_shape.dims)
    torch.testing.assert_close(copy.deepcopy(network)(x), network(x), rtol=0, atol=0)
    torch.testing.assert_close(pickle.loads(pickle.dumps(network))(x), network(x), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["boxes_tree", "boxes_yolo", "boxes_detection"])
def test_shapes_without_values(name, monkeypatch):
    monkeypatch.chdir(BOXES)
    network = Network(read_graph(BOXES / f"{name}.cfg")).eval().to("meta")
    outputs = network.heads(torch.empty(5, *network.input_shape.dims, device="meta"))
    assert [tuple(out.shape) for out in outputs] == [(5, *head.shape.dims) for head in network.graph.heads]
    assert network.device.type == "meta"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types_of_numbers(pyramid, x, dtype):
    before = pyramid(x)
    pyramid.to(dtype)
    assert pyramid.dtype == dtype
    out = pyramid(x.to(dtype))
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), before, rtol=0.05, atol=0.05)


def test_a_network_without_weights_is_on_the_cpu():
    network = make("[net]\ninputs=4\n[softmax]\n")
    assert (network.device.type, network.dtype) == ("cpu", torch.float32)


# Wrong inputs


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((1, 1, 24, 32), ""),
        ((3, 24, 32), ""),
        ((1, 24, 32, 3), ""),
        ((1, 3 * 24 * 32), ""),
        ((1, 3, 25, 33), r"; network.resize\(33, 25\) makes it fit, or says why not"),
    ],
)
def test_an_input_of_another_shape_is_refused(pyramid, shape, hint):
    numbers = ", ".join(map(str, shape))
    message = rf"^this network takes \(N, 3, 24, 32\), and the input is \({numbers}\){hint}$"
    for run in (pyramid, pyramid.heads, lambda x: pyramid.tap(x, [0])):
        with pytest.raises(ImageError, match=message):
            run(torch.rand(shape))


def test_a_convolutional_network_takes_other_sizes_as_they_come(pyramid):
    x = torch.rand(1, 3, 48, 64)
    out = pyramid(x)
    pyramid.resize(64, 48)
    torch.testing.assert_close(pyramid(x), out, rtol=0, atol=0)


def test_a_crop_has_to_be_resized_first():
    network, x = make(CROPPED).eval(), torch.rand(1, 3, 48, 64)
    with pytest.raises(ImageError, match=r"the input is \(1, 3, 48, 64\); network.resize\(64, 48\) makes it fit"):
        network(x)
    network.resize(64, 48)
    assert network(x).shape == (1, 2, 36, 48)
    with pytest.raises(ImageError, match=r"takes \(N, 3, 48, 64\), and the input is \(1, 3, 32, 32\)"):
        network(x[:, :, :32, :32])


def test_a_batch_of_steps():
    network = load_network(LAYERS / "gru.cfg", LAYERS / "gru.weights")
    steps = network.graph.net.time_steps
    assert steps > 1
    assert len(network(torch.rand(2 * steps, *network.input_shape.dims))) == 2 * steps
    with pytest.raises(ImageError, match=f"a batch of {steps + 1} rows is no multiple of time_steps={steps}"):
        network(torch.rand(steps + 1, *network.input_shape.dims))


def test_a_network_of_one_size_does_not_speak_of_resizing():
    network = make("[net]\nwidth=8\nheight=8\nchannels=1\n[connected]\noutput=2\n")
    with pytest.raises(ImageError, match=r"takes \(N, 1, 8, 8\), and the input is \(1, 1, 9, 9\)$"):
        network(torch.rand(1, 1, 9, 9))
    rows = make("[net]\ninputs=5\n[connected]\noutput=2\n")
    with pytest.raises(ImageError, match=r"takes \(N, 5\), and the input is \(1, 6\)$"):
        rows(torch.rand(1, 6))


def test_batches_of_any_size(pyramid, x):
    assert pyramid(x[:0]).shape == (0, 16, 6, 8)
    torch.testing.assert_close(pyramid(x)[1:], pyramid(x[1:]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["boxes_region", "boxes_tree", "boxes_yolo", "boxes_detection"])
def test_export_and_compile_take_the_whole_network(name, monkeypatch):
    monkeypatch.chdir(BOXES)
    network = load_network(BOXES / f"{name}.cfg", BOXES / f"{name}.weights")
    x = torch.rand(2, *network.input_shape.dims)
    batch = {0: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(network, (x,), dynamic_shapes=(batch,)).module()
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    with torch.no_grad():
        for found in (exported(x), compiled(x), exported(x.repeat(2, 1, 1, 1))):
            outputs = found if isinstance(found, tuple) else (found,)
            for output, wanted in zip(outputs, network.heads(x), strict=True):
                torch.testing.assert_close(output[:2], wanted, rtol=1e-4, atol=1e-5)
