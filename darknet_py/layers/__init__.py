"""One file per section type: its keys, its shapes, its module. Importing this package fills the registry."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from darknet_py.layers.base import REGISTRY, Blob, Layer, Shape, register

__all__ = ["REGISTRY", "Blob", "Layer", "Shape", "register"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
