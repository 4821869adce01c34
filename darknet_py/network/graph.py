"""The graph of a network: layers with their sources and shapes, without tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from darknet_py import cfg
from darknet_py.cfg.dialect import DARKNET, Augment, Dialect, Fit
from darknet_py.cfg.dialects import chosen, named
from darknet_py.cfg.keys import Gathered, refuse
from darknet_py.cfg.section import Section
from darknet_py.cfg.writer import updated
from darknet_py.errors import CfgError
from darknet_py.layers.base import Blob, Layer, Shape
from darknet_py.layers.heads import GridHead
from darknet_py.network.net import Net
from darknet_py.network.reading import read_layer, read_net

INPUT = -1  # the index of the network's input
VALUE_BYTES = 4
MAX_VALUES = 1 << 31  # the most values of an output or a stored tensor: Darknet counts them in an int


@dataclass(frozen=True)
class Node:
    """A layer of a graph, with its sources and shapes."""

    index: int
    layer: Layer
    sources: tuple[int, ...]
    inputs: tuple[Shape, ...]
    shape: Shape
    receptive_field: int | None  # pixels of the input along a side that one value sees; None for all of them
    spacing: float  # pixels of the input between two neighbours

    @cached_property
    def blobs(self) -> tuple[Blob, ...]:
        """The tensors in a .weights file, in the order of the file."""
        return self.layer.blobs(self.inputs)

    @property
    def parameters(self) -> int:
        """The number of trained values."""
        return sum(blob.size for blob in self.blobs if blob.learned)

    @property
    def operations(self) -> int:
        """Floating point operations for one picture; Darknet's BFLOPs times a billion."""
        return self.layer.operations(self.inputs)

    def __str__(self) -> str:
        return f"layer {self.index} [{self.layer.type}]"


@dataclass(frozen=True)
class Graph:
    """A network before it is built."""

    net: Net
    nodes: tuple[Node, ...]
    source: str
    sections: tuple[Section, ...] = field(repr=False)
    dialect: Dialect = field(default=DARKNET, repr=False)

    @classmethod
    def read(cls, path: str | Path, *, strict: bool = False, dialect: str | None = None) -> Graph:
        """Read a cfg file; with `strict`, unknown and repeated keys are errors.

        `dialect` is the name of the dialect to read it in; None takes the one in which the fewest places are another
        one's, and refuses a cfg of a dialect that is not built yet. Raises `CfgError` for that, for text that is no
        cfg, unknown sections, values that do not parse, layers that do not exist and shapes that do not fit; each says
        file, line and both facts.
        """
        return cls.from_sections(cfg.read(path), str(path), strict=strict, dialect=dialect)

    @classmethod
    def parse(cls, text: str, source: str = "<cfg>", *, strict: bool = False, dialect: str | None = None) -> Graph:
        """Make a graph of cfg text."""
        return cls.from_sections(cfg.parse(text, source), source, strict=strict, dialect=dialect)

    @classmethod
    def from_sections(
        cls, sections: Sequence[Section], source: str = "<cfg>", *, strict: bool = False, dialect: str | None = None
    ) -> Graph:
        """Make a graph of parsed sections."""
        spoken = named(dialect) or chosen(sections)
        first, *rest = sections
        warnings = Gathered()
        report = refuse if strict else warnings
        net = read_net(first, report, spoken)
        layers = [read_layer(section, report, spoken) for section in rest]
        if not layers:
            raise CfgError("there is no layer after [net]", first.where)
        graph = cls(net, connect(net.input_shape, layers), source, tuple(sections), spoken)
        warnings.warn()
        return graph

    @property
    def input_shape(self) -> Shape:
        return self.net.input_shape

    @cached_property
    def outputs(self) -> tuple[int, ...]:
        """The layers whose outputs are the network's: all heads, or else the last layer that changes its input."""
        heads = tuple(node.index for node in self.nodes if node.layer.is_head)
        if heads:
            return heads
        last = next((node.index for node in reversed(self.nodes) if not node.layer.passes_input), None)
        return (len(self.nodes) - 1 if last is None else last,)

    @property
    def heads(self) -> tuple[Node, ...]:
        """The nodes of `outputs`."""
        return tuple(self.nodes[index] for index in self.outputs)

    @property
    def fit(self) -> Fit:
        """How pictures are fitted to the input: as a head or [net] says, or else as in the dialect."""
        asked = (*(node.layer.fit for node in self.heads), self.net.fit)
        return next(filter(None, asked), self.dialect.fit)

    @cached_property
    def grids(self) -> dict[int, GridHead]:
        """The heads with anchors, by the indices of their nodes."""
        return {node.index: node.layer for node in self.nodes if isinstance(node.layer, GridHead)}

    @property
    def augment(self) -> Augment:
        """How training changes pictures with boxes: as the last head says, or else as in the dialect."""
        return self.heads[-1].layer.augment or self.dialect.augment

    @property
    def resizable(self) -> bool:
        """Whether the network takes other input sizes, as all of its layers must."""
        return self.input_shape.is_image and all(node.layer.resizable for node in self.nodes)

    @property
    def recurrent(self) -> bool:
        return any(node.layer.recurrent for node in self.nodes)

    @property
    def last_frozen(self) -> int:
        """The last layer with `stopbackward`; it and the layers before it get no gradient. -1 if there is none."""
        return max((node.index for node in self.nodes if node.layer.stopbackward), default=INPUT)

    @property
    def stride(self) -> int:
        """The pixels that width and height should be a multiple of: the coarsest spacing of neighbours."""
        return max((math.ceil(node.spacing) for node in self.nodes if node.receptive_field is not None), default=1)

    def resized(self, width: int, height: int) -> Graph:
        """The same network for another input size, as in resize_network; raises `CfgError` if it cannot be resized."""
        if (width, height) == (self.net.width, self.net.height):
            return self
        fixed = next((node for node in self.nodes if not node.layer.resizable), None)
        if fixed is not None or not self.input_shape.is_image:
            reason = f"{fixed} has a fixed input size" if fixed else "its input is no picture"
            raise CfgError(f"this network cannot be resized: {reason}", fixed.layer.where if fixed else self.net.where)
        net = self.net.resized(width, height)
        layers = [node.layer for node in self.nodes]
        return replace(self, net=net, nodes=connect(net.input_shape, layers, self.nodes))

    def to_sections(self) -> tuple[Section, ...]:
        """The sections of a cfg for this graph: those it was read from, with the current input size."""
        first, *rest = self.sections
        layers = zip(rest, self.nodes, strict=False)
        return updated(first, self.net), *(updated(section, node.layer) for section, node in layers)

    def needed(self, outputs: Collection[int]) -> frozenset[int]:
        """The layers that some outputs need."""
        found = set(outputs)
        for node in reversed(self.nodes):
            if node.index in found:
                found.update(node.sources)
        return frozenset(found - {INPUT})

    def last_uses(self, outputs: Collection[int]) -> dict[int, tuple[int, ...]]:
        """For every needed layer, in order, the outputs that no later layer needs."""
        last: dict[int, int] = {}
        needed = sorted(self.needed(outputs))
        for index in needed:
            last.update(dict.fromkeys((*self.nodes[index].sources, index), index))
        done: dict[int, list[int]] = {index: [] for index in needed}
        for source, index in last.items():
            if source not in outputs and source != INPUT:
                done[index].append(source)
        return {index: tuple(sources) for index, sources in done.items()}

    @property
    def largest_live_set(self) -> int:
        """The most values of one picture that are alive at a time during a forward pass."""
        return self._largest_live_set(lambda _node: 0)

    def _largest_live_set(self, beside: Callable[[Node], int]) -> int:
        live, most = 0, 0
        for index, done in self.last_uses(self.outputs).items():
            live += self.nodes[index].shape.size
            most = max(most, live + beside(self.nodes[index]))
            live -= sum(self.nodes[source].shape.size for source in done)
        return most + self.input_shape.size

    @property
    def stored_bytes(self) -> int:
        """The bytes of the weights in float32."""
        return VALUE_BYTES * sum(blob.size for node in self.nodes for blob in node.blobs)

    @property
    def picture_bytes(self) -> int:
        """The fewest bytes that a picture needs: its own twice, plus the live values and their workspace."""
        live = self._largest_live_set(lambda node: node.layer.workspace(node.inputs))
        return VALUE_BYTES * (self.input_shape.size + live)


def connect(shape: Shape, layers: Sequence[Layer], before: Sequence[Node] = ()) -> tuple[Node, ...]:
    """Connect layers to nodes; `before` are the nodes of another input size, if there is one."""
    nodes: list[Node] = []
    for node in _nodes(shape, layers, nodes, before):
        sizes = (node.shape.size, *(shape.size for shape in node.inputs), *(blob.size for blob in node.blobs))
        if max(sizes) >= MAX_VALUES:
            raise node.layer.error(f"is too large: {node.shape} values out of {', '.join(map(str, node.inputs))}")
        if (beside := node.layer.workspace(node.inputs)) >= MAX_VALUES:
            raise node.layer.error(f"takes {beside:,} values to work out {node.shape}, and {MAX_VALUES:,} are too many")
        nodes.append(node)
    return tuple(nodes)


def _nodes(shape: Shape, layers: Sequence[Layer], nodes: Sequence[Node], before: Sequence[Node]) -> Iterator[Node]:
    for index, layer in enumerate(layers):
        sources = layer.sources(index)
        inputs = tuple(shape if s == INPUT else nodes[s].shape for s in sources)
        sized = layer.resized(before[index].inputs, inputs) if before else layer
        fields = [(1, 1.0) if s == INPUT else (nodes[s].receptive_field, nodes[s].spacing) for s in sources]
        yield Node(index, sized, sources, inputs, sized.out_shape(inputs), *_receptive(layer, inputs, fields))


def _receptive(
    layer: Layer, inputs: Sequence[Shape], fields: Sequence[tuple[int | None, float]]
) -> tuple[int | None, float]:
    reach = layer.reach()
    spacing = min(fields[0][1] * reach.stride, float(MAX_VALUES))
    sees_all = reach.size is None or not inputs[0].is_image or layer.recurrent
    if sees_all or any(size is None for size, _ in fields):
        return None, spacing
    size = max(size for size, _ in fields if size is not None)
    return min(math.ceil(size + ((reach.size or 1) - 1) * fields[0][1]), MAX_VALUES), spacing
