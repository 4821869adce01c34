"""A Darknet network as ncnn reads it: the text of a .param file and the numbers of a .bin file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from darknet_py.convert.fold import fold
from darknet_py.layers.convolutional import Convolutional
from darknet_py.layers.maxpool import MaxPool
from darknet_py.layers.parts.activations import ACTIVATIONS
from darknet_py.layers.reorg import Reorg
from darknet_py.layers.route import Route
from darknet_py.layers.shortcut import Shortcut
from darknet_py.layers.upsample import Upsample
from darknet_py.network import Network
from darknet_py.network.graph import INPUT, Graph, Node
from tools.bench.measuring import BenchError

MAGIC, FLOATS = "7767517", b"\0\0\0\0"  # of a .param file; in a .bin file before weights of 32 bits
INPUT_NAME = "images"
Parameters = dict[int, "int | float | str"]
Row = tuple[str, Parameters]  # the type of an ncnn layer and its parameters by number


def write(network: Network, param: Path, binary: Path) -> tuple[str, ...]:
    """Write both files, the weights only where they are not there yet; gives the names of the outputs.

    Raises `BenchError` for a layer without a counterpart.
    """
    text = _Text(network.graph)
    text.add_layers()
    param.write_text(str(text), encoding="ascii")
    if not binary.exists():
        folded = fold(network)
        with binary.open("wb") as file:
            for index in text.order:
                if isinstance(network.graph.nodes[index].layer, Convolutional):
                    _write_convolution(file, folded.layers[index])
    return tuple(text.name(index) for index in network.graph.outputs)


@dataclass
class _Text:
    """The rows of a .param file. An output that several take goes through a Split, as ncnn wants it."""

    graph: Graph
    rows: list[str] = field(default_factory=list)
    blobs: int = 0

    def __post_init__(self) -> None:
        needed = self.graph.needed(self.graph.outputs)
        self.order = [index for index in sorted(needed) if not self.passes(index)]
        taken = [source for index in self.order for source in self.graph.nodes[index].sources]
        self.users = Counter(self.origin(index) for index in (*taken, *self.graph.outputs))
        self.given: Counter[int] = Counter()

    def passes(self, index: int) -> bool:
        """Whether a layer gives its input as it is."""
        node = self.graph.nodes[index]
        return index != INPUT and isinstance(node.layer, Route) and len(node.sources) == 1

    def origin(self, index: int) -> int:
        """The layer whose output this one's is."""
        while self.passes(index):
            index = self.graph.nodes[index].sources[0]
        return index

    def name(self, index: int) -> str:
        """The next unused name of a layer's output."""
        index = self.origin(index)
        name = INPUT_NAME if index == INPUT else f"layer{index}"
        if self.users[index] < 2:
            return name
        self.given[index] += 1
        return f"{name}_{self.given[index]}"

    def add_layers(self) -> None:
        """All rows."""
        shape = self.graph.input_shape
        self._add("Input", INPUT_NAME, (), {0: shape.w, 1: shape.h, 2: shape.c})
        self._split(INPUT, INPUT_NAME)
        for index in self.order:
            node = self.graph.nodes[index]
            inputs = tuple(map(self.name, node.sources))
            *before, last = rows_of(node)
            for number, (kind, parameters) in enumerate(before):
                self._add(kind, f"layer{index}.{number}", inputs, parameters)
                inputs = (f"layer{index}.{number}",)
            self._add(last[0], f"layer{index}", inputs, last[1])
            self._split(index, f"layer{index}")

    def _split(self, index: int, name: str) -> None:
        if self.users[index] > 1:
            copies = [f"{name}_{number + 1}" for number in range(self.users[index])]
            self.rows.append(f"Split {name}.split 1 {len(copies)} {name} {' '.join(copies)}")
            self.blobs += len(copies)

    def _add(self, kind: str, name: str, inputs: tuple[str, ...], parameters: Parameters) -> None:
        values = (f"{key}={value}" for key, value in parameters.items())
        self.rows.append(" ".join((kind, name, str(len(inputs)), "1", *inputs, name, *values)))
        self.blobs += 1

    def __str__(self) -> str:
        return "\n".join((MAGIC, f"{len(self.rows)} {self.blobs}", *self.rows, ""))


def rows_of(node: Node) -> list[Row]:
    """The ncnn layers, one after the other, that compute a layer; the last has its output."""
    make = ROWS.get(type(node.layer))
    rows = [] if make is None else list(make(node, node.layer))
    if not rows:
        raise BenchError(f"{node} as it stands here has no counterpart in tools/bench/peers/ncnn.py")
    return rows


def _convolution(node: Node, layer: Convolutional) -> Iterator[Row]:
    if layer.binary or layer.xnor or ACTIVATIONS[layer.activation].slope is None:
        return
    values = layer.blobs(node.inputs)[-1].size
    pad = layer.total_padding
    parameters: Parameters = {0: layer.filters, 1: layer.size, 3: layer.stride, 4: pad, 5: 1, 6: values}
    if layer.groups > 1:
        parameters[7] = layer.groups
    yield "Convolution" if layer.groups == 1 else "ConvolutionDepthWise", parameters | _activation(layer.activation)


def _activation(name: str) -> Parameters:
    slope = ACTIVATIONS[name].slope
    return {} if slope == 1 else {9: 2, -23310: f"1,{slope}"}  # leaky


def _maxpool(node: Node, layer: MaxPool) -> Iterator[Row]:
    (_, h, w), (_, out_h, out_w) = node.inputs[0], node.shape
    before = layer.total_padding // 2
    right, bottom = (
        max((out - 1) * layer.stride + layer.window - size - before, 0) for out, size in ((out_w, w), (out_h, h))
    )  # no more than windows reach
    yield "Pooling", {0: 0, 1: layer.window, 2: layer.stride, 3: before, 13: before, 14: right, 15: bottom, 5: 1}


def _concat(_node: Node, _layer: Route) -> Iterator[Row]:
    yield "Concat", {0: 0}


def _sum(node: Node, layer: Shortcut) -> Iterator[Row]:
    slope = ACTIVATIONS[layer.activation].slope
    if node.inputs[0] != node.inputs[1] or (layer.alpha, layer.beta) != (1, 1) or slope is None:
        return
    yield "BinaryOp", {0: 0}
    if slope != 1:
        yield "ReLU", {0: slope}


def _upsample(_node: Node, layer: Upsample) -> Iterator[Row]:
    if layer.stride > 0 and layer.scale == 1:
        yield "Interp", {0: 1, 1: float(layer.stride), 2: float(layer.stride)}


def _reorg(node: Node, layer: Reorg) -> Iterator[Row]:
    """Darknet's order exactly: the memory as fewer and larger pictures, every s-th pixel of them, and as more again."""
    if layer.reverse or layer.flatten or layer.extra:
        return
    (c, h, w), s = node.inputs[0], layer.stride
    yield "Reshape", {0: w * s, 1: h * s, 2: c // s**2}
    yield "Reorg", {0: s, 1: 1}  # mode 1: the place in the square counts before the channel
    yield "Reshape", {0: w // s, 1: h // s, 2: c * s**2}


ROWS: Mapping[type, Callable[[Node, Any], Iterator[Row]]] = {
    Convolutional: _convolution,
    MaxPool: _maxpool,
    Route: _concat,
    Shortcut: _sum,
    Upsample: _upsample,
    Reorg: _reorg,
}


def _write_convolution(file: BinaryIO, module: Any) -> None:
    file.write(FLOATS)
    tensors = (module.conv.weight, module.conv.bias)
    file.writelines(values.detach().contiguous().numpy().data for values in tensors)
