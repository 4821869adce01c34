"""[rnn], [gru], [lstm] and [crnn]: their steps against loops, how a batch is laid out, and states that go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_py.errors import DarknetError
from darknet_py.layers.convolutional import ConvolutionalModule
from darknet_py.network import Network
from darknet_py.network.graph import Graph

ROWS = "[net]\ninputs=4\nbatch=6\ntime_steps=3\n"
PICTURES = "[net]\nwidth=5\nheight=4\nchannels=2\nbatch=6\ntime_steps=3\n"
TEXTS = {
    "rnn": f"{ROWS}[rnn]\noutput=5\nactivation=tanh",
    "rnn shortcut": f"{ROWS}[rnn]\noutput=5\nactivation=leaky\nshortcut=1",
    "rnn default": f"{ROWS}[rnn]\noutput=5\nbatch_normalize=1",
    "gru": f"{ROWS}[gru]\noutput=5",
    "gru tanh": f"{ROWS}[gru]\noutput=5\ntanh=1\nbatch_normalize=1",
    "lstm": f"{ROWS}[lstm]\noutput=5",
    "lstm normalized": f"{ROWS}[lstm]\noutput=5\nbatch_normalize=1",
    "crnn": f"{PICTURES}[crnn]\noutput_filters=3\nhidden_filters=2\nactivation=tanh",
    "crnn shortcut": f"{PICTURES}[crnn]\noutput_filters=3\nhidden_filters=2\nactivation=leaky\nshortcut=1",
    "two layers": f"{ROWS}[gru]\noutput=5\n[rnn]\noutput=3\nactivation=tanh\n[connected]\noutput=2\n[softmax]",
}
each_network = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)


def network_of(text: str, steps: int = 3) -> Network:
    """A network with random weights in double precision, in eval mode."""
    graph = Graph.parse(text.replace("time_steps=3", f"time_steps={steps}"))
    network = Network(graph, initialize=False).double().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.normal_(generator=generator)
                if name.endswith("running_var"):
                    value.abs_()
    return network


def sequences_of(network: Network, steps: int, count: int) -> Tensor:
    """(steps, count, ...)."""
    generator = torch.Generator().manual_seed(2)
    return torch.randn(steps, count, *network.input_shape.dims, generator=generator, dtype=torch.float64)


def slow_rnn(x: Tensor, part: Callable[[str, Tensor], Tensor], state: Tensor, *, shortcut: bool) -> Iterable[Tensor]:
    for step in x:
        new = part("input", step) + part("self", state)
        state = new + state if shortcut else new
        yield part("output", state)


def slow_gru(x: Tensor, part: Callable[[str, Tensor], Tensor], state: Tensor, *, tanh: bool) -> Iterable[Tensor]:
    for step in x:
        z = (part("wz", state) + part("uz", step)).sigmoid()
        r = (part("wr", state) + part("ur", step)).sigmoid()
        content = part("wh", r * state) + part("uh", step)
        content = content.tanh() if tanh else content.sigmoid()
        state = z * state + (1 - z) * content
        yield state


def slow_lstm(x: Tensor, part: Callable[[str, Tensor], Tensor], state: Tensor) -> Iterable[Tensor]:
    cell = state
    for step in x:
        f, i, g, o = (part(f"w{gate}", state) + part(f"u{gate}", step) for gate in "figo")
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        state = o.sigmoid() * cell.tanh()
        yield state


def parts_of(network: Network) -> Callable[[str, Tensor], Tensor]:
    """The parts of the first layer in plain operations, by name."""
    module = network.layers[0]

    def part(name: str, x: Tensor) -> Tensor:
        dense = module.get_submodule(name)
        if isinstance(dense, ConvolutionalModule):
            out = F.conv2d(x, dense.conv.weight, dense.conv.bias, padding=1)
        else:
            out = F.linear(x, dense.linear.weight, dense.linear.bias)
        if dense.bn is not None:
            out = (out - dense.bn.running_mean) / (dense.bn.running_var + 1e-5).sqrt() * dense.bn.weight + dense.bn.bias
        return dense.activate.function(out)

    return part


@each_network
def test_steps_equal_a_loop(text):
    network = network_of(text)
    layer = network.graph.nodes[0].layer
    x = sequences_of(network, 3, 2)
    part = parts_of(network)
    if layer.type == "gru":
        expected = slow_gru(x, part, torch.zeros(2, 5).double(), tanh=layer.tanh)
    elif layer.type == "lstm":
        expected = slow_lstm(x, part, torch.zeros(2, 5).double())
    else:
        state = torch.zeros(2, 5) if layer.type == "rnn" else torch.zeros(2, 2, 4, 5)
        expected = slow_rnn(x, part, state.double(), shortcut=layer.shortcut)
    with torch.no_grad():
        torch.testing.assert_close(network.tap(x.flatten(0, 1), [0])[0], torch.cat(list(expected)))


@each_network
def test_row_t_n_is_step_t_of_sequence_n(text):
    network = network_of(text)
    x = sequences_of(network, 3, 4)
    with torch.no_grad():
        together = network(x.flatten(0, 1)).unflatten(0, (3, 4))
        for n in range(4):
            torch.testing.assert_close(together[:, n], network(x[:, n]))


@each_network
def test_a_carried_state_makes_one_long_sequence_of_several(text):
    whole, parts = network_of(text, steps=6), network_of(text, steps=2)
    parts.carry_state()
    x = sequences_of(whole, 6, 3)
    with torch.no_grad():
        expected = whole(x.flatten(0, 1))
        found = [parts(x[start : start + 2].flatten(0, 1)) for start in (0, 2, 4)]
        torch.testing.assert_close(torch.cat(found), expected)


@each_network
def test_a_sequence_starts_from_zeros_unless_told_otherwise(text):
    network = network_of(text)
    x = sequences_of(network, 3, 2).flatten(0, 1)
    with torch.no_grad():
        first = network(x)
        assert torch.equal(network(x), first)
        network.carry_state()
        assert torch.equal(network(x), first)
        assert not torch.equal(network(x), first)
        network.carry_state()  # again from zeros
        assert torch.equal(network(x), first)
        network.carry_state(False)
        assert torch.equal(network(x), first)
        assert torch.equal(network(x), first)


@each_network
def test_gradients_go_back_through_all_steps_and_no_further(text):
    network = network_of(text).train()
    x = sequences_of(network, 3, 4).requires_grad_()
    network(x.flatten(0, 1)).unflatten(0, (3, 4))[2, :, 0].sum().backward()
    assert x.grad[0].any()
    network = network_of(text)
    network.carry_state()
    for _ in range(2):  # a graph that was freed is not asked for again
        network(x.detach().flatten(0, 1)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@each_network
def test_an_output_does_not_see_later_steps(text):
    network = network_of(text)
    x = sequences_of(network, 3, 2)
    other = x.clone()
    other[2] += 1
    with torch.no_grad():
        a, b = (network(value.flatten(0, 1)).unflatten(0, (3, 2)) for value in (x, other))
    torch.testing.assert_close(a[:2], b[:2])
    assert not torch.equal(a[2], b[2])


def test_states_are_in_no_file():
    network = network_of(TEXTS["lstm"])
    network.carry_state()
    with torch.no_grad():
        network(sequences_of(network, 3, 2).flatten(0, 1))
    assert network.recurrent()[0].state is not None
    assert network.state_dict().keys() == network_of(TEXTS["lstm"]).state_dict().keys()


def test_rows_that_are_no_whole_steps_are_refused():
    network = network_of(TEXTS["gru"])
    with pytest.raises(DarknetError, match="time_steps"):
        network(torch.zeros(4, 4).double())
