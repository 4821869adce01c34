"""Reading a cfg on and on, past what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from darknet_py.cfg import Section
from darknet_py.cfg.dialect import DARKNET, Dialect
from darknet_py.cfg.keys import ComplainAt, Gathered
from darknet_py.check.problems import Problems
from darknet_py.errors import Location
from darknet_py.layers.base import Layer, Shape
from darknet_py.layers.convolutional import Convolutional
from darknet_py.layers.heads import GridHead
from darknet_py.network.graph import INPUT, MAX_VALUES, Graph, connect
from darknet_py.network.net import Net
from darknet_py.network.reading import read_layer, read_net


class Outline:
    """A cfg as far as it makes sense: None stands for a section that cannot be read and for a shape not known.

    A convolution before a head counts as if its filters were right, so that what comes after it is checked too.
    Nothing is concluded from a section in which a value cannot be read. Everything wrong on the way goes to `problems`.
    """

    def __init__(self, sections: Sequence[Section], problems: Problems, dialect: Dialect = DARKNET) -> None:
        self.sections, self.problems, self.dialect = tuple(sections), problems, dialect
        first, *rest = sections
        warnings = Gathered()
        self.net, self.net_is_sure = self._read_net(first, warnings)
        layer_of = partial(read_layer, report=warnings, dialect=dialect)
        read = [problems.salvaged(layer_of, section) for section in rest]
        with problems.warned():
            warnings.warn()
        self.layers = [layer for layer, _ in read]
        self.sure = [sure for _, sure in read]
        self.grids = tuple(  # the heads with anchors, by index
            (index, layer) for index, (layer, sure) in enumerate(read) if sure and isinstance(layer, GridHead)
        )
        if not rest:
            problems.error("there is no layer after [net]", first.where)
        self.shapes: list[Shape | None] = [None] * len(rest)
        for index in range(len(rest)):
            with problems.caught():
                self.shapes[index] = self._shape(index)

    @property
    def whole(self) -> bool:
        """Whether every layer has its place and shape."""
        return bool(self.shapes) and None not in self.shapes

    @property
    def detects(self) -> bool:
        """Whether the network gives boxes."""
        return any(layer is not None and layer.gives_boxes for layer in self.layers)

    @property
    def classes(self) -> tuple[int, Location] | None:
        """How many classes the network tells apart and where it says so: in its first head, or its last [softmax]."""
        order = range(len(self.layers)) if self.detects else range(len(self.layers) - 1, -1, -1)
        counts = ((index, self.classes_of(index)) for index in order)
        return next(((count, self.where(index, "classes")) for index, count in counts if count is not None), None)

    def classes_of(self, index: int) -> int | None:
        """How many classes a layer tells apart."""
        layer = self.layers[index]
        if layer is None or not self.sure[index] or layer.gives_boxes != self.detects:
            return None
        return layer.count_classes(self.shape(index - 1))

    def where(self, index: int, key: str) -> Location:
        """The line of a key of a layer, or of its section where it is not given; -1 is [net]."""
        section = self.sections[index + 1]
        entry = section.find(key)
        return section.where if entry is None else entry.where

    def shape(self, index: int) -> Shape | None:
        """The output of a layer; -1 is the input."""
        if index == INPUT:
            return None if self.net is None else self.net.input_shape
        return self.shapes[index]

    def graph(self, source: str) -> Graph | None:
        """The network up to the first layer that does not fit."""
        count = len(self.layers) if None not in self.shapes else self.shapes.index(None)
        layers = [layer for layer in self.layers[:count] if layer is not None]
        with self.problems.caught():
            if self.net is not None and layers:
                nodes = connect(self.net.input_shape, layers)
                return Graph(self.net, nodes, source, self.sections, self.dialect)
        return None

    def _read_net(self, section: Section, report: ComplainAt) -> tuple[Net | None, bool]:
        make = partial(read_net, report=report, dialect=self.dialect)
        net, sure = self.problems.salvaged(make, section)
        if net is None:  # shapes need no policy
            kept = tuple(entry for entry in section.entries if entry.key != "policy")
            net, sure = self.problems.salvaged(make, replace(section, entries=kept))
        return net, sure

    def _shape(self, index: int) -> Shape | None:
        layer: Layer | None = self.layers[index]
        if layer is None or not self.sure[index]:
            return None
        if isinstance(layer, GridHead):
            layer = self._repaired(index, layer)
        inputs = [self.shape(source) for source in layer.sources(index)]
        known = [shape for shape in inputs if shape is not None]
        if len(known) < len(inputs):
            return None
        shape = layer.out_shape(known)
        if shape.size >= MAX_VALUES:
            raise layer.error(f"is too large: {shape} values")
        return shape

    def _repaired(self, index: int, head: GridHead) -> GridHead:
        """The head with as many anchors as its mask names, after a convolution with the filters that it needs."""
        if head.beyond is not None:
            self.problems.error(head.beyond, self.where(index, "mask"))
            self.layers[index] = head = replace(head, num=max(head.own_anchors) + 1)
        wanted = head.channels
        before = self.layers[index - 1] if index else None
        if isinstance(before, Convolutional) and self.sure[index - 1] and before.filters != wanted:
            self.problems.error(
                f"filters={before.filters} has to be {wanted}: the [{head.type}] in line {head.where.line} "
                f"needs {head.formula}",
                self.where(index - 1, "filters"),
            )
            self.layers[index - 1] = replace(before, filters=wanted)
            shape = self.shapes[index - 1]
            self.shapes[index - 1] = None if shape is None else shape._replace(c=wanted)
        return head
