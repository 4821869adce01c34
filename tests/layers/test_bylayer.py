"""Tables by layer: looked up along the inheritance, and clear about what is missing."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from darknet_py.convert.boxes import DENSE
from darknet_py.data.boxes import BOX_HEADS
from darknet_py.errors import CfgError, Location
from darknet_py.layers import REGISTRY, Layer
from darknet_py.layers.bylayer import ByLayer
from darknet_py.layers.detection import Detection
from darknet_py.layers.heads import GridHead
from darknet_py.layers.region import Region
from darknet_py.layers.softmax import Softmax
from darknet_py.layers.yolo import Yolo
from darknet_py.loss import LOSSES
from darknet_py.predict.decode import DECODERS

TABLES = {"losses": LOSSES, "decoders": DECODERS, "dense boxes": DENSE, "truths": BOX_HEADS}
NEEDS = {  # which layers have to have a row
    "losses": lambda layer: layer.has_loss,
    "decoders": lambda layer: layer.gives_boxes,
    "dense boxes": lambda layer: layer.gives_boxes,
    "truths": lambda layer: layer.gives_boxes and layer.has_loss,
}
KINDS = sorted(set(REGISTRY.values()), key=lambda kind: kind.type)


def layer_of(kind: type[Layer]) -> Layer:
    """A layer of a kind, without the values that some need."""
    layer = object.__new__(kind)
    vars(layer)["where"] = Location("x.cfg", 7)
    return layer


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
def test_every_registered_layer_has_a_row_or_needs_none(kind, name):
    layer, table = layer_of(kind), TABLES[name]
    assert (layer in table) == NEEDS[name](kind), f"[{kind.type}] in the table of {name}"
    if layer not in table:
        with pytest.raises(CfgError, match=rf"^x\.cfg:7: \[{kind.type}\] {table.lack.split(',')[0]}"):
            table[layer]


@dataclass(frozen=True, kw_only=True)
class Derived(Yolo):
    """What a dialect may make of [yolo]."""


@pytest.mark.parametrize("name", TABLES)
def test_a_derived_layer_is_found_in_every_table(name):
    assert TABLES[name][Derived()] is TABLES[name][Yolo()]


def test_the_nearest_row_counts():
    table: ByLayer[str] = ByLayer("has no colour", {GridHead: "grey", Region: "red"})
    assert [table.get(layer) for layer in (Region(), Derived(), Softmax())] == ["red", "grey", None]
    table.row(Derived)("blue")
    assert [table.get(layer) for layer in (Yolo(), Derived())] == ["grey", "blue"]
    assert list(table) == [GridHead, Region, Derived]


def test_a_row_is_added_once():
    table: ByLayer[str] = ByLayer("has no colour", {Region: "red"})
    with pytest.raises(ValueError, match="Region has a row already"):
        table.row(Detection, Region)("blue")
