"""Every layer keeps what its declaration promises; and the layers with rules of their own equal slow references."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from darknet_py.errors import CfgError
from darknet_py.layers import REGISTRY, Layer, Shape
from darknet_py.layers.activation import ActivationLayer
from darknet_py.layers.avgpool import AvgPool
from darknet_py.layers.base import Place
from darknet_py.layers.batchnorm import BatchNorm
from darknet_py.layers.connected import Connected
from darknet_py.layers.convolutional import Convolutional
from darknet_py.layers.cost import Cost
from darknet_py.layers.crnn import Crnn
from darknet_py.layers.crop import Crop
from darknet_py.layers.deconvolutional import Deconvolutional
from darknet_py.layers.detection import Detection
from darknet_py.layers.dropout import Dropout
from darknet_py.layers.gru import Gru
from darknet_py.layers.iseg import Iseg
from darknet_py.layers.l2norm import L2Norm
from darknet_py.layers.local import Local
from darknet_py.layers.logistic import Logistic
from darknet_py.layers.lstm import Lstm
from darknet_py.layers.maxpool import MaxPool
from darknet_py.layers.normalization import Normalization
from darknet_py.layers.parts import activations
from darknet_py.layers.parts.text import HELPERS
from darknet_py.layers.parts.trees import groups_name
from darknet_py.layers.region import Region
from darknet_py.layers.reorg import Reorg
from darknet_py.layers.rnn import Rnn
from darknet_py.layers.route import Route
from darknet_py.layers.shortcut import Shortcut
from darknet_py.layers.softmax import Softmax
from darknet_py.layers.upsample import Upsample
from darknet_py.layers.yolo import Yolo
from darknet_py.network import Network
from darknet_py.network.graph import Graph, connect
from darknet_py.network.net import Net
from tests.support.places import GOLDEN

PICTURE, ROW = Shape(4, 8, 6), Shape(12)
TREE = str(GOLDEN / "train" / "tiny.tree")  # 10 nodes


@dataclass(frozen=True)
class Example:
    """A layer and the shapes of its inputs."""

    layer: Layer
    inputs: tuple[Shape, ...] = (PICTURE,)

    @property
    def shape(self) -> Shape:
        return self.layer.out_shape(self.inputs)

    def __str__(self) -> str:
        keys = {
            name: value for name, value in vars(self.layer).items() if value != getattr(type(self.layer), name, None)
        }
        keys = {name: value for name, value in keys.items() if name not in ("where", "tree")}
        return f"{self.layer.type} {' '.join(f'{key}={value}' for key, value in keys.items())}"


def head(count: int) -> tuple[Shape]:
    return (Shape(count, 5, 6),)


EXAMPLES = (
    Example(ActivationLayer(activation="relu")),
    Example(ActivationLayer(activation="tanh"), (ROW,)),
    Example(AvgPool()),
    Example(BatchNorm()),
    Example(Connected(output=7)),
    Example(Connected(output=7, batch_normalize=True, activation="leaky"), (ROW,)),
    Example(Convolutional(filters=5, size=3, stride=2, pad=True, batch_normalize=True, activation="leaky")),
    Example(Convolutional(filters=5, size=2, padding=2, activation="relu")),
    Example(Convolutional(filters=6, size=3, pad=True, groups=2, flipped=True, activation="linear")),
    Example(Convolutional(filters=5, size=3, pad=True, binary=True)),
    Example(Convolutional(filters=5, size=3, pad=True, xnor=True, batch_normalize=True)),
    Example(Cost()),
    Example(Crop(crop_height=5, crop_width=4)),
    Example(Crop(crop_height=5, crop_width=4, noadjust=True, flip=True)),
    Example(Deconvolutional(filters=3, size=4, stride=2, padding=1, batch_normalize=True, activation="leaky")),
    Example(Deconvolutional(filters=3, size=3, stride=2, pad=True)),
    Example(Detection(classes=3, coords=4, num=2, side=2, softmax=True), (Shape(52, 1, 1),)),
    Example(Detection(classes=3, coords=4, num=2, side=2), (Shape(52),)),
    Example(Dropout(probability=0.3)),
    Example(Dropout(), (ROW,)),
    Example(Iseg(classes=2, ids=3), head(5)),
    Example(L2Norm()),
    Example(Local(filters=3, size=3, stride=2)),
    Example(Local(filters=3, size=3, pad=1, activation="leaky")),
    Example(Logistic()),
    Example(Logistic(), (ROW,)),
    Example(MaxPool(stride=2)),
    Example(MaxPool(size=3, stride=1)),
    Example(MaxPool(size=2, stride=1)),
    Example(MaxPool(size=3, stride=2, padding=0)),
    Example(Normalization()),
    Example(Region(classes=3, num=2, softmax=True), head(16)),
    Example(Region(classes=3, num=2), head(16)),
    Example(Region(classes=3, num=2, coords=6), head(20)),
    Example(Region(classes=3, num=2, softmax=True, background=True), head(16)),
    Example(Region(classes=10, num=2, tree=TREE), head(30)),
    Example(Reorg(stride=2)),
    Example(Reorg(stride=2, reverse=True)),
    Example(Reorg(stride=2, flatten=True)),
    Example(Reorg(stride=2, flatten=True, reverse=True)),
    Example(Reorg(extra=3)),
    Example(Route(layers=(0,))),
    Example(Route(layers=(0, 1, 2)), (PICTURE, PICTURE, Shape(1, 8, 6))),
    Example(Route(layers=(0, 1)), (ROW, Shape(3))),
    Example(Shortcut(source=0, activation="leaky"), (PICTURE, PICTURE)),
    Example(Shortcut(source=0, alpha=2, beta=0.5), (PICTURE, Shape(7, 8, 6))),
    Example(Shortcut(source=0), (PICTURE, Shape(3, 8, 6))),
    Example(Shortcut(source=0, activation="relu", alpha=0.5), (PICTURE, Shape(4, 16, 12))),
    Example(Shortcut(source=0), (PICTURE, Shape(5, 4, 3))),
    Example(Shortcut(source=0), (ROW, ROW)),
    Example(Shortcut(source=0, beta=2), (ROW, Shape(5))),
    Example(Softmax(groups=3, temperature=2), (ROW,)),
    Example(Softmax(groups=2)),
    Example(Softmax(spatial=1)),
    Example(Softmax(tree=TREE, temperature=2), (Shape(10, 1, 1),)),
    Example(Upsample(scale=0.5)),
    Example(Upsample(stride=-2, scale=2)),
    Example(Yolo(classes=3, num=6, mask=(0, 2)), head(16)),
    Example(Yolo(classes=3, num=2), head(16)),
    Example(Rnn(output=5, shortcut=True, activation="tanh"), (ROW,)),
    Example(Rnn(output=5, batch_normalize=True), (PICTURE,)),
    Example(Gru(output=5, tanh=True), (ROW,)),
    Example(Lstm(output=5, batch_normalize=True), (ROW,)),
    Example(Crnn(output_filters=3, hidden_filters=5, shortcut=True, batch_normalize=True, activation="leaky")),
    Example(Crnn(output_filters=3, hidden_filters=5, activation="tanh")),
)


def examples_where(condition: Callable[[Example], bool]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("example", [example for example in EXAMPLES if condition(example)], ids=str)


each_example = examples_where(lambda _: True)
each_plain_example = examples_where(lambda example: not example.layer.recurrent)
each_with_weights = examples_where(lambda example: bool(example.layer.blobs(example.inputs)))
each_resizable = examples_where(
    lambda example: (
        example.layer.resizable
        and all(shape.is_image for shape in example.inputs)
        and not (isinstance(example.layer, Softmax) and example.layer.tree)  # it has a value a node
    )
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def inputs_of(example: Example, batch: int) -> list[Tensor]:
    return [random(batch, *shape.dims, seed=n) for n, shape in enumerate(example.inputs)]


def build(example: Example) -> nn.Module:
    """The module with random weights, in eval mode."""
    module = example.layer.build(example.inputs)
    with torch.no_grad():
        for n, (name, value) in enumerate(module.state_dict().items()):
            if value.is_floating_point():
                value.copy_(random(*value.shape, seed=100 + n).abs_() if name.endswith("var") else
                            random(*value.shape, seed=100 + n))  # fmt: skip
    return module.eval()


def tensor_named(module: nn.Module, name: str) -> Tensor:
    parent, _, leaf = name.rpartition(".")
    return getattr(module.get_submodule(parent), leaf)


def assert_near(mine: Tensor, other: Tensor) -> None:
    """Equal but for what another order of summation does."""
    torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


def test_every_layer_has_examples():
    assert {type(example.layer) for example in EXAMPLES} == set(REGISTRY.values())


@each_example
@pytest.mark.parametrize("grad", [False, True])
def test_the_declared_shape_is_the_real_one(example, grad):
    with torch.set_grad_enabled(grad):
        out = build(example)(*inputs_of(example, 3))
    assert out.shape == (3, *example.shape.dims)
    assert out.isfinite().all()
    assert example.layer.operations(example.inputs) >= 0
    assert example.layer.label(7)


@each_example
def test_blobs_are_the_parameters_and_measured_values(example):
    module = build(example)
    blobs = example.layer.blobs(example.inputs)
    for blob in blobs:
        tensor = tensor_named(module, blob.name)
        assert tensor.shape == blob.shape
        assert tensor.numel() == blob.size
        assert isinstance(tensor, nn.Parameter) == blob.learned
        assert blob.role in ("bias", "scale", "mean", "variance", "weight")
    names = [blob.name for blob in blobs]
    assert len(set(names)) == len(names)
    kept = {name for name in module.state_dict() if not name.endswith("num_batches_tracked")}
    if isinstance(example.layer, BatchNorm):
        kept.remove("bias")  # upstream files have none
    assert set(names) == kept
    assert {name for name, _ in module.named_parameters()} <= module.state_dict().keys()


@each_plain_example
def test_torch_export_takes_it(example):
    module, inputs = build(example), tuple(inputs_of(example, 2))
    with torch.no_grad():
        exported = torch.export.export(module, inputs).module()
        assert_near(exported(*inputs), module(*inputs))


@each_plain_example
def test_torch_compile_takes_it_whole(example):
    module, inputs = build(example), inputs_of(example, 2)
    torch.compiler.reset()
    with torch.no_grad():
        compiled = torch.compile(module, fullgraph=True, backend="eager")
        assert_near(compiled(*inputs), module(*inputs))


@each_plain_example
def test_source_text_computes_what_the_module_does(example):
    layer, inputs, module = example.layer, inputs_of(example, 2), build(example)
    place = Place(0, example.inputs, example.shape)
    names = {f"x{n}": x for n, x in enumerate(inputs)}
    layers = {}
    scope = vars(activations) | HELPERS | names | {"nn": nn, "self": SimpleNamespace(training=False, layers=layers)}
    if layer.word_tree is not None:
        scope[groups_name(place)] = layer.word_tree.group_sizes
    made = layer.module_text(place)
    assert (made is None) == (not module.state_dict())
    if made is not None:
        layers["0"] = eval(made, scope).eval()
        layers["0"].load_state_dict(module.state_dict())
    *statements, result = layer.text(place, *names)
    exec("\n".join(statements), scope)
    with torch.no_grad():
        assert_near(eval(result, scope), module(*inputs))


@each_example
def test_gradients_reach_inputs_and_parameters(example):
    module = build(example).train()
    inputs = [x.requires_grad_() for x in inputs_of(example, 3)]
    out = module(*inputs)
    (out * random(*out.shape, seed=9)).sum().backward()
    for x in inputs:
        assert x.grad.isfinite().all()
        assert x.grad.any()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any() or example.layer.recurrent, name  # a state of zeros gives its weights none


@each_example
def test_a_batch_is_its_pictures_one_by_one(example):
    module, inputs = build(example), inputs_of(example, 3)
    with torch.no_grad():
        alone = [module(*(x[n : n + 1] for x in inputs)) for n in range(3)]
        assert_near(module(*inputs), torch.cat(alone))


@each_example
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_inputs_stay_as_they_are(example, grad, training):
    module, inputs = build(example).train(training), inputs_of(example, 3)
    before = [x.clone() for x in inputs]
    with torch.set_grad_enabled(grad):
        module(*inputs)
    for x, old in zip(inputs, before, strict=True):
        assert torch.equal(x, old)


@each_example
def test_gradients_on_or_off_give_the_same(example):
    """Without gradients some operations are done in place."""
    module, inputs = build(example), inputs_of(example, 2)
    with torch.no_grad():
        without = module(*inputs)
    assert_near(module(*inputs).detach(), without)


@each_example
def test_the_order_in_memory_does_not_matter(example):
    module, inputs = build(example), inputs_of(example, 2)
    last = [x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in inputs]
    with torch.no_grad():
        assert_near(module(*last), module(*inputs))


@each_example
def test_it_computes_in_the_type_of_its_input(example):
    module, inputs = build(example), inputs_of(example, 2)
    with torch.no_grad():
        single = module(*inputs)
        double = module.double()(*(x.double() for x in inputs))
    assert double.dtype == torch.float64
    assert_near(double.float(), single)


@each_resizable
def test_a_resizable_layer_takes_another_size(example):
    larger = tuple(Shape(shape.c, 2 * shape.h, 3 * shape.w) for shape in example.inputs)
    layer = example.layer.resized(example.inputs, larger)
    resized = Example(layer, larger)
    module = build(example) if layer is example.layer else build(resized)
    with torch.no_grad():
        assert module(*inputs_of(resized, 2)).shape == (2, *resized.shape.dims)


@each_example
def test_the_state_dict_holds_all_there_is(example):
    module, inputs = build(example), inputs_of(example, 2)
    other = example.layer.build(example.inputs).eval()
    other.load_state_dict(module.state_dict())
    with torch.no_grad():
        assert torch.equal(other(*inputs), module(*inputs))


@each_with_weights
def test_drawn_weights_are_numbers_and_depend_on_the_generator_alone(example):
    (shape,) = example.inputs
    network = Network(Graph(Net(inputs=1), connect(shape, [example.layer]), "<test>", ()), initialize=False)
    drawn = []
    for _ in range(2):
        with torch.no_grad():
            for value in (*network.parameters(), *network.buffers()):
                if value.is_floating_point():
                    value.fill_(math.nan)
        network.initialize(torch.Generator().manual_seed(5))
        drawn.append({name: value.clone() for name, value in network.state_dict().items()})
    for name, value in drawn[0].items():
        assert value.isfinite().all(), name
        assert torch.equal(value, drawn[1][name]), name


# Slow references: what the C program does, pixel by pixel.


def sizes(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high)


def run(layer: Layer, *inputs: Tensor) -> Tensor:
    """The module of a layer without weights, on inputs of whatever shape."""
    shapes = [Shape(*x.shape[1:]) for x in inputs]
    out: Tensor = layer.build(shapes).eval()(*inputs)
    assert out.shape[1:] == layer.out_shape(shapes).dims
    return out


def accepted(layer: Layer, *shapes: Shape) -> Shape:
    """The output's shape, or another draw where there is none."""
    try:
        return layer.out_shape(shapes)
    except CfgError:
        assume(False)
        raise


def slow_maxpool(x: np.ndarray, shape: Shape, size: int, stride: int, padding: int) -> np.ndarray:
    _, h, w = x.shape
    out = np.full(shape, np.finfo(np.float32).min, np.float32)
    for k, i, j, n, m in np.ndindex(*shape, size, size):
        row, column = i * stride + n - padding // 2, j * stride + m - padding // 2
        if 0 <= row < h and 0 <= column < w:
            out[k, i, j] = max(out[k, i, j], x[k, row, column])
    return out


@settings(max_examples=300, deadline=None)
@given(size=st.none() | sizes(1, 5), stride=sizes(1, 4), padding=st.none() | sizes(0, 6), h=sizes(1, 9), w=sizes(1, 9))
def test_maxpool_equals_a_loop_over_windows(size, stride, padding, h, w):
    layer = MaxPool(size=size, stride=stride, padding=padding)
    shape = accepted(layer, Shape(2, h, w))
    window = stride if size is None else size
    x = random(1, 2, h, w) - 2  # zeros outside would win
    expected = slow_maxpool(x[0].numpy(), shape, window, stride, window - 1 if padding is None else padding)
    np.testing.assert_array_equal(run(layer, x)[0].numpy(), expected)


@settings(max_examples=100, deadline=None)
@given(sizes(1, 3), sizes(1, 3), sizes(1, 4), sizes(1, 4))
def test_reorg_is_the_index_formula(s, view_channels, h, w):
    """The input of C x H x W is also read as a view of C/s^2 x H*s x W*s."""
    c, h, w = view_channels * s * s, h * s, w * s
    x = torch.arange(2.0 * c * h * w).view(2, c, h, w)
    view = x.view(2, view_channels, h * s, w * s)
    expected = torch.empty_like(x)
    for k, j, i in np.ndindex(c, h, w):
        row, column = j * s + (k // view_channels) // s, i * s + (k // view_channels) % s
        expected[:, k, j, i] = view[:, k % view_channels, row, column]
    out = run(Reorg(stride=s), x)
    assert torch.equal(out, expected.view(2, c * s * s, h // s, w // s))
    # Backwards it takes the view apart again: what was read as C x H x W comes back as C/s^2 x H*s x W*s.
    assert torch.equal(run(Reorg(stride=s, reverse=True), out.view(x.shape)), view)


@settings(max_examples=200, deadline=None)
@given(st.booleans(), sizes(1, 3), sizes(1, 30), sizes(1, 3), sizes(1, 3))
def test_reorg_of_any_channels_is_the_loop_of_the_c_program_where_that_stays_inside(reverse, s, c, h, w):
    """reorg_cpu for one picture; of several values that it writes to a place the last stays."""
    h, w, depth = h * s, w * s, c // s**2
    layer, x = Reorg(stride=s, reverse=reverse), random(2, c, h, w)
    out = np.zeros((2, depth * s * s * h * w if reverse else c * h * w), np.float32)
    flat, inside = x.flatten(1).numpy(), depth > 0
    for place, (k, j, i) in enumerate(np.ndindex(c, h, w)):
        if not depth:
            break
        row, column = j * s + (k // depth) // s, i * s + (k // depth) % s
        other = column + w * s * (row + h * s * (k % depth))
        inside = inside and other < (out if reverse else flat).shape[1]
        if inside and reverse:
            out[:, other] = flat[:, place]
        elif inside:
            out[:, place] = flat[:, other]
    if not inside:
        with pytest.raises(
            CfgError, match=f"stride={s} needs channels that are a multiple of {s * s}, and there are {c}"
        ):
            layer.out_shape([Shape(c, h, w)])
        return
    assert torch.equal(run(layer, x).flatten(1), torch.from_numpy(out))


@settings(max_examples=50, deadline=None)
@given(sizes(1, 3), sizes(1, 3), sizes(1, 4), sizes(1, 4))
def test_reorg_flatten_puts_the_channels_of_a_pixel_side_by_side(s, c, h, w):
    h, w = h * s, w * s
    x = random(2, c, h, w)
    expected = torch.empty(2, h * w * c)
    for k, j, i in np.ndindex(c, h, w):
        expected[:, (j * w + i) * c + k] = x[:, k, j, i]
    assert torch.equal(run(Reorg(stride=s, flatten=True), x).flatten(1), expected)


def test_reorg_is_not_flattened_and_lengthened_at_once():
    with pytest.raises(CfgError, match="flatten=1 or extra=, not both"):
        Reorg(stride=2, flatten=True, extra=3).out_shape((Shape(4, 2, 2),))


def test_reorg_extra_adds_zeros():
    x = random(2, 4, 2, 3)
    assert torch.equal(run(Reorg(extra=2), x), torch.cat((x.flatten(1), torch.zeros(2, 2)), 1))


def slow_shortcut(x: np.ndarray, other: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    (c2, h2, w2), (c1, h1, w1) = x.shape, other.shape
    stride, sample = max(w1 // w2, 1), max(w2 // w1, 1)
    out = x.copy()
    for k, j, i in np.ndindex(min(c1, c2), min(h1, h2), min(w1, w2)):
        out[k, j * sample, i * sample] *= alpha
        out[k, j * sample, i * sample] += beta * other[k, j * stride, i * stride]
    return out


@st.composite
def overlapping_shapes(draw: st.DrawFn) -> list[Shape]:
    """Two shapes, one of them so many times as high and wide as the other, or a bit more than that."""
    h, w, factor = draw(sizes(1, 4)), draw(sizes(1, 4)), draw(sizes(1, 3))
    large = (h * factor + draw(sizes(0, h - 1)), w * factor + draw(sizes(0, w - 1)))
    return draw(st.permutations([Shape(draw(sizes(1, 3)), h, w), Shape(draw(sizes(1, 3)), *large)]))


@settings(max_examples=200, deadline=None)
@given(overlapping_shapes(), st.sampled_from([1.0, 0.5, -2.0]), st.sampled_from([1.0, 3.0]))
def test_shortcut_adds_where_the_two_overlap(shapes, alpha, beta):
    layer = Shortcut(source=0, alpha=alpha, beta=beta)
    accepted(layer, *shapes)
    x, other = (random(1, *shape, seed=n) for n, shape in enumerate(shapes))
    expected = slow_shortcut(x[0].numpy(), other[0].numpy(), alpha, beta)
    np.testing.assert_allclose(run(layer, x, other)[0].numpy(), expected, rtol=1e-6, atol=1e-6)


def test_a_shortcut_activates_what_lies_outside_the_overlap_too():
    x, other = -torch.ones(1, 2, 4, 4), torch.zeros(1, 1, 2, 2)
    assert torch.equal(run(Shortcut(source=0, activation="relu"), x, other), torch.zeros(1, 2, 4, 4))


def slow_norms(x: np.ndarray, layer: Normalization) -> np.ndarray:
    """The running sum of normalization_layer.c, in double precision."""
    squares, c, half = x.astype(np.float64) ** 2, x.shape[0], layer.size // 2
    norms = np.full(x.shape, layer.kappa)
    norms[0] += layer.alpha * squares[: min(half, c)].sum(0)
    for k in range(1, c):
        norms[k] = norms[k - 1]
        leaving, entering = k - (layer.size - 1) // 2 - 1, k + half
        if leaving >= 0:
            norms[k] -= layer.alpha * squares[leaving]
        if entering < c:
            norms[k] += layer.alpha * squares[entering]
    return norms


@settings(max_examples=150, deadline=None)
@given(sizes(1, 9), sizes(1, 8), st.sampled_from([0.0001, 0.1]), st.sampled_from([0.75, 1.0, 0.5]))
def test_normalization_is_a_running_sum_over_channels(c, size, alpha, beta):
    layer = Normalization(size=size, alpha=alpha, beta=beta, kappa=5.0)
    x = random(2, c, 2, 3).requires_grad_()
    norms = np.stack([slow_norms(picture, layer) for picture in x.detach().numpy()])
    out = run(layer, x)
    np.testing.assert_allclose(out.detach().numpy(), x.detach().numpy() * norms**-beta, rtol=1e-5)
    out.sum().backward()  # the C program takes the norms as constants here
    np.testing.assert_allclose(x.grad.numpy(), norms**-beta, rtol=1e-5)


@settings(max_examples=50, deadline=None)
@given(sizes(1, 3), sizes(1, 3), sizes(1, 3), st.sampled_from([1.0, 0.5]))
def test_upsample_repeats_pixels_and_its_reverse_sums_them(s, h, w, scale):
    x = random(2, 2, h, w)
    large = run(Upsample(stride=s, scale=scale), x)
    assert torch.equal(large, scale * x.repeat_interleave(s, 2).repeat_interleave(s, 3))
    fine = random(2, 2, h * s, w * s)
    expected = torch.zeros(2, 2, h, w)
    for j, i in np.ndindex(h * s, w * s):
        expected[:, :, j // s, i // s] += scale * fine[:, :, j, i]
    torch.testing.assert_close(run(Upsample(stride=-s, scale=scale), fine), expected)


@settings(max_examples=30, deadline=None)
@given(sizes(1, 2), sizes(1, 3), sizes(1, 3), st.booleans(), sizes(3, 6), sizes(3, 6))
def test_local_has_other_kernels_at_every_place(c, size, stride, padded, h, w):
    pad = (size - 1) // 2 if padded and size % 2 else 0
    example = Example(Local(filters=2, size=size, stride=stride, pad=pad, activation="linear"), (Shape(c, h, w),))
    module, (x,) = build(example), inputs_of(example, 2)
    n, out_h, out_w = example.shape
    patches = F.pad(x, (pad,) * 4)
    expected = torch.empty(2, n, out_h, out_w)
    for k, j, i in np.ndindex(n, out_h, out_w):
        patch = patches[:, :, j * stride : j * stride + size, i * stride : i * stride + size].flatten(1)
        expected[:, k, j, i] = patch @ module.weight[j * out_w + i, k] + module.bias[k, j, i]
    torch.testing.assert_close(module(x), expected)


def test_l2norm_divides_by_the_length_and_hands_gradients_on():
    x = random(2, 5, 2, 3).requires_grad_()
    out = run(L2Norm(), x)
    torch.testing.assert_close(out.detach().norm(dim=1), torch.ones(2, 2, 3))
    delta = random(2, 5, 2, 3, seed=1)
    out.backward(delta)
    torch.testing.assert_close(x.grad, delta)


def test_crop_takes_the_middle_and_spreads_values():
    x = torch.rand(1, 1, 7, 8)
    layer = Crop(crop_height=4, crop_width=5)
    assert torch.equal(run(layer, x), x[:, :, 1:5, 1:6] * 2 - 1)
    assert torch.equal(run(replace(layer, noadjust=True), x), x[:, :, 1:5, 1:6])


def test_dropout_keeps_the_mean_while_training():
    module = Dropout(probability=0.25).build([ROW]).train()
    out = module(torch.ones(1000, 12))
    assert out.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert out.mean() == pytest.approx(1, abs=0.05)


# Binary weights and inputs: gradients pass straight through.


@dataclass
class Straight:
    """A convolution by hand, on the values that the binary one takes."""

    x: Tensor
    weight: Tensor
    x_grad: Any = None
    weight_grad: Any = None

    def backward(self, delta: Tensor) -> Straight:
        x, weight = (value.detach().clone().requires_grad_() for value in (self.x, self.weight))
        F.conv2d(x, weight, padding=1).backward(delta)
        return replace(self, x_grad=x.grad, weight_grad=weight.grad)


@pytest.mark.parametrize("xnor", [False, True])
def test_gradients_of_binary_convolutions_pass_straight_through(xnor):
    """Weights learn as if they were their binary values; inputs between -1 and 1 alone get a gradient, with xnor."""
    layer = Convolutional(filters=3, size=3, pad=True, binary=not xnor, xnor=xnor, activation="linear")
    example = Example(layer, (Shape(2, 5, 6),))
    module, x = build(example), inputs_of(example, 2)[0].requires_grad_()
    weight = module.conv.weight.detach()
    size = weight.abs().mean((1, 2, 3), keepdim=True)
    binary_weight = torch.where(weight > 0, size, -size)
    binary_x = torch.where(x > 0, 1.0, -1.0) if xnor else x
    out = module(x)
    torch.testing.assert_close(out, F.conv2d(binary_x, binary_weight, module.conv.bias, padding=1))
    delta = random(*out.shape, seed=3)
    out.backward(delta)
    straight = Straight(binary_x, binary_weight).backward(delta)
    torch.testing.assert_close(module.conv.weight.grad, straight.weight_grad)
    passed = straight.x_grad * (x.abs() < 1) if xnor else straight.x_grad
    torch.testing.assert_close(x.grad, passed)
    torch.testing.assert_close(module.conv.bias.grad, delta.sum((0, 2, 3)))
