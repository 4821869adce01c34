"""Training that uses memory anew gives what torch's own operations give."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from darknet_py.layers.convolutional import ConvolutionalModule
from darknet_py.layers.parts.activations import ACTIVATIONS
from darknet_py.layers.parts.batchnorm import batch_norm_2d
from darknet_py.layers.parts.training_memory import MaxPooled, NormActivate, Workspace
from darknet_py.loss.criterion import Criterion
from darknet_py.network import Network
from darknet_py.train import Stepper
from tests.support.networks import BN, END, NET, batch, build, stored

DEEP = (
    f"{NET}{BN}[maxpool]\nsize=2\nstride=2\n"
    "[convolutional]\nfilters=64\nsize=3\npad=1\nactivation=leaky\nbatch_normalize=1\n"
    "[convolutional]\nfilters=64\nsize=3\npad=1\nactivation=linear\nbatch_normalize=1\n"  # more weights than values
    "[shortcut]\nfrom=-2\nactivation=leaky\n[route]\nlayers=-1,-3\n"
    "[convolutional]\nfilters=8\nsize=1\nactivation=relie\nbatch_normalize=1\n[maxpool]\nsize=2\nstride=1\n"
    f"[convolutional]\nfilters=6\nsize=3\nactivation=tanh\nbatch_normalize=1\n{END}"
)
FORMATS = (torch.contiguous_format, torch.channels_last)


def convolutions(network: Network) -> list[ConvolutionalModule]:
    return [module for module in network.layers if isinstance(module, ConvolutionalModule)]


@pytest.mark.parametrize("name", [row.name for row in ACTIVATIONS.values() if row.slope is not None])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_norm_and_activation_are_those_of_torch(name: str, memory_format: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(0)
    x = (3 + torch.randn(3, 5, 7, 6, generator=generator)).to(memory_format=memory_format)
    grad = torch.randn(x.shape, generator=generator)
    bn = batch_norm_2d(5)
    with torch.no_grad():
        bn.weight.copy_(torch.tensor([1.0, -2.0, 0.0, 0.5, 3.0]))
        bn.bias.copy_(torch.randn(5, generator=generator))
    other = copy.deepcopy(bn)
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    wanted = ACTIVATIONS[name].function(other(one))
    found = NormActivate.apply(two.clone(), bn.weight, bn.bias, bn, ACTIVATIONS[name].slope, Workspace())
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    wanted.backward(grad)
    found.backward(grad)
    for mine, theirs in ((two.grad, one.grad), (bn.weight.grad, other.weight.grad), (bn.bias.grad, other.bias.grad)):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(bn.buffers(), other.buffers(), strict=True))


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("window", [(2, 2, 0, True), (3, 2, 1, False), (2, 1, 0, False)])
def test_maxpool_is_that_of_torch(window: tuple[int, int, int, bool], memory_format: torch.memory_format) -> None:
    x = torch.randn(2, 3, 7, 5, generator=torch.Generator().manual_seed(0)).to(memory_format=memory_format)
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    size, stride, padding, ceil_mode = window
    wanted = nn.functional.max_pool2d(one, size, stride, padding, ceil_mode=ceil_mode)
    found = MaxPooled.apply(two, window, Workspace())
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    grad = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))
    wanted.backward(grad)
    found.backward(grad)
    torch.testing.assert_close(two.grad, one.grad, rtol=0, atol=0)


def gradients(network: Network, images: Tensor, truth: Tensor) -> dict[str, Tensor]:
    network.zero_grad()
    Criterion(network).train()(images, truth, len(images)).objective.backward()
    return {name: weight.grad.clone() for name, weight in network.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("rows", [4, 2])
def test_a_network_has_the_gradients_it_has_without(rows: int) -> None:
    network, plain = build(DEEP), build(DEEP)
    Stepper(network)
    assert all(module.workspace is not None for module in convolutions(network))
    for seed in range(3):  # over what the step before left in memory
        images, truth = batch(network, rows, seed)
        found, wanted = gradients(network, images, truth), gradients(plain, images, truth)
        for name, theirs in wanted.items():
            torch.testing.assert_close(found[name], theirs, rtol=1e-4, atol=1e-5, msg=name)
    assert all(torch.allclose(mine, theirs) for mine, theirs in zip(network.buffers(), plain.buffers(), strict=True))


def test_steps_use_the_same_memory_whatever_sizes_came_between() -> None:
    network = build(DEEP)
    stepper, places = Stepper(network), set()
    network.layers[0].register_forward_hook(lambda *parts: places.add(parts[2].data_ptr()))
    images, truth = batch(network, 4)
    for _ in range(2 * stepper.share.count):
        stepper.accumulate(images, truth)
    assert len(places) == 1
    stepper.accumulate(torch.rand(4, 3, 16, 24), truth)
    stepper.accumulate(images, truth)
    assert all(weight.grad is not None for weight in network.parameters())


def test_heavy_convolutions_keep_the_order_of_their_weights() -> None:
    network = build(DEEP)
    Stepper(network)
    weights = [module.conv.weight for module in convolutions(network)]
    orders = [[order for order in FORMATS if weight.is_contiguous(memory_format=order)] for weight in weights]
    assert orders[:4] == [[torch.channels_last], [torch.channels_last], [torch.contiguous_format], [*FORMATS]]
    inputs = []
    for module in convolutions(network):
        module.conv.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    network.train()(batch(network, 4)[0])
    for x, order in zip(inputs, orders, strict=True):
        assert x.is_contiguous(memory_format=order[0]) or len(order) == 2
    turned = build(DEEP)
    Stepper(turned, channels_last=False)
    assert all(module.workspace is None for module in convolutions(turned))


@pytest.mark.parametrize("again", ["forward", "backward"])
def test_a_graph_that_was_written_over_is_an_error_and_not_a_wrong_gradient(again: str) -> None:
    network = build(DEEP)
    stepper = Stepper(network)
    images, truth = batch(network, 4)
    network.train()
    objective = stepper.criterion(images, truth, 4).objective
    if again == "forward":
        stepper.criterion(images, truth, 4)
    else:
        objective.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        objective.backward()


def test_copies_have_no_memory_and_a_closed_stepper_gives_it_back() -> None:
    network = build(DEEP)
    stepper = Stepper(network)
    images, truth = batch(network, 4)
    stepper.accumulate(images, truth)
    copied = copy.deepcopy(network)
    spaces = [module.workspace for module in convolutions(copied)]
    assert all(space is not None and not space._parts for space in spaces)
    stepper.close()
    assert all(module.workspace is None for module in convolutions(network))
    before = stored(network)
    stepper.accumulate(images, truth)
    stepper.update()
    assert any(not torch.equal(mine, before[key]) for key, mine in stored(network).items())


def test_inference_and_other_types_do_without() -> None:
    network = build(DEEP)
    stepper = Stepper(network)
    images, truth = batch(network, 4)
    network.train()
    with torch.no_grad():
        network(images)
    network.double().eval()(images.double()).sum().backward()
    assert not any(module.workspace._parts for module in convolutions(network))
    network.float().train()
    with torch.autocast("cpu", torch.bfloat16):
        stepper.criterion(images, truth, 4).objective.backward()
    assert not any(module.workspace._parts for module in convolutions(network))
