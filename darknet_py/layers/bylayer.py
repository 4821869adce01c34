"""Tables with one row per kind of layer: what a package outside `layers/` knows of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from darknet_py.layers.base import Layer

T = TypeVar("T")


class ByLayer(Generic[T]):
    """Values by the class of a layer; a class without a row inherits that of its nearest base class.

    Rows are given to the constructor, or added by the module that defines the value:

        @DECODERS.row(Toy)
        def decode_toy(layer: Toy, ...): ...
    """

    def __init__(self, lack: str, rows: Mapping[type[Layer], T] | None = None) -> None:
        """Make a table; `lack` describes a layer without a row in messages, such as "has no loss"."""
        self.lack = lack
        self.rows: dict[type[Layer], T] = dict(rows or {})

    def row(self, *layers: type[Layer]) -> Callable[[T], T]:
        """Add the decorated value for some classes; raises `ValueError` if one already has a row."""

        def add(value: T) -> T:
            for layer in layers:
                if layer in self.rows:
                    raise ValueError(f"{layer.__name__} has a row already")
                self.rows[layer] = value
            return value

        return add

    def get(self, layer: Layer) -> T | None:
        """The value for a layer, or None."""
        return next((self.rows[kind] for kind in type(layer).__mro__ if kind in self.rows), None)

    def __getitem__(self, layer: Layer) -> T:
        """The value for a layer; raises `CfgError` with the place of its section if there is none."""
        found = self.get(layer)
        if found is None:
            raise layer.error(self.lack)
        return found

    def __contains__(self, layer: object) -> bool:
        return isinstance(layer, Layer) and self.get(layer) is not None

    def __iter__(self) -> Iterator[type[Layer]]:
        """The classes that have a row of their own."""
        return iter(self.rows)
