"""Sections to ``[net]`` and layers, each by the schema that a dialect has for it."""

from __future__ import annotations

from darknet_py.cfg.dialect import DARKNET, Dialect
from darknet_py.cfg.dialects import read_section
from darknet_py.cfg.keys import ComplainAt, nearest, warn
from darknet_py.cfg.section import Section
from darknet_py.errors import CfgError
from darknet_py.layers.base import Layer
from darknet_py.network.net import Net


def read_net(section: Section, report: ComplainAt = warn, dialect: Dialect = DARKNET) -> Net:
    """Read ``[net]``, with warnings to `report`; raises `CfgError` where it gives no usable input."""
    schema = dialect.schema(section.type)
    if schema is None or not issubclass(schema, Net):
        raise CfgError(f"the first section has to be [net], and it is [{section.type}]", section.where)
    net: Net = read_section(schema, section, report, dialect)
    net.check()
    return net


def read_layer(section: Section, report: ComplainAt = warn, dialect: Dialect = DARKNET) -> Layer:
    """The layer a section describes, with warnings to `report`; raises `CfgError` where it describes none."""
    schema = dialect.schema(section.type)
    if schema is None:
        advice = nearest(section.type, dialect.sections)
        raise CfgError(f"there is no section [{section.type[:60]}]{advice}", section.where)
    if not issubclass(schema, Layer):
        raise CfgError(f"[{section.type}] can only come first", section.where)
    layer: Layer = read_section(schema, section, report, dialect)
    return layer
