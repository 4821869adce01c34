"""Two layers that nobody needs, complete: what it takes to add a layer, `gain.py`, and a head, the three `spot` files.

They are registered by being imported, as the package's own are; `registered` takes them back out.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from darknet_py.convert.boxes import DENSE
from darknet_py.layers import REGISTRY
from darknet_py.loss import LOSSES
from darknet_py.predict.decode import DECODERS

FILES = ("gain", "spot", "spot_loss", "spot_boxes")


@contextmanager
def registered() -> Iterator[None]:
    """For a while the sections [gain] and [spot] exist."""
    sections, tables = dict(REGISTRY), [(table, dict(table.rows)) for table in (LOSSES, DECODERS, DENSE)]
    names = [f"{__name__}.{name}" for name in FILES]
    try:
        for name in names:
            importlib.import_module(name)
        yield
    finally:
        for name in names:
            sys.modules.pop(name, None)
        REGISTRY.clear()
        REGISTRY.update(sections)
        for table, rows in tables:
            table.rows.clear()
            table.rows.update(rows)
