"""Tables with a row a kind of layer: what a room outside `layers/` knows of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from darknet_py.layers.base import Layer

T = TypeVar("T")


class ByLayer(Generic[T]):
    """Values by the class of a layer; a class without a row has that of the nearest class it derives from.

    Rows are given when a table is made, or added by the module that has the value:

        @DECODERS.row(Toy)
        def decode_toy(layer: Toy, ...): ...
    """

    def __init__(self, lack: str, rows: Mapping[type[Layer], T] | None = None) -> None:
        """Make a table; `lack` is what can be said of a layer without a row, such as "has no loss"."""
        self.lack = lack
        self._rows: dict[type[Layer], T] = dict(rows or {})

    def row(self, *layers: type[Layer]) -> Callable[[T], T]:
        """Add the decorated value for some classes; raises `ValueError` where one has a row."""

        def add(value: T) -> T:
            for layer in layers:
                if layer in self._rows:
                    raise ValueError(f"{layer.__name__} has a row already")
                self._rows[layer] = value
            return value

        return add

    def get(self, layer: Layer) -> T | None:
        """The value for a layer, or None."""
        return next((self._rows[kind] for kind in type(layer).__mro__ if kind in self._rows), None)

    def __getitem__(self, layer: Layer) -> T:
        """The value for a layer; raises `CfgError` with the place of its section where there is none."""
        found = self.get(layer)
        if found is None:
            raise layer.error(self.lack)
        return found

    def __contains__(self, layer: object) -> bool:
        return isinstance(layer, Layer) and self.get(layer) is not None

    def __iter__(self) -> Iterator[type[Layer]]:
        """The classes that have a row of their own."""
        return iter(self._rows)
